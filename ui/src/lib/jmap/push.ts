// RFC 8620 7.3 over fetch: our own watchdog hears within three seconds that the server has gone.
import { readEvents } from '../events';
import { net, sleep } from '../net.svelte';
import { jmap } from './client';

// We ask for a ping each second.  A server may give fewer (RFC 8620 7.3), and is then waited for longer.
const SILENCE_MS = 3_200;
const MOST_MS = 65_000;

/** Runs until aborted.  `changed` gets the types of each StateChange; `opened` says: look what was missed. */
export async function listen(types: string, opened: () => void, changed: (types: string[]) => void, stop: AbortSignal): Promise<void> {
  let silence = SILENCE_MS;
  while (!stop.aborted) {
    let pinged = false;
    const control = new AbortController();
    stop.addEventListener('abort', () => control.abort(), { once: true });
    let heard = Date.now();
    let begun = false;
    const dog = setInterval(() => {
      if (Date.now() - heard <= silence) return;
      if (begun && !pinged) silence = Math.min(silence * 4, MOST_MS);
      control.abort();
    }, 500);
    const free = net.whenBack(() => control.abort());
    try {
      const answer = await fetch(jmap.events(types), { headers: { Accept: 'text/event-stream' }, signal: control.signal, cache: 'no-store' });
      if (answer.status === 401) {
        net.onSignedOut();
        return;
      }
      if (!answer.ok || !answer.body) throw new Error(String(answer.status));
      begun = true;
      opened();
      await readEvents(answer.body, () => (heard = Date.now()), (event) => {
        const interval = /^event: ?ping$/m.test(event) && Number(/"interval": ?(\d+)/.exec(event)?.[1]);
        if (interval) (pinged = true), (silence = Math.min(Math.max(SILENCE_MS, interval * 2_500), MOST_MS));
        heed(event, changed);
      });
    } catch {
      // The stream ended; below is what to do.
    } finally {
      clearInterval(dog);
      free();
    }
    if (stop.aborted) return;
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
