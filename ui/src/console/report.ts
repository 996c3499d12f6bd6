// What `status` says (src/ops/status/mod.rs), and what that means at a glance.
import type { Roll } from '../admin/ask';
import type { en } from './en';

export interface Report {
  hostname: string; version: string; at: number; uptime_s: number;
  state: 'PAIR' | 'JOINING' | 'SOLO' | 'RECOVERING' | 'BRANCHED' | 'STANDALONE';
  rpo_zero: boolean; role: 'primary' | 'standby' | 'none'; node: number | null; epoch: number; insync: number[];
  committed: number; applied: number; durable: number; lag: { records: number } | null;
  paths: { peer: string; reachable: boolean; heard_ms_ago: number | null; session: boolean }[];
  copy: { sending: boolean; bytes_done: number; bytes_total: number; tenants_done: number; tenants_total: number; bytes_per_s: number; eta_s: number | null; stopped: string | null } | null;
  merge: { branch: string; leading: boolean; records_done: number; records_total: number; tenants_done: number; tenants_total: number; tasks_done: number; tasks_total: number; stopped: string | null } | null;
  update: Roll | null;
  witness: { address: string; reachable: boolean; round_trip_us: number | null; epoch: number | null; holder: number | null } | null;
  addresses: { address: string; interface: string; vrid: number; vrrp: 'initialize' | 'backup' | 'active'; holder: 'here' | 'nobody' | { other: string } }[];
  queue_depth: number; sessions: { smtp: number; submission: number; imap: number }; tenants: number;
  last_move: { at: number; kind: 'takeover' | 'handover'; to: number; epoch: number; took_ms: number | null; reason: string; asked_by: number | null } | null;
  waiting_for: string | null;
  problems: { what: string; runbook: string }[];
}

type Text = keyof typeof en;
export type Level = 'good' | 'warn' | 'bad';

const DISK = ['disk-failure', 'store-stopped', 'data-disk', 'data-disk-full', 'boot-disk'];
export const diskFault = (report: Report): boolean => report.problems.some((one) => DISK.includes(one.runbook));
/** Whether it waits for a person's word, and not for the peer or a copy. */
export const waitsForOperator = (report: Report): boolean => report.problems.some((one) => one.runbook === 'force-solo');

/** The one line that is read first. */
export function verdict(report: Report): { level: Level; text: Text } {
  const faults = report.problems.length > 0;
  if (waitsForOperator(report)) return { level: 'bad', text: 'badWaiting' };
  if (report.problems.some((one) => one.runbook === 'disk-failure' || one.runbook === 'store-stopped')) return { level: 'bad', text: 'badDisk' };
  if (report.state === 'BRANCHED') return { level: 'bad', text: 'badBranched' };
  if (report.state === 'RECOVERING') return { level: 'bad', text: 'badRecovering' };
  if (report.state === 'SOLO') return { level: 'warn', text: 'warnSolo' };
  if (report.state === 'JOINING') return { level: 'warn', text: 'warnJoining' };
  if (faults || report.waiting_for || report.update?.state === 'stopped') return { level: 'warn', text: 'warnProblems' };
  return { level: 'good', text: report.state === 'STANDALONE' ? 'goodStandalone' : 'goodPair' };
}

export type PeerRole = 'primary' | 'standby' | 'none' | 'missing' | 'joining' | 'unknown';

/** What this appliance can say of the other one's role; null where there is none. */
export function peerRole(report: Report): PeerRole | null {
  if (report.node === null) return null;
  if (report.state === 'SOLO') return 'missing';
  if (report.state === 'JOINING') return report.role === 'primary' ? 'joining' : 'primary';
  if (report.state === 'PAIR') return report.role === 'primary' ? 'standby' : 'primary';
  return 'unknown';
}

const FIRST: Record<string, Text> = {
  'peer-lost': 'first_peer_lost', joining: 'first_joining', recovering: 'first_recovering', branched: 'first_branched', 'force-solo': 'first_force_solo', 'pair-full-copy': 'first_pair_full_copy', 'update-roll': 'first_update', 'update-failed': 'first_update',
  'witness-lost': 'first_witness', 'certificate-renewal': 'first_certificate', 'pair-certificate': 'first_pair_certificate', 'address-missing': 'first_address', 'link-down': 'first_address', 'vrrp-address-conflict': 'first_vrrp_conflict', 'vrrp-foreign-router': 'first_vrrp_conflict',
  'origin-address': 'first_origin', 'listener-down': 'first_listener', 'disk-failure': 'first_disk', 'store-stopped': 'first_disk', 'data-disk': 'first_disk', 'data-disk-full': 'first_disk_full', 'pair-refused': 'first_refused', 'pair-config-differs': 'first_config', 'clock-wrong': 'first_clock', 'clock-unset': 'first_clock',
};
export const firstStep = (runbook: string): Text => FIRST[runbook] ?? 'first_any';
