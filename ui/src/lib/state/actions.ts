// What one does to conversations: each is a change of its messages, with a way back.
import { t } from '../i18n/index.svelte';
import { jmap } from '../jmap/client';
import type { Email, Id, Mailbox } from '../jmap/types';
import { mail, type Patch } from './mail.svelte';
import { toasts } from './toast.svelte';

/** The messages that a row stands for: those of its conversation that lie where it lies; in a search, where the newest
    found may be a draft or an answer of one's own, those that came in. */
function meant(rows: Id[]): Email[] {
  const out = new Map<Id, Email>();
  for (const row of rows) {
    const email = mail.emails.get(row);
    if (!email) continue;
    if (mail.list?.search) {
      const came = mail.conversation(email.threadId).filter((one) => !['drafts', 'sent', 'trash', 'junk'].includes(mail.boxOf(one)?.role ?? ''));
      for (const one of came.length ? came : [email]) out.set(one.id, one);
      continue;
    }
    out.set(row, email);
    const box = mail.boxOf(email);
    for (const other of mail.conversation(email.threadId)) if (box && other.mailboxIds[box.id]) out.set(other.id, other);
  }
  return [...out.values()];
}

const whole = (row: Id): Email[] => {
  const email = mail.emails.get(row);
  return email ? mail.conversation(email.threadId) : [];
};

function inverse(emails: Email[], patch: Patch): Map<Id, Patch> {
  return new Map(
    emails.map((email) => [
      email.id,
      Object.fromEntries(Object.keys(patch).map((path) => [path, path === 'mailboxIds' ? email.mailboxIds : email.keywords[path.slice(9)] ? true : null])),
    ]),
  );
}

async function change(emails: Email[], patch: Patch, told?: string): Promise<void> {
  if (!emails.length) return;
  const back = inverse(emails, patch);
  const done = mail.change(new Map(emails.map((email) => [email.id, patch])));
  if (told) {
    const undo = (): void => void mail.change(back).then(() => mail.sync());
    toasts.show(told, t('undo'), undo);
    mail.said = told;
  }
  await done;
}

export function move(rows: Id[], to: Mailbox, told?: string): Promise<void> {
  const emails = meant(rows).filter((email) => !email.mailboxIds[to.id]);
  return change(emails, { mailboxIds: { [to.id]: true } }, told ?? t('moved', rows.length, boxName(to)));
}

function toRole(role: string, rows: Id[], told: (count: number) => string): Promise<void> {
  const to = mail.role(role);
  return to ? move(rows, to, told(rows.length)) : Promise.resolve();
}

export const archive = (rows: Id[]): Promise<void> => toRole('archive', rows, (count) => t('archived', count));
export const junk = (rows: Id[]): Promise<void> => toRole('junk', rows, (count) => t('junked', count));
export const notJunk = (rows: Id[]): Promise<void> => toRole('inbox', rows, (count) => t('moved', count, t('role_inbox')));

/** To the trash; from there, and drafts, for good. */
export async function trash(rows: Id[]): Promise<void> {
  const bin = mail.role('trash');
  const emails = meant(rows);
  const last = bin ? emails.filter((email) => email.mailboxIds[bin.id]) : emails;
  if (last.length) {
    if (!confirm(t('deleteForGood', last.length))) return;
    await mail.destroy(last.map((email) => email.id));
    mail.said = t('deleted', rows.length);
    return;
  }
  await toRole('trash', rows, (count) => t('trashed', count));
}

export function markRead(rows: Id[], read: boolean): Promise<void> {
  const emails = read ? rows.flatMap(whole).filter((email) => !email.keywords.$seen) : rows.map((id) => mail.emails.get(id)).filter((email): email is Email => !!email?.keywords.$seen);
  return change(emails, { 'keywords/$seen': read ? true : null });
}

export function star(rows: Id[], on: boolean): Promise<void> {
  const emails = rows.map((id) => mail.emails.get(id)).filter((email): email is Email => !!email);
  const all = on ? emails : rows.flatMap(whole);
  return change(all.filter((email) => !!email.keywords.$flagged !== on), { 'keywords/$flagged': on ? true : null });
}

export const isStarred = (row: Id): boolean => whole(row).some((email) => email.keywords.$flagged);
export const isUnread = (row: Id): boolean => {
  const list = whole(row);
  return (list.length ? list : [mail.emails.get(row)]).some((email) => email && !email.keywords.$seen);
};

export async function emptyBox(box: Mailbox): Promise<void> {
  if (!confirm(t('emptyForGood', boxName(box)))) return;
  for (;;) {
    const { ids } = await jmap.one('Email/query', { filter: { inMailbox: box.id }, limit: 200 });
    if (!ids.length) break;
    await jmap.one('Email/set', { destroy: ids });
  }
  await mail.sync();
}

const ROLES = { inbox: 'role_inbox', drafts: 'role_drafts', sent: 'role_sent', archive: 'role_archive', junk: 'role_junk', trash: 'role_trash' } as const;
export const boxName = (box: Mailbox): string => (box.role && box.role in ROLES ? t(ROLES[box.role as keyof typeof ROLES]) : box.name);

/** Messages from files: .eml dropped or chosen. */
export async function importFiles(files: File[], box: Mailbox): Promise<void> {
  const emails: Record<string, unknown> = {};
  for (const [index, file] of files.entries()) {
    const { blobId } = await jmap.upload(new Blob([file], { type: 'message/rfc822' }), () => {}, new AbortController().signal);
    emails[`i${index}`] = { blobId, mailboxIds: { [box.id]: true }, keywords: { $seen: true } };
  }
  const answer = await jmap.one('Email/import', { emails }, false);
  const failed = Object.keys(answer.notCreated ?? {}).length;
  toasts.show(failed ? t('importFailed', failed) : t('imported', files.length, boxName(box)));
  await mail.sync();
}
