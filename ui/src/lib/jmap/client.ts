// A small JMAP client: calls are gathered in a batch, may refer to each other's answers, and are sent as one request.
// Deliberately absent: a cache (lib/state has it) and any knowledge of what the objects mean.
import { ApiError, net } from '../net.svelte';
import type { Answers, Method } from './types';

const CORE = 'urn:ietf:params:jmap:';
const USING = [
  ...['core', 'mail', 'submission', 'vacationresponse', 'quota', 'contacts'].map((name) => CORE + name),
  'urn:understudy:params:jmap:preferences',
];

interface Session {
  capabilities: Record<string, Record<string, number>>;
  accounts: Record<string, unknown>;
  primaryAccounts: Record<string, string>;
  apiUrl: string;
  uploadUrl: string;
  downloadUrl: string;
  eventSourceUrl: string;
}

export class JmapError extends Error {
  constructor(
    readonly type: string,
    readonly method: string,
  ) {
    super(`${method}: ${type}`);
  }
}

/** One call of a batch; its answer is there when the batch has been sent. */
export class Call<M extends Method> {
  private answer: Answers[M] | JmapError | undefined;
  constructor(
    readonly method: M,
    readonly id: string,
  ) {}
  ref(path: string): { resultOf: string; name: string; path: string } {
    return { resultOf: this.id, name: this.method, path };
  }
  settle(answer: Answers[M] | JmapError): void {
    this.answer ??= answer;
  }
  get failed(): string | null {
    return this.answer instanceof JmapError ? this.answer.type : null;
  }
  get result(): Answers[M] {
    if (this.answer instanceof JmapError) throw this.answer;
    if (!this.answer) throw new JmapError('noAnswer', this.method);
    return this.answer;
  }
}

export class Batch {
  private calls: [string, Record<string, unknown>, string][] = [];
  private handles = new Map<string, Call<Method>>();
  constructor(private readonly client: Client) {}
  get empty(): boolean {
    return this.calls.length === 0;
  }
  add<M extends Method>(method: M, args: Record<string, unknown>): Call<M> {
    const call = new Call(method, `c${this.calls.length}`);
    this.calls.push([method, { accountId: this.client.account, ...args }, call.id]);
    this.handles.set(call.id, call as unknown as Call<Method>);
    return call;
  }
  async send(repeat = true): Promise<void> {
    const answers = await this.client.post(this.calls, repeat);
    for (const [name, answer, id] of answers) {
      const call = this.handles.get(id);
      if (name === 'error') call?.settle(new JmapError((answer as { type: string }).type, call.method));
      else if (name === call?.method) call.settle(answer as Answers[Method]);
    }
  }
}

class Client {
  account = '';
  private session: Session | null = null;

  async open(): Promise<void> {
    const answer = await net.fetch('/jmap/session');
    if (!answer.ok) throw await net.refusal(answer);
    this.session = (await answer.json()) as Session;
    this.account = this.session.primaryAccounts[`${CORE}mail`] ?? Object.keys(this.session.accounts)[0] ?? '';
  }

  close(): void {
    this.session = null;
    this.account = '';
  }

  private get at(): Session {
    if (!this.session) throw new ApiError(401, 'signed-out');
    return this.session;
  }

  limit(name: 'maxObjectsInGet' | 'maxObjectsInSet' | 'maxSizeUpload', otherwise: number): number {
    return this.session?.capabilities[`${CORE}core`]?.[name] ?? otherwise;
  }

  batch(): Batch {
    return new Batch(this);
  }

  async one<M extends Method>(method: M, args: Record<string, unknown>, repeat = true): Promise<Answers[M]> {
    const batch = this.batch();
    const call = batch.add(method, args);
    await batch.send(repeat);
    return call.result;
  }

  async post(methodCalls: unknown[], repeat: boolean): Promise<[string, unknown, string][]> {
    const body = JSON.stringify({ using: USING, methodCalls });
    const headers = { 'Content-Type': 'application/json' };
    const answer = await net.fetch(this.at.apiUrl, { method: 'POST', body, headers }, repeat);
    if (!answer.ok) throw await net.refusal(answer);
    return ((await answer.json()) as { methodResponses: [string, unknown, string][] }).methodResponses;
  }

  events(types: string): string {
    return fill(this.at.eventSourceUrl, { types, closeafter: 'no', ping: '1' });
  }

  blobUrl(blobId: string, name: string, type: string): string {
    return fill(this.at.downloadUrl, { accountId: this.account, blobId, name, type });
  }

  async blob(blobId: string, name = 'part', type = 'application/octet-stream'): Promise<Blob> {
    const answer = await net.fetch(this.blobUrl(blobId, name, type));
    if (!answer.ok) throw await net.refusal(answer);
    return new Blob([await answer.arrayBuffer()], { type });
  }

  /** XMLHttpRequest, since fetch tells nothing of an upload's progress.  Repeated until it arrives or is aborted. */
  async upload(data: Blob, progress: (part: number) => void, signal: AbortSignal): Promise<{ blobId: string; size: number }> {
    for (;;) {
      const done = await this.send(data, progress, signal);
      if (done.status >= 200 && done.status < 300) return JSON.parse(done.text) as { blobId: string; size: number };
      if (signal.aborted) throw new ApiError(0, 'aborted');
      if (done.status === 401) net.onSignedOut();
      if (done.status && (done.status < 502 || done.status > 504)) throw new ApiError(done.status, done.status === 413 ? 'too-large' : 'unknown');
      net.lost();
      await new Promise<void>((go) => {
        const stop = net.whenBack(() => (stop(), go()));
      });
    }
  }

  private send(data: Blob, progress: (part: number) => void, signal: AbortSignal): Promise<{ status: number; text: string }> {
    return new Promise((settle) => {
      const request = new XMLHttpRequest();
      request.open('POST', fill(this.at.uploadUrl, { accountId: this.account }));
      request.setRequestHeader('X-Understudy', '1');
      request.setRequestHeader('Content-Type', data.type || 'application/octet-stream');
      request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
      request.onloadend = () => settle({ status: request.status, text: request.responseText });
      signal.addEventListener('abort', () => request.abort());
      request.send(data);
    });
  }
}

// RFC 6570 level 1.
const fill = (template: string, values: Record<string, string>): string =>
  template.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(values[key] ?? ''));

export const jmap = new Client();
