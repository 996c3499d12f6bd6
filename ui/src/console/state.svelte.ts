// Who is signed in, and how the appliance stands: kept true by a stream that comes back by itself.
import { asker } from '../admin/ask';
import { readEvents } from '../lib/events';
import { ApiError, Net, sleep } from '../lib/net.svelte';
import { Router } from '../lib/state/router.svelte';
import type { Report } from './report';

/** The stream has a word every 15 s at the latest. */
const SILENCE_MS = 20_000;
const AGAIN_MS = 1_000;
/** A session that nobody uses ends; whoever works in the page uses it, which is told so often. */
const USE_MS = 120_000;

export const PAGES = ['status', 'pair', 'update', 'tenants', 'queue', 'certificates', 'operators', 'audit'] as const;
export type Page = (typeof PAGES)[number];
export const route = new Router<Page>(PAGES);

const net = new Net('/api/console');
export const ask = asker(net, 'ask');

interface Me { name: string; appliance: string; version: string; expires: string }

class Console {
  phase = $state<'starting' | 'out' | 'in'>('starting');
  /** The session ended by itself. */
  ended = $state(false);
  me = $state.raw<Me | null>(null);
  report = $state.raw<Report | null>(null);
  /** The line is there. */
  live = $state(false);
  /** When the last word came, and the last report: reports come only when something else than the time has changed. */
  heardAt = $state(0);
  toldAt = $state(0);
  private stop = new AbortController();
  private usedAt = 0;

  async start(): Promise<void> {
    net.onSignedOut = () => this.leave(true);
    for (const input of ['pointerdown', 'keydown', 'wheel']) addEventListener(input, () => void this.use(), { passive: true });
    try {
      this.enter(await net.api<Me>('GET', 'session'));
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401)) throw error;
      this.ended = false;
    }
  }

  async signIn(name: string, password: string): Promise<void> {
    this.enter(await net.api<Me>('POST', 'session', { name, password }));
  }

  /** The stream is no use of the session: a page that nobody looks at ends. */
  private async use(): Promise<void> {
    if (this.phase !== 'in' || Date.now() - this.usedAt < USE_MS) return;
    this.usedAt = Date.now();
    // A line that is cut is said elsewhere, and an end by net.
    await net.api('GET', 'session').catch(() => {});
  }

  async signOut(): Promise<void> {
    await net.api('DELETE', 'session').catch(() => {});
    this.leave(false);
  }

  private enter(me: Me): void {
    this.me = me;
    this.ended = false;
    this.phase = 'in';
    this.usedAt = Date.now();
    this.stop = new AbortController();
    void this.listen(this.stop.signal);
  }

  private leave(ended: boolean): void {
    this.stop.abort();
    this.ended = ended && this.phase === 'in';
    this.phase = 'out';
    this.me = this.report = null;
    this.live = false;
  }

  private async listen(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const control = new AbortController();
      stop.addEventListener('abort', () => control.abort(), { once: true });
      let heard = Date.now();
      const dog = setInterval(() => Date.now() - heard > SILENCE_MS && control.abort(), 1_000);
      try {
        const answer = await fetch('/api/console/status', { headers: { Accept: 'text/event-stream' }, signal: control.signal, cache: 'no-store' });
        if (answer.status === 401) return this.leave(true);
        if (!answer.ok || !answer.body) throw new Error(String(answer.status));
        await readEvents(answer.body, () => {
          heard = this.heardAt = Date.now();
          this.live = true;
        }, (event) => {
          if (!/^event: ?status$/m.test(event)) return;
          const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
          this.report = JSON.parse(data) as Report;
          this.toldAt = Date.now();
        });
      } catch {
        // The line is cut; below is what to do.
      } finally {
        clearInterval(dog);
      }
      if (stop.aborted) return;
      this.live = false;
      await sleep(AGAIN_MS);
    }
  }
}

export const here = new Console();

/** Sends a file with the progress that fetch does not tell. Resolves to how many bytes arrived. */
export function upload(file: File, progress: (done: number) => void, stop: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', '/api/console/update');
    request.setRequestHeader('X-Understudy', '1');
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onerror = request.onabort = () => reject(new ApiError(0, 'offline'));
    request.onload = () => {
      const told = parse(request.responseText);
      if (request.status === 200 && typeof told.received === 'number') resolve(told.received);
      else {
        if (request.status === 401) net.onSignedOut();
        reject(new ApiError(request.status, typeof told.error === 'string' ? told.error : 'unknown', typeof told.text === 'string' ? told.text : undefined));
      }
    };
    stop.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
