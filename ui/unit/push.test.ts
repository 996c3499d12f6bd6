import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const net = vi.hoisted(() => ({ online: true, lost: vi.fn(), onSignedOut: vi.fn(), back: new Set<() => void>() }));
vi.mock('../src/lib/net.svelte', () => ({
  net: { get online() { return net.online; }, lost: net.lost, onSignedOut: net.onSignedOut, whenBack: (go: () => void) => (net.back.add(go), () => net.back.delete(go)) },
  sleep: (ms: number) => new Promise((go) => setTimeout(go, ms)),
}));
vi.mock('../src/lib/jmap/client', () => ({ jmap: { account: 'a', events: () => '/jmap/events' } }));
import { listen } from '../src/lib/jmap/push';

const PING = new TextEncoder().encode('event: ping\ndata: {"interval":1}\n\n');

/** A server whose streams ping each second until they are struck dumb; nothing is ever closed. */
class Server {
  asked: number[] = [];
  answers = true;
  private dumb = false;
  strike(): void {
    this.dumb = true;
  }
  fetch = (_: string, { signal }: RequestInit): Promise<Response> => {
    this.asked.push(Date.now());
    const fail = (): Error => new DOMException('aborted', 'AbortError');
    if (!this.answers) return new Promise((_, no) => signal!.addEventListener('abort', () => no(fail())));
    this.dumb = false;
    const body = new ReadableStream<Uint8Array>({
      start: (out) => {
        const timer = setInterval(() => !this.dumb && out.enqueue(PING), 1_000);
        signal!.addEventListener('abort', () => (clearInterval(timer), out.error(fail())));
      },
    });
    return Promise.resolve(new Response(body));
  };
}

describe('events', () => {
  const server = { now: new Server() };
  const stop = { now: new AbortController() };
  let opened = 0;
  beforeEach(() => {
    vi.useFakeTimers();
    server.now = new Server();
    stop.now = new AbortController();
    net.online = true;
    net.back.clear();
    net.lost.mockReset();
    opened = 0;
    vi.stubGlobal('fetch', server.now.fetch);
    void listen('*', () => opened++, () => {}, stop.now.signal);
  });
  afterEach(async () => {
    stop.now.abort();
    await vi.advanceTimersByTimeAsync(1_000);
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it('are heard on one stream while the server pings', async () => {
    await vi.advanceTimersByTimeAsync(600_000);
    expect(server.now.asked).toHaveLength(1);
    expect(opened).toBe(1);
  });

  it('come back within two seconds of the last word, and no request is given up for it', async () => {
    await vi.advanceTimersByTimeAsync(60_050);
    server.now.strike();
    await vi.advanceTimersByTimeAsync(1_900);
    expect(opened).toBe(2);
    expect(net.lost).not.toHaveBeenCalled();
    // The new one is as good as the old one was.
    await vi.advanceTimersByTimeAsync(60_000);
    expect(opened).toBe(2);
  });

  it('of a server that does not answer either say that it is away', async () => {
    await vi.advanceTimersByTimeAsync(60_050);
    server.now.answers = false;
    net.lost.mockImplementation(() => (net.online = false));
    server.now.strike();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(net.lost).toHaveBeenCalledTimes(1);
    server.now.answers = true;
    net.online = true;
    await vi.advanceTimersByTimeAsync(100);
    expect(opened).toBe(2);
  });

  it('are opened anew, once, when the server is back', async () => {
    await vi.advanceTimersByTimeAsync(5_050);
    [...net.back].forEach((go) => go());
    await vi.advanceTimersByTimeAsync(1);
    expect(opened).toBe(2);
    expect(net.lost).not.toHaveBeenCalled();
  });

  it('of a network that stalls often are waited for longer', async () => {
    for (let n = 0; n < 40; n++) {
      await vi.advanceTimersByTimeAsync(3_000);
      server.now.strike();
    }
    expect(opened).toBeLessThan(12);
  });
});
