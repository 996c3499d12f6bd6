// Mail as the app knows it: mailboxes, messages, the list on screen.
// Invariants: what a person does shows at once and is taken back if the server refuses; a sync waits for what is
// still on its way to the server, so that no answer undoes it; lists are asked again, not guessed.
// Deliberately absent: any draft being written (compose.svelte.ts), so that no resync can touch one.
import { SvelteMap } from 'svelte/reactivity';
import { t } from '../i18n/index.svelte';
import { jmap } from '../jmap/client';
import type { Body, Email, Filter, Id, Identity, Mailbox, Quota, SetError, Snippet } from '../jmap/types';
import { toFilter } from '../search';
import { toasts } from './toast.svelte';

const HEAD = ['id', 'blobId', 'threadId', 'mailboxIds', 'keywords', 'size', 'receivedAt', 'from', 'to', 'cc', 'subject', 'preview', 'hasAttachment'];
const BODY = ['id', 'bcc', 'replyTo', 'sentAt', 'messageId', 'inReplyTo', 'references', 'bodyStructure', 'textBody', 'htmlBody', 'attachments', 'bodyValues'];
const PART = ['partId', 'blobId', 'size', 'name', 'type', 'charset', 'disposition', 'cid'];
export const PAGE = 50;
const AT_ONCE = 200;
const KEPT_BODIES = 120;

export type Patch = Record<string, unknown>;

export class List {
  ids = $state.raw<(Id | undefined)[]>([]);
  total = $state(0);
  ready = $state(false);
  snippets = new SvelteMap<Id, Snippet>();
  private asked = new Set<number>();

  constructor(
    readonly key: string,
    readonly filter: Filter,
    readonly search: boolean,
  ) {}

  has(threadId: Id): boolean {
    return this.ids.some((id) => id && mail.emails.get(id)?.threadId === threadId);
  }

  indexOf(threadId: Id): number {
    return this.ids.findIndex((id) => !!id && mail.emails.get(id)?.threadId === threadId);
  }

  /** Loads what is missing of these rows. */
  ensure(first: number, last: number): void {
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) {
      const from = page * PAGE;
      if (from >= this.total && this.ready) break;
      const missing = !this.ready || this.ids.slice(from, Math.min(from + PAGE, this.total)).includes(undefined) || this.ids.length <= from;
      if (missing && !this.asked.has(page)) void this.load(page);
    }
  }

  private async load(page: number): Promise<void> {
    this.asked.add(page);
    try {
      await mail.settled();
      await this.fetch(page * PAGE, PAGE);
    } finally {
      this.asked.delete(page);
    }
  }

  /** Asks again for what is on screen; the rest comes when it is scrolled to. */
  async refresh(): Promise<void> {
    const known = this.ids.length ? this.ids.findLastIndex((id) => id !== undefined) + 1 : 0;
    await this.fetch(0, Math.min(Math.max(known, PAGE), AT_ONCE), true);
  }

  private async fetch(position: number, limit: number, fresh = false): Promise<void> {
    const batch = jmap.batch();
    const sort = [{ property: 'receivedAt', isAscending: false }];
    const query = batch.add('Email/query', { filter: this.filter, sort, collapseThreads: true, position, limit, calculateTotal: true });
    const heads = batch.add('Email/get', { '#ids': query.ref('/ids'), properties: HEAD });
    const threads = batch.add('Thread/get', { '#ids': { ...heads.ref('/list/*/threadId') } });
    const snippets = this.search ? batch.add('SearchSnippet/get', { filter: this.filter, '#emailIds': query.ref('/ids') }) : null;
    await batch.send();
    const { ids, total = ids.length } = query.result;
    mail.take(heads.result.list as Email[]);
    if (!threads.failed) for (const thread of threads.result.list) mail.threads.set(thread.id, thread.emailIds);
    if (snippets && !snippets.failed) for (const one of snippets.result.list) this.snippets.set(one.emailId, one);
    const next = fresh ? [] : this.ids.slice(0, total);
    while (next.length < position) next.push(undefined);
    next.splice(position, ids.length, ...ids);
    this.ids = next;
    this.total = total;
    this.ready = true;
    if (!threads.failed) await mail.completeThreads(threads.result.list.flatMap((thread) => thread.emailIds));
  }
}

class Mail {
  mailboxes = $state.raw<Mailbox[]>([]);
  identities = $state.raw<Identity[]>([]);
  quota = $state.raw<Quota | null>(null);
  emails = new SvelteMap<Id, Email>();
  threads = new SvelteMap<Id, Id[]>();
  bodies = new SvelteMap<Id, Body>();
  list = $state.raw<List | null>(null);
  lists = new Map<string, List>();
  ready = $state(false);
  /** Read out to screen readers. */
  said = $state('');
  private emailState = '';
  private pending = new Set<Promise<unknown>>();
  private asking = new Map<Id, Promise<unknown>>();
  private syncing = false;
  private again = false;

  async load(): Promise<void> {
    const batch = jmap.batch();
    const boxes = batch.add('Mailbox/get', { ids: null });
    const emails = batch.add('Email/get', { ids: [] });
    const identities = batch.add('Identity/get', { ids: null });
    const quota = batch.add('Quota/get', { ids: null });
    await batch.send();
    this.emailState = emails.result.state;
    this.setMailboxes(boxes.result.list);
    await this.completeMailboxes();
    this.identities = identities.failed ? [] : identities.result.list;
    this.quota = quota.failed ? null : (quota.result.list.find((one) => one.resourceType === 'octets') ?? null);
    this.ready = true;
  }

  /** The folders that the app's own actions need. */
  private async completeMailboxes(): Promise<void> {
    const names = { drafts: t('role_drafts'), sent: t('role_sent'), archive: t('role_archive'), junk: t('role_junk'), trash: t('role_trash') };
    const missing = Object.entries(names).filter(([role]) => !this.role(role));
    if (!missing.length) return;
    const batch = jmap.batch();
    batch.add('Mailbox/set', { create: Object.fromEntries(missing.map(([role, name]) => [role, { name, role }])) });
    const boxes = batch.add('Mailbox/get', { ids: null });
    await batch.send();
    this.setMailboxes(boxes.result.list);
  }

  private setMailboxes(list: Mailbox[]): void {
    this.mailboxes = [...list].sort((a, b) => a.sortOrder - b.sortOrder || a.name.localeCompare(b.name));
  }

  role(role: string): Mailbox | undefined {
    return this.mailboxes.find((box) => box.role === role);
  }
  box(id: Id): Mailbox | undefined {
    return this.mailboxes.find((box) => box.id === id);
  }
  boxOf(email: Email): Mailbox | undefined {
    return this.mailboxes.find((box) => email.mailboxIds[box.id]);
  }

  open(page: 'mail' | 'search', place: string): void {
    const key = `${page}:${place}`;
    let list = this.lists.get(key);
    if (!list) {
      const junk = [this.role('trash')?.id, this.role('junk')?.id].filter((id): id is Id => !!id);
      const typed = page === 'search' ? toFilter(place, this.mailboxes) : null;
      const inBox = JSON.stringify(typed ?? {}).includes('"inMailbox"');
      // Searching leaves out what was thrown away, unless one asks for it.
      const filter: Filter = page === 'mail' ? { inMailbox: place } : inBox && typed ? typed : { operator: 'AND', conditions: [...(typed ? [typed] : []), { inMailboxOtherThan: junk }] };
      list = new List(key, filter, page === 'search');
      if (page === 'search') for (const old of this.lists.keys()) if (old.startsWith('search:')) this.lists.delete(old);
      this.lists.set(key, list);
    } else void this.settled().then(() => list?.refresh()).catch(() => {});
    this.list = list;
    list.ensure(0, PAGE - 1);
  }

  take(list: Email[]): void {
    for (const email of list) this.emails.set(email.id, email);
  }

  /** The heads of these messages that are not here yet. */
  async completeThreads(ids: Id[]): Promise<void> {
    const missing = [...new Set(ids)].filter((id) => !this.emails.has(id));
    for (let at = 0; at < missing.length; at += AT_ONCE) {
      const { list } = await jmap.one('Email/get', { ids: missing.slice(at, at + AT_ONCE), properties: HEAD });
      this.take(list as Email[]);
    }
  }

  /** All of a conversation, oldest first. */
  conversation(threadId: Id): Email[] {
    const list = (this.threads.get(threadId) ?? []).map((id) => this.emails.get(id)).filter((email): email is Email => !!email);
    return list.sort((a, b) => a.receivedAt.localeCompare(b.receivedAt));
  }

  async openThread(threadId: Id): Promise<void> {
    if (!this.threads.has(threadId)) {
      const { list } = await jmap.one('Thread/get', { ids: [threadId] });
      if (!list[0]) return;
      this.threads.set(threadId, list[0].emailIds);
    }
    await this.completeThreads(this.threads.get(threadId) ?? []);
  }

  /** Content, once; asked for together with its neighbours' before they are opened. */
  async body(ids: Id[]): Promise<void> {
    const missing = ids.filter((id) => !this.bodies.has(id) && !this.asking.has(id));
    const waits = ids.map((id) => this.asking.get(id));
    if (missing.length) {
      const ask = jmap
        .one('Email/get', { ids: missing, properties: BODY, bodyProperties: PART, fetchTextBodyValues: true, fetchHTMLBodyValues: true, sanitizeHTML: true, maxBodyValueBytes: 2_000_000 })
        .then(({ list }) => {
          for (const body of list) this.bodies.set(body.id, body as Body);
          for (const id of this.bodies.keys()) if (this.bodies.size > KEPT_BODIES && !ids.includes(id)) this.bodies.delete(id);
        })
        .finally(() => missing.forEach((id) => this.asking.delete(id)));
      missing.forEach((id) => this.asking.set(id, ask));
      waits.push(ask);
    }
    await Promise.all(waits);
  }

  /** Waits for what has been done and is not answered yet. */
  async settled(): Promise<void> {
    while (this.pending.size) await Promise.allSettled([...this.pending]);
  }

  /** Changes messages at once, asks the server, and takes back what it refuses. */
  async change(patches: Map<Id, Patch>): Promise<boolean> {
    const before = new Map([...patches.keys()].map((id) => [id, this.emails.get(id)]));
    const list = this.list;
    const rows = list?.ids;
    for (const [id, patch] of patches) this.show(id, patch);
    if (list?.key.startsWith('mail:')) this.prune(list);
    const ids = [...patches.keys()];
    const work = (async () => {
      const refused: [Id, SetError][] = [];
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        const update = Object.fromEntries(ids.slice(at, at + AT_ONCE).map((id) => [id, patches.get(id)]));
        const answer = await jmap.one('Email/set', { update });
        refused.push(...Object.entries(answer.notUpdated ?? {}));
      }
      return refused.filter(([, error]) => error.type !== 'notFound');
    })();
    this.pending.add(work);
    try {
      const refused = await work;
      if (!refused.length) return true;
      throw new Error(refused[0]![1].type);
    } catch {
      for (const [id, email] of before) {
        const now = this.emails.get(id);
        if (email && now) this.count(now, email);
        if (email) this.emails.set(id, email);
      }
      if (list && rows) (list.ids = rows), (list.total = Math.max(list.total, rows.length));
      toasts.show(t('didNotWork'));
      return false;
    } finally {
      this.pending.delete(work);
      if (!this.pending.size && this.again) void this.sync();
    }
  }

  private show(id: Id, patch: Patch): void {
    const old = this.emails.get(id);
    if (!old) return;
    const next: Email = { ...old, keywords: { ...old.keywords } };
    for (const [path, value] of Object.entries(patch)) {
      if (path === 'mailboxIds') next.mailboxIds = value as Record<Id, boolean>;
      else if (path.startsWith('keywords/')) {
        if (value) next.keywords[path.slice(9)] = true;
        else delete next.keywords[path.slice(9)];
      }
    }
    this.emails.set(id, next);
    this.count(old, next);
  }

  /** Keeps the numbers beside the folders true until the server tells them. */
  private count(old: Email, next: Email): void {
    const delta = (box: Mailbox, email: Email, by: number): Mailbox =>
      email.mailboxIds[box.id] ? { ...box, totalEmails: box.totalEmails + by, unreadEmails: box.unreadEmails + (email.keywords.$seen ? 0 : by) } : box;
    this.mailboxes = this.mailboxes.map((box) => delta(delta(box, old, -1), next, 1));
  }

  /** Rows whose conversation has left the mailbox go; where an older message of it is here, that takes the row. */
  private prune(list: List): void {
    const box = list.key.slice('mail:'.length);
    let gone = 0;
    const next: (Id | undefined)[] = [];
    for (const id of list.ids) {
      const email = id && this.emails.get(id);
      if (!email || email.mailboxIds[box]) next.push(id);
      else {
        const other = this.conversation(email.threadId).filter((one) => one.mailboxIds[box]).at(-1);
        if (other) next.push(other.id);
        else gone += 1;
      }
    }
    list.ids = next;
    list.total -= gone;
  }

  async destroy(ids: Id[]): Promise<void> {
    for (const id of ids) {
      const email = this.emails.get(id);
      if (!email) continue;
      this.count(email, { ...email, mailboxIds: {} });
      this.forget(id);
    }
    if (this.list) {
      const keep = this.list.ids.filter((id) => !id || this.emails.has(id));
      this.list.total -= this.list.ids.length - keep.length;
      this.list.ids = keep;
    }
    const work = jmap.one('Email/set', { destroy: ids });
    this.pending.add(work);
    try {
      const answer = await work;
      if (Object.values(answer.notDestroyed ?? {}).some((error) => error.type !== 'notFound')) toasts.show(t('didNotWork'));
    } finally {
      this.pending.delete(work);
      void this.sync();
    }
  }

  private forget(id: Id): void {
    const email = this.emails.get(id);
    this.emails.delete(id);
    this.bodies.delete(id);
    if (email) this.threads.set(email.threadId, (this.threads.get(email.threadId) ?? []).filter((other) => other !== id));
  }

  /** What changed since we last looked; every StateChange and every reconnection ends here. */
  async sync(): Promise<void> {
    if (this.syncing || this.pending.size) {
      this.again = true;
      return;
    }
    this.syncing = true;
    try {
      do {
        this.again = false;
        await this.settled();
        await this.syncOnce();
      } while (this.again);
    } finally {
      this.syncing = false;
    }
  }

  private async syncOnce(): Promise<void> {
    const batch = jmap.batch();
    const changes = batch.add('Email/changes', { sinceState: this.emailState, maxChanges: AT_ONCE });
    const created = batch.add('Email/get', { '#ids': changes.ref('/created'), properties: HEAD });
    const updated = batch.add('Email/get', { '#ids': changes.ref('/updated'), properties: ['id', 'mailboxIds', 'keywords'] });
    const threads = batch.add('Thread/get', { '#ids': created.ref('/list/*/threadId') });
    const boxes = batch.add('Mailbox/get', { ids: null });
    const quota = batch.add('Quota/get', { ids: null });
    const fresh = batch.add('Email/get', { ids: [] });
    await batch.send();
    if (this.pending.size) {
      // Something was done meanwhile, and these answers may be older than that.
      this.again = true;
      return;
    }
    this.setMailboxes(boxes.result.list);
    if (!quota.failed) this.quota = quota.result.list.find((one) => one.resourceType === 'octets') ?? null;
    if (changes.failed) {
      // History was rerolled or is too long ago (RFC 8620 5.2): all that is kept is asked for again.
      const open = this.list;
      this.emailState = fresh.result.state;
      this.lists.clear();
      if (open) this.lists.set(open.key, open);
      const known = [...this.emails.keys()];
      for (let at = 0; at < known.length; at += AT_ONCE) {
        const { list, notFound } = await jmap.one('Email/get', { ids: known.slice(at, at + AT_ONCE), properties: HEAD });
        this.take(list as Email[]);
        notFound.forEach((id) => this.forget(id));
      }
      const kept = [...this.threads.keys()];
      for (let at = 0; at < kept.length; at += AT_ONCE) {
        const { list } = await jmap.one('Thread/get', { ids: kept.slice(at, at + AT_ONCE) });
        for (const thread of list) this.threads.set(thread.id, thread.emailIds);
      }
      await this.completeThreads([...this.threads.values()].flat());
    } else {
      const { newState, hasMoreChanges, destroyed } = changes.result;
      this.take((created.result.list as Email[]));
      for (const some of updated.result.list) {
        const old = this.emails.get(some.id);
        if (old) this.emails.set(some.id, { ...old, mailboxIds: some.mailboxIds, keywords: some.keywords });
      }
      if (!threads.failed) {
        for (const thread of threads.result.list) this.threads.set(thread.id, thread.emailIds);
        await this.completeThreads(threads.result.list.flatMap((thread) => thread.emailIds));
      }
      destroyed.forEach((id) => this.forget(id));
      const inbox = this.role('inbox')?.id ?? '';
      const fresh = created.result.list.filter((email) => email.mailboxIds[inbox] && !email.keywords.$seen);
      if (fresh.length) this.said = t('newMail', fresh.length);
      this.emailState = newState;
      if (hasMoreChanges) this.again = true;
    }
    await this.list?.refresh();
  }
}

export const mail = new Mail();
