// What operators and administrators ask: the words of the control socket (src/ops/request.rs) over HTTP.
// A request is one of `Commands`; its answer comes without its wrapping, a failure as `Failed`.
import { ApiError, type Net } from '../lib/net.svelte';

export interface Tenant { id: number; name: string; domains: number; accounts: number }
export interface Domain { domain: string; tenant: string }
export interface Account { address: string; tenant: string; administrator: boolean }
export interface Alias { alias: string; account: string }
export interface Credential { id: number; kind: string; label: string; created_ms: number; ends_ms?: number | null }
export interface Audited { when_ms: number; by: string; command: string; about: string; ok: boolean; what: string }
export interface Queued { id: number; tenant: string; from: string; to: string; size: number; accepted_ms: number; attempts: number; next_ms: number; last_answer: string | null }
export interface Group { name: string; kind: string; tenant: string | null; addresses: string[]; interface: string; vrid: number; state: string; holder: string | null; priority: number; since_ms: number | null; claim: string | null; problem: string | null }
export interface Certificate { names: string[]; source: string; from_ms: number; until_ms: number; fingerprint: string; problem: string | null }
export interface OperatorRow { name: string; created_ms: number }
export interface Roll { id: string; version: string; only_here: boolean; began: number; state: 'under-way' | 'done' | 'stopped'; step: string; bytes: [number, number] | null; why: string | null; do: string | null; peer_running: string | null }
export interface PairFacts { pair: string; node: number; pin: string; peer_pin: string | null }
type OfTenant = { tenant: string | null };
type Named = { name: string };

interface Commands {
  'tenant-list': [void, Tenant[]];
  'tenant-create': [Named, void];
  'domain-list': [OfTenant, Domain[]];
  'domain-add': [{ tenant: string; domain: string }, void];
  'domain-remove': [Named, void];
  'account-list': [OfTenant, Account[]];
  'account-create': [Named, void];
  'account-remove': [Named, void];
  'account-administrator': [{ account: string; on: boolean }, void];
  'alias-list': [OfTenant, Alias[]];
  'alias-add': [Alias, void];
  'alias-remove': [Named, void];
  'credential-list': [Named, Credential[]];
  'credential-password': [{ account: string; password: string }, void];
  'credential-app-password': [{ account: string; label: string; days: number | null }, { id: number; password: string }];
  'credential-revoke': [{ account: string; id: number }, void];
  'credential-totp-reset': [Named, void];
  'queue-list': [void, Queued[]];
  'queue-retry': [{ tenant: string; id: number }, void];
  'queue-remove': [{ tenant: string; id: number }, void];
  'address-list': [void, Group[]];
  'address-claim': [{ name: string; force: boolean }, void];
  'address-release': [Named, void];
  handover: [void, void];
  'pair-token': [void, { token: string; valid_s: number }];
  'pair-show': [void, PairFacts];
  'pair-force-solo': [{ confirmed: boolean }, void];
  'update-install': [{ len: number; only_here: boolean; restart: boolean; downgrade: boolean; again: boolean }, void];
  'update-rollback': [{ restart: boolean }, void];
  'update-progress': [void, { roll: Roll | null }];
  'certificate-list': [void, Certificate[]];
  'operator-list': [void, OperatorRow[]];
  'operator-add': [Named, { password: string }];
  'operator-remove': [Named, void];
  'operator-password': [{ name: string; password: string }, void];
  audit: [{ limit: number | null }, Audited[]];
}
export type Command = keyof Commands;
export type Ask = <C extends Command>(cmd: C, ...args: Commands[C][0] extends void ? [] : [Commands[C][0]]) => Promise<Commands[C][1]>;

/** It was not done. `what` happened; `advice` says what to do. Both are the program's own words. */
export class Failed extends Error {
  constructor(readonly what: string, readonly advice: string) {
    super(what);
  }
}

type Reply = { ok: 'done' | Record<string, unknown> } | { error: { what: string; do: string } };
const READS = /-list$|-progress$|^audit$|^pair-show$/;
/** A handover waits for the peer. */
const PATIENCE_MS = 60_000;

export const asker = (net: Net, path: string): Ask => async (cmd, ...[args]) => {
  const body = args === undefined ? { cmd } : { cmd, args };
  const reply = await net.api<Reply>('POST', path, body, READS.test(cmd), PATIENCE_MS);
  if ('error' in reply) throw new Failed(reply.error.what, reply.error.do);
  return (reply.ok === 'done' ? undefined : Object.values(reply.ok)[0]) as never;
};

/** Whether the session is over, which is said elsewhere. */
export const signedOut = (error: unknown): boolean => error instanceof ApiError && error.status === 401;
