// Who is signed in.  What one was writing outlives the end of a session: drafts are kept by account on this device.
import { jmap } from '../jmap/client';
import { ApiError, net } from '../net.svelte';
import { show } from '../passkey';

export interface Person {
  address: string;
  account: string;
  tenant: { name: string };
  language: string;
  session: string;
  administrator: boolean;
  totp: boolean;
}

class Session {
  /** `starting` until the server has said whether there is a session. */
  phase = $state<'starting' | 'out' | 'in'>('starting');
  person = $state.raw<Person | null>(null);
  /** The session ended while one was working: the sign-in lies over the app, which stays as it is. */
  ended = $state(false);

  async start(): Promise<void> {
    net.onSignedOut = () => this.lost();
    try {
      await this.enter(await net.api<Person>('GET', 'session'));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.phase = 'out';
      else throw error;
    }
  }

  async signIn(name: string, password: string, code: string, ownDevice: boolean): Promise<void> {
    const body = { name, password, own_device: ownDevice, ...(code && { code }) };
    await this.enter(await net.api<Person>('POST', 'session', body));
  }

  async signInWithPasskey(ownDevice: boolean): Promise<void> {
    const shown = await show();
    await this.enter(await net.api<Person>('POST', 'session/passkey', { ...shown, own_device: ownDevice }));
  }

  private async enter(person: Person): Promise<void> {
    const other = this.person && (this.person.account !== person.account || this.person.address !== person.address);
    await jmap.open();
    // Another's mail must not stay in memory.
    if (other) location.reload();
    this.person = person;
    this.ended = false;
    this.phase = 'in';
  }

  private lost(): void {
    if (this.phase === 'in') this.ended = true;
    else this.phase = 'out';
  }

  async signOut(): Promise<void> {
    await net.api('DELETE', 'session').catch(() => {});
    location.hash = '';
    location.reload();
  }
}

export const session = new Session();
