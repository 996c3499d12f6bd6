// RFC 8620 7.3 over fetch, with a watchdog: a server that died says nothing, so that silence has to do.
// Invariants: a stream that falls silent is opened anew at once; only when that fails, too, is the server away, so that
// a slow network costs no request that is under way.
import { readEvents } from '../events';
import { net, sleep } from '../net.svelte';
import { jmap } from './client';

// We ask for a ping each second.  A server may give fewer (RFC 8620 7.3), and is then waited for longer.
const SILENCE_MS = 1_600;
const SILENCE_PER_S = 1_600;
const MOST_MS = 65_000;
const LOOK_MS = 100;
// Streams that fall silent earlier than this, again and again, are those of a slow network: more patience.
const STEADY_MS = 20_000;

/** Runs until aborted.  `changed` gets the types of each StateChange; `opened` says: look what was missed. */
export async function listen(types: string, opened: () => void, changed: (types: string[]) => void, stop: AbortSignal): Promise<void> {
  let silence = SILENCE_MS;
  while (!stop.aborted) {
    const control = new AbortController();
    const end = (): void => control.abort();
    stop.addEventListener('abort', end, { once: true });
    let heard = Date.now();
    let begun = 0;
    let pinged = false;
    // Why it ended, where that says nothing of the server.
    let silent = false;
    let woken = false;
    const dog = setInterval(() => {
      if (Date.now() - heard <= silence) return;
      silent = begun > 0;
      if (silent && !pinged) silence = Math.min(silence * 4, MOST_MS);
      else if (silent && heard - begun < STEADY_MS) silence = Math.min(silence * 2, MOST_MS);
      control.abort();
    }, LOOK_MS);
    const free = net.whenBack(() => ((woken = true), control.abort()));
    try {
      const answer = await fetch(jmap.events(types), { headers: { Accept: 'text/event-stream' }, signal: control.signal, cache: 'no-store' });
      if (answer.status === 401) {
        net.onSignedOut();
        return;
      }
      if (!answer.ok || !answer.body) throw new Error(String(answer.status));
      begun = heard = Date.now();
      opened();
      await readEvents(answer.body, () => (heard = Date.now()), (event) => {
        const interval = /^event: ?ping$/m.test(event) && Number(/"interval": ?(\d+)/.exec(event)?.[1]);
        if (interval) {
          pinged = true;
          const enough = Math.min(interval * SILENCE_PER_S, MOST_MS);
          if (silence < enough || heard - begun >= STEADY_MS) silence = enough;
        }
        heed(event, changed);
      });
    } catch {
      // The stream ended; below is what to do.
    } finally {
      clearInterval(dog);
      free();
      stop.removeEventListener('abort', end);
    }
    if (stop.aborted) return;
    if (net.online && (silent || woken)) continue;
    if (net.online) net.lost();
    // A stream that is refused again and again is asked for calmly.
    if (!begun) await sleep(300);
    while (!net.online && !stop.aborted) await sleep(50);
  }
}

function heed(event: string, changed: (types: string[]) => void): void {
  if (!/^event: ?state$/m.test(event)) return;
  const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
  try {
    const change = JSON.parse(data) as { changed: Record<string, Record<string, string>> };
    changed(Object.keys(change.changed[jmap.account] ?? {}));
  } catch {
    changed(['Email']);
  }
}
