// The person's preferences: one object on the server, shown before it has come from a copy on this device.
import { jmap } from '../jmap/client';
import type { Preferences } from '../jmap/types';
import { look } from './look.svelte';

const FIRST: Preferences = {
  id: 'singleton', language: null, theme: 'auto', density: 'normal', undoSeconds: 10,
  signatureDefault: true, trustedSenders: {}, remoteImages: 'ask', shortcuts: true,
};

class Prefs {
  now = $state.raw<Preferences>({ ...FIRST, ...look.now });

  get dark(): boolean {
    return look.dark;
  }

  async load(): Promise<void> {
    const { list } = await jmap.one('Preferences/get', { ids: ['singleton'] });
    this.take({ ...FIRST, ...list[0] });
  }

  private take(value: Preferences): void {
    this.now = value;
    const { language, theme, density } = value;
    look.take({ language, theme, density });
  }

  /** Before anyone has signed in only this device knows. */
  async set(change: Partial<Preferences>): Promise<void> {
    const before = this.now;
    this.take({ ...before, ...change });
    if (!jmap.account) return;
    const answer = await jmap.one('Preferences/set', { update: { singleton: change } });
    if (answer.notUpdated?.singleton) this.take(before);
  }

  trusts(email: string): boolean {
    return this.now.remoteImages === 'always' || !!this.now.trustedSenders[email.toLowerCase()];
  }

  trust(email: string, yes: boolean): Promise<void> {
    const trustedSenders = { ...this.now.trustedSenders, [email.toLowerCase()]: true };
    if (!yes) delete trustedSenders[email.toLowerCase()];
    return this.set({ trustedSenders });
  }
}

export const prefs = new Prefs();
