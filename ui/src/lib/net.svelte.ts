// Every request of the app goes through here, so that one place knows whether the server answers.
// Invariants: a request that may be repeated waits for the server and is repeated; a 401 ends the session's view,
// never a draft; while the server is away it is asked every 300 ms, after ten seconds every two.

const FAST_MS = 300;
const FAST_FOR_MS = 10_000;
const SLOW_MS = 2_000;
const PROBE_MS = 900;
const PATIENCE_MS = 12_000;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly field?: string,
    readonly retryAfter = 0,
  ) {
    super(code);
  }
}

export class Net {
  online = $state(true);
  private since = 0;
  private waiting: (() => void)[] = [];
  private inFlight = new Set<AbortController>();
  private listeners = new Set<() => void>();
  onSignedOut: () => void = () => {};
  /** `base`: what the paths of `api` are below; its `session` is asked whether the server is back. */
  constructor(private readonly base: string) {}

  /** Something failed as it fails when the server is away: ask until it is back. */
  lost(): void {
    if (!this.online) return;
    this.online = false;
    this.since = Date.now();
    // What hangs on the dead connection is repeated on the new one.
    for (const one of this.inFlight) one.abort();
    void this.probe();
  }

  whenBack(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async probe(): Promise<void> {
    for (;;) {
      try {
        const answer = await fetch(`${this.base}/session`, { signal: AbortSignal.timeout(PROBE_MS), cache: 'no-store' });
        if (answer.status < 500) break;
      } catch {
        // Still away.
      }
      await sleep(Date.now() - this.since < FAST_FOR_MS ? FAST_MS : SLOW_MS);
    }
    this.online = true;
    this.waiting.splice(0).forEach((go) => go());
    this.listeners.forEach((listener) => listener());
  }

  private back(): Promise<void> {
    return this.online ? Promise.resolve() : new Promise((go) => this.waiting.push(go));
  }

  /** `repeat`: the request may be sent again when it is not known whether it arrived. */
  async fetch(url: string, init: RequestInit = {}, repeat = true, patience = PATIENCE_MS): Promise<Response> {
    for (;;) {
      await this.back();
      const control = new AbortController();
      const timer = setTimeout(() => control.abort(), patience);
      this.inFlight.add(control);
      try {
        const headers = new Headers(init.headers);
        headers.set('X-Understudy', '1');
        const answer = await fetch(url, { ...init, headers, signal: control.signal, credentials: 'same-origin' });
        if (answer.status < 502 || answer.status > 504) return answer;
        this.lost();
        // 503 `not-here` says that nothing was done, so that it may be asked again in any case.
        if (!repeat && answer.status !== 503) throw new ApiError(answer.status, 'offline');
      } catch (error) {
        if (error instanceof ApiError) throw error;
        this.lost();
        if (!repeat) throw new ApiError(0, 'offline');
      } finally {
        clearTimeout(timer);
        this.inFlight.delete(control);
      }
    }
  }

  async api<T>(method: string, path: string, body?: unknown, repeat = method !== 'POST', patience = PATIENCE_MS): Promise<T> {
    const init: RequestInit = { method, cache: 'no-store' };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { 'Content-Type': 'application/json' };
    }
    const answer = await this.fetch(`${this.base}/${path}`, init, repeat, patience);
    if (!answer.ok) throw await this.refusal(answer);
    return (answer.status === 204 ? undefined : await answer.json()) as T;
  }

  async refusal(answer: Response): Promise<ApiError> {
    const told = (await answer.json().catch(() => ({}))) as { error?: string; field?: string };
    const code = told.error ?? 'unknown';
    if (answer.status === 401 && code !== 'wrong' && code !== 'code-needed') this.onSignedOut();
    return new ApiError(answer.status, code, told.field, Number(answer.headers.get('Retry-After') ?? 0));
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((go) => setTimeout(go, ms));
export const net = new Net('/api');
