// The person's preferences: one object on the server, shown before it has come from a copy on this device.
import { language } from '../i18n/index.svelte';
import { jmap } from '../jmap/client';
import type { Preferences } from '../jmap/types';

const KEPT = 'understudy.look';
const FIRST: Preferences = {
  id: 'singleton', language: null, theme: 'auto', density: 'normal', undoSeconds: 10,
  signatureDefault: true, trustedSenders: {}, remoteImages: 'ask', shortcuts: true,
};

class Prefs {
  now = $state.raw<Preferences>(FIRST);
  dark = $state(false);
  private system = matchMedia('(prefers-color-scheme: dark)');

  constructor() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? '{}') as Partial<Preferences>;
      this.now = { ...FIRST, ...kept };
    } catch {
      // Nothing kept.
    }
    this.system.addEventListener('change', () => this.apply());
    this.apply();
  }

  async load(): Promise<void> {
    const { list } = await jmap.one('Preferences/get', { ids: ['singleton'] });
    this.take({ ...FIRST, ...list[0] });
  }

  private take(value: Preferences): void {
    this.now = value;
    const { language, theme, density } = value;
    localStorage.setItem(KEPT, JSON.stringify({ language, theme, density }));
    this.apply();
  }

  private apply(): void {
    const { theme, density } = this.now;
    this.dark = theme === 'dark' || (theme === 'auto' && this.system.matches);
    document.documentElement.dataset.theme = this.dark ? 'dark' : 'light';
    document.documentElement.dataset.density = density;
    language.choose(this.now.language);
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
