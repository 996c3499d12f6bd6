// Messages being written.  Each lives first on this device (every change is kept at once, by account), then as a draft
// on the server (two seconds after the last change; a new one is created and the older destroyed in one call).
// Invariants: no answer of the server changes what is in the editor; a message is submitted at most once, also when
// the answer to its submission was lost; the quoted original stays sealed until one asks to edit it.
import { untrack } from 'svelte';
import { cleanHtml, escapeHtml, htmlToText, splitQuote, textToHtml } from '../html';
import { longDate, t } from '../i18n/index.svelte';
import { jmap } from '../jmap/client';
import type { Address, Body, Email, Id, Identity, Part } from '../jmap/types';
import { ApiError, net } from '../net.svelte';
import { same, shortName, unique, written } from '../people';
import { mail } from './mail.svelte';
import { prefs } from './prefs.svelte';
import { toasts } from './toast.svelte';

export interface File_ {
  key: string;
  name: string;
  type: string;
  size: number;
  blobId: Id | null;
  /** 0 to 1 while it is on its way. */
  progress: number;
  failed?: boolean;
  cid?: string;
}

interface Kept {
  key: string;
  to: Address[];
  cc: Address[];
  bcc: Address[];
  subject: string;
  html: string;
  quote: string;
  identityId: Id;
  files: File_[];
  emailId: Id | null;
  messageId: string;
  source: { emailId: Id; mode: 'reply' | 'forward'; messageId: string[]; references: string[] } | null;
  changed: number;
  saved: number;
}

const SAVE_MS = 2_000;
const uuid = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const shelf = (): string => `understudy.drafts.${jmap.account}.`;

export class Draft {
  readonly key: string;
  readonly messageId: string;
  to = $state.raw<Address[]>([]);
  cc = $state.raw<Address[]>([]);
  bcc = $state.raw<Address[]>([]);
  /** Typed into an address field and not yet an address. */
  loose = $state<Record<string, string>>({});
  subject = $state('');
  html = $state('');
  /** The sealed original, with the line that introduces it. */
  quote = $state('');
  identityId = $state('');
  files = $state<File_[]>([]);
  minimised = $state(false);
  status = $state<'clean' | 'changed' | 'saving' | 'saved' | 'failed' | 'sending'>('clean');
  emailId = $state<Id | null>(null);
  source: Kept['source'] = null;
  changed = 0;
  savedAt = $state(0);
  /** Set when html was replaced from outside the editor. */
  rewritten = $state(0);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private saving: Promise<boolean> | null = null;
  private doubt = false;
  private aborts = new Map<string, AbortController>();

  constructor(kept: Partial<Kept> = {}) {
    this.key = kept.key ?? uuid();
    const domain = mail.identities[0]?.email.split('@')[1] ?? 'localhost';
    this.messageId = kept.messageId ?? `${uuid()}@${domain}`;
    this.to = kept.to ?? [];
    this.cc = kept.cc ?? [];
    this.bcc = kept.bcc ?? [];
    this.subject = kept.subject ?? '';
    this.html = kept.html ?? '';
    this.quote = kept.quote ?? '';
    this.identityId = kept.identityId ?? mail.identities[0]?.id ?? '';
    this.files = (kept.files ?? []).filter((file) => file.blobId);
    this.emailId = kept.emailId ?? null;
    this.source = kept.source ?? null;
    this.changed = kept.changed ?? 0;
    this.savedAt = kept.saved ?? 0;
    if (this.changed > this.savedAt) this.touch();
  }

  get identity(): Identity | undefined {
    return mail.identities.find((one) => one.id === this.identityId) ?? mail.identities[0];
  }

  get uploading(): boolean {
    return this.files.some((file) => !file.blobId && !file.failed);
  }

  get recipients(): Address[] {
    return unique([...this.to, ...this.cc, ...this.bcc]);
  }

  get blank(): boolean {
    return !this.recipients.length && !this.subject.trim() && !this.files.length && !htmlToText(this.html).replace(signatureText(this.identity), '').trim();
  }

  /** Something was written: kept here at once, at the server soon. */
  touch(): void {
    this.changed = Date.now();
    if (this.status !== 'sending') this.status = 'changed';
    this.keep();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.save(), SAVE_MS);
  }

  private keep(): void {
    const { key, to, cc, bcc, subject, html, quote, identityId, emailId, messageId, source, changed } = this;
    const files = $state.snapshot(this.files).filter((file) => file.blobId);
    const kept: Kept = { key, to, cc, bcc, subject, html, quote, identityId, files, emailId, messageId, source, changed, saved: this.savedAt };
    try {
      localStorage.setItem(shelf() + key, JSON.stringify(kept));
    } catch {
      // No room: the server's copy has to do, and is made at once.
      clearTimeout(this.timer);
      this.timer = setTimeout(() => void this.save(), 200);
    }
  }

  private drop(): void {
    clearTimeout(this.timer);
    localStorage.removeItem(shelf() + this.key);
  }

  // Files.

  attach(list: Iterable<File>, inline = false): File_[] {
    const made: File_[] = [];
    for (const file of list) {
      const key = uuid();
      const one: File_ = { key, name: file.name || 'file', type: file.type || 'application/octet-stream', size: file.size, blobId: null, progress: 0 };
      if (inline) one.cid = `${key}@understudy`;
      this.files.push(one);
      made.push(one);
      void this.upload(key, file);
    }
    return made;
  }

  private async upload(key: string, data: File): Promise<void> {
    const control = new AbortController();
    this.aborts.set(key, control);
    const at = (): File_ | undefined => this.files.find((file) => file.key === key);
    try {
      if (data.size > jmap.limit('maxSizeUpload', 50e6)) throw new ApiError(413, 'too-large');
      const { blobId } = await jmap.upload(data, (part) => void (at() && (at()!.progress = part)), control.signal);
      const file = at();
      if (file) (file.blobId = blobId), (file.progress = 1);
      this.touch();
    } catch (error) {
      const file = at();
      if (file && !control.signal.aborted) {
        file.failed = true;
        toasts.show(error instanceof ApiError && error.code === 'too-large' ? t('fileTooLarge', file.name) : t('fileFailed', file.name));
      }
    } finally {
      this.aborts.delete(key);
    }
  }

  detach(key: string): void {
    this.aborts.get(key)?.abort();
    this.files = this.files.filter((file) => file.key !== key);
    this.touch();
  }

  /** The whole of it, as it is kept and sent; inline images by their Content-ID. */
  private content(): { html: string; text: string } {
    const written = this.html.replace(/<img\b[^>]*\bdata-cid="([^"]+)"[^>]*>/g, (tag, cid: string) => {
      const alt = /\balt="([^"]*)"/.exec(tag)?.[1] ?? '';
      const width = /\bwidth="(\d+)"/.exec(tag)?.[1];
      return `<img src="cid:${cid}" alt="${alt}"${width ? ` width="${width}"` : ''}>`;
    });
    const html = written + this.quote;
    return { html: `<html><body>${html}</body></html>`, text: htmlToText(html) };
  }

  private email(): Record<string, unknown> {
    const drafts = mail.role('drafts')?.id ?? '';
    const { html, text } = this.content();
    const who = this.identity;
    const used = this.files.filter((file) => file.blobId && (!file.cid || html.includes(`cid:${file.cid}`)));
    return {
      mailboxIds: { [drafts]: true },
      keywords: { $draft: true, $seen: true },
      messageId: [this.messageId],
      from: who ? [{ name: who.name || null, email: who.email }] : null,
      replyTo: who?.replyTo?.length ? who.replyTo : null,
      to: this.to, cc: this.cc.length ? this.cc : null, bcc: this.bcc.length ? this.bcc : null,
      subject: this.subject,
      ...(this.source?.mode === 'reply' && { inReplyTo: this.source.messageId }),
      ...(this.source && { references: [...this.source.references, ...this.source.messageId] }),
      textBody: [{ partId: 't', type: 'text/plain' }],
      htmlBody: [{ partId: 'h', type: 'text/html' }],
      bodyValues: { t: { value: text }, h: { value: html } },
      attachments: used.map((file) => ({ blobId: file.blobId, type: file.type, name: file.name, disposition: file.cid ? 'inline' : 'attachment', cid: file.cid ?? null })),
    };
  }

  /** One save at a time; true when the server has what is here now. */
  async save(): Promise<boolean> {
    clearTimeout(this.timer);
    await this.saving;
    if (this.savedAt >= this.changed && this.emailId) return true;
    this.saving = this.saveOnce();
    const done = await this.saving;
    this.saving = null;
    return done;
  }

  private async saveOnce(): Promise<boolean> {
    const at = this.changed;
    if (this.status !== 'sending') this.status = 'saving';
    try {
      if (this.doubt) await this.findDraft();
      const create = { d: this.email() };
      let answer = await jmap.one('Email/set', { create, ...(this.emailId && { destroy: [this.emailId] }) }, false);
      const refused = answer.notCreated?.d;
      if (refused?.type === 'blobNotFound') {
        // The day of an upload is over: those files have to be chosen again.
        toasts.show(t('filesGone'));
        this.files = this.files.filter((file) => file.blobId && !refused.notFound?.includes(file.blobId));
        create.d = this.email();
        answer = await jmap.one('Email/set', { create, ...(this.emailId && { destroy: [this.emailId] }) }, false);
      }
      const made = answer.created?.d;
      if (!made) throw new Error(answer.notCreated?.d?.type ?? 'notCreated');
      this.emailId = made.id;
      this.savedAt = at;
      await this.adopt();
      this.keep();
      if (this.status !== 'sending') this.status = this.changed > at ? 'changed' : 'saved';
      return true;
    } catch (error) {
      if (error instanceof ApiError && (error.code === 'offline' || error.status === 401)) {
        // It may have arrived; the next attempt looks first.
        this.doubt = true;
        if (this.status !== 'sending') this.status = 'changed';
        if (error.code === 'offline') {
          const stop = net.whenBack(() => (stop(), void this.save()));
        }
      } else if (this.status !== 'sending') this.status = 'failed';
      return false;
    }
  }

  /** The parts of the older draft go with it: from now on the files are those of the new one. */
  private async adopt(): Promise<void> {
    if (!this.emailId || !this.files.some((file) => file.blobId)) return;
    const bodyProperties = ['blobId', 'name', 'type', 'cid', 'size'];
    const { list } = await jmap.one('Email/get', { ids: [this.emailId], properties: ['attachments'], bodyProperties });
    const parts = [...(list[0]?.attachments ?? [])];
    for (const file of this.files) {
      const at = parts.findIndex((part) => (file.cid ? part.cid === file.cid : part.name === file.name && part.type === file.type));
      if (at >= 0) file.blobId = parts.splice(at, 1)[0]!.blobId ?? file.blobId;
    }
  }

  /** After an answer was lost: the newest draft with our Message-ID is ours, older ones go with the next save. */
  private async findDraft(): Promise<void> {
    const filter = { inMailbox: mail.role('drafts')?.id };
    const batch = jmap.batch();
    const query = batch.add('Email/query', { filter, sort: [{ property: 'receivedAt', isAscending: false }], limit: 30 });
    const get = batch.add('Email/get', { '#ids': query.ref('/ids'), properties: ['id', 'messageId'] });
    await batch.send();
    const ours = get.result.list.filter((email) => email.messageId?.includes(this.messageId)).map((email) => email.id);
    const [newest, ...older] = query.result.ids.filter((id) => ours.includes(id));
    if (newest && newest !== this.emailId) {
      this.emailId = newest;
      await this.adopt();
    }
    if (older.length) await jmap.one('Email/set', { destroy: older });
    this.doubt = false;
  }

  /** Sends now (with time to undo) or at a time.  `false`: it stays here, and the person is told why. */
  async send(at: Date | null = null): Promise<boolean> {
    const who = this.identity;
    if (!who || this.status === 'sending') return false;
    this.status = 'sending';
    clearTimeout(this.timer);
    try {
      while (!(await this.save())) {
        if (net.online) throw new Error('save');
        await new Promise<void>((go) => {
          const stop = net.whenBack(() => (stop(), go()));
        });
      }
      const undo = Math.max(0, prefs.now.undoSeconds);
      // RFC 4865 through RFC 8621 7: seconds for undo, since the clock of this device may be wrong; a time for later.
      const parameters = at ? { HOLDUNTIL: at.toISOString().replace(/\.\d+Z$/, 'Z') } : undo ? { HOLDFOR: String(undo) } : null;
      const rcptTo = this.recipients.map(({ email }) => ({ email, parameters: null }));
      const sub = { emailId: this.emailId, identityId: who.id, envelope: { mailFrom: { email: who.email, parameters }, rcptTo } };
      const submissionId = await this.submit(sub);
      this.drop();
      composer.close(this);
      if (this.source) {
        const keyword = this.source.mode === 'reply' ? 'keywords/$answered' : 'keywords/$forwarded';
        void mail.change(new Map([[this.source.emailId, { [keyword]: true }]]));
      }
      const text = at ? t('willBeSent', longDate(at)) : undo ? t('sending') : t('sent');
      if (at || undo) toasts.show(text, t('undo'), () => void this.unsend(submissionId), at ? 10_000 : undo * 1000, !at);
      else toasts.show(text);
      mail.said = text;
      void mail.sync();
      return true;
    } catch (error) {
      this.status = 'failed';
      toasts.show(error instanceof Refused ? error.message : t('notSent'));
      return false;
    }
  }

  private async submit(sub: Record<string, unknown>): Promise<Id> {
    const sent = mail.role('sent')?.id ?? '';
    for (;;) {
      try {
        const onSuccessUpdateEmail = { '#s': { mailboxIds: { [sent]: true }, 'keywords/$draft': null } };
        const answer = await jmap.one('EmailSubmission/set', { create: { s: sub }, onSuccessUpdateEmail }, false);
        const made = answer.created?.s;
        if (made) return made.id;
        const why = answer.notCreated?.s;
        throw new Refused(why?.type === 'invalidRecipients' ? t('badRecipients', (why.invalidRecipients ?? []).join(', ')) : why?.type === 'tooLarge' ? t('mailTooLarge') : t('notSent'));
      } catch (error) {
        if (!(error instanceof ApiError && error.code === 'offline')) throw error;
        // Did it arrive before the server went?  One look decides; it is never submitted twice.
        const batch = jmap.batch();
        const query = batch.add('EmailSubmission/query', { filter: { emailIds: [sub['emailId']] } });
        const get = batch.add('EmailSubmission/get', { '#ids': query.ref('/ids') });
        await batch.send();
        const there = get.failed ? undefined : get.result.list.find((one) => one.undoStatus !== 'canceled');
        if (there) return there.id;
      }
    }
  }

  private async unsend(id: Id): Promise<void> {
    const answer = await jmap.one('EmailSubmission/set', { update: { [id]: { undoStatus: 'canceled' } } });
    if (answer.notUpdated?.[id]) {
      toasts.show(t('alreadySent'));
      return;
    }
    const drafts = mail.role('drafts')?.id ?? '';
    if (this.emailId) await jmap.one('Email/set', { update: { [this.emailId]: { mailboxIds: { [drafts]: true }, 'keywords/$draft': true } } });
    this.status = 'saved';
    this.keep();
    composer.show(this);
    toasts.show(t('unsent'));
    void mail.sync();
  }

  async discard(): Promise<void> {
    for (const control of this.aborts.values()) control.abort();
    clearTimeout(this.timer);
    this.drop();
    composer.close(this);
    await this.saving;
    if (this.doubt) await this.findDraft();
    this.drop();
    if (this.emailId) await jmap.one('Email/set', { destroy: [this.emailId] });
    void mail.sync();
  }

  /** Puts it away: saved where there is something, gone where there is not. */
  async putAway(): Promise<void> {
    if (!this.changed && !this.files.length) {
      this.drop();
      return composer.close(this);
    }
    if (this.blank) return this.discard();
    composer.close(this);
    if (this.savedAt >= this.changed || (await this.save())) {
      this.drop();
      void mail.sync();
    }
  }

  unseal(): void {
    this.html += `<div><br></div>${this.quote}`;
    this.quote = '';
    this.rewritten += 1;
    this.touch();
  }

  chooseIdentity(id: Id): void {
    const before = signature(this.identity);
    this.identityId = id;
    const after = signature(this.identity);
    // Only a signature that is still as we put it is exchanged.
    if (before && this.html.includes(before)) this.html = this.html.replace(before, () => after);
    else if (after) this.html += after;
    this.rewritten += 1;
    this.touch();
  }
}

class Refused extends Error {}

const signatureText = (who: Identity | undefined): string => htmlToText(signature(who));
export function signature(who: Identity | undefined): string {
  if (!who) return '';
  const html = who.htmlSignature ? cleanHtml(who.htmlSignature) : who.textSignature ? textToHtml(who.textSignature) : '';
  return html ? `<div><br></div><div>-- <br></div>${html}` : '';
}

class Composer {
  drafts = $state.raw<Draft[]>([]);
  /** The one that has the floor. */
  active = $derived(this.drafts.findLast((draft) => !draft.minimised) ?? null);

  show(draft: Draft): void {
    for (const other of this.drafts) other.minimised = true;
    draft.minimised = false;
    const there = this.drafts.some((one) => one.key === draft.key);
    this.drafts = there ? this.drafts : [...this.drafts, draft];
  }

  close(draft: Draft): void {
    this.drafts = this.drafts.filter((one) => one !== draft);
  }

  /** What was being written when the page went away. */
  restore(): void {
    const found: Draft[] = [];
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(shelf())) continue;
      try {
        const kept = JSON.parse(localStorage.getItem(key) ?? '') as Kept;
        if (kept.changed > 0) found.push(untrack(() => new Draft(kept)));
        else localStorage.removeItem(key);
      } catch {
        localStorage.removeItem(key);
      }
    }
    found.sort((a, b) => a.changed - b.changed).forEach((draft, index) => (draft.minimised = index < found.length - 1));
    this.drafts = found;
  }

  write(to: Address[] = [], subject = '', text = ''): Draft {
    const draft = new Draft({ to, subject });
    const sign = prefs.now.signatureDefault ? signature(draft.identity) : '';
    draft.html = `${text ? textToHtml(text) : '<div><br></div>'}${sign}`;
    this.show(draft);
    return draft;
  }

  async reply(email: Email, all: boolean): Promise<void> {
    const body = await this.bodyOf(email);
    const mine = mail.identities.map((one) => one.email);
    const own = email.from?.some((who) => mine.some((one) => same(one, who.email)));
    const target = own ? (email.to ?? []) : body.replyTo?.length ? body.replyTo : (email.from ?? []);
    const to = unique(all && !own ? [...target, ...(email.to ?? [])] : target, own ? [] : mine);
    const cc = all ? unique(email.cc ?? [], [...mine, ...to.map((one) => one.email)]) : [];
    const draft = this.answer(email, body, 'reply', to.length ? to : target, cc);
    draft.subject = /^(re|aw):/i.test(email.subject ?? '') ? (email.subject ?? '') : `Re: ${email.subject ?? ''}`;
    draft.quote = `<div>${escapeHtml(t('wrote', longDate(body.sentAt ?? email.receivedAt), shortName(email.from?.[0])))}</div><blockquote type="cite">${this.original(draft, body, true)}</blockquote>`;
    this.show(draft);
  }

  async forward(email: Email): Promise<void> {
    const body = await this.bodyOf(email);
    const draft = this.answer(email, body, 'forward', [], []);
    draft.subject = /^(fwd?|wg):/i.test(email.subject ?? '') ? (email.subject ?? '') : `Fwd: ${email.subject ?? ''}`;
    const line = (name: string, value: string): string => (value ? `<b>${escapeHtml(name)}:</b> ${escapeHtml(value)}<br>` : '');
    const list = (who: Address[] | null): string => (who ?? []).map(written).join(', ');
    const head = line(t('from'), list(email.from)) + line(t('to'), list(email.to)) + line(t('cc'), list(email.cc)) + line(t('date'), longDate(body.sentAt ?? email.receivedAt)) + line(t('subject'), email.subject ?? '');
    draft.quote = `<div>${escapeHtml(t('forwarded'))}:</div><blockquote type="cite"><div>${head}</div><div><br></div>${this.original(draft, body, false)}</blockquote>`;
    this.show(draft);
  }

  /** Goes on with a draft of the server. */
  async edit(email: Email): Promise<void> {
    const open = this.drafts.find((draft) => draft.emailId === email.id);
    if (open) return this.show(open);
    const body = await this.bodyOf(email);
    const html = valueOf(body, 'html');
    const { written, quote } = html ? splitQuote(html) : { written: textToHtml(valueOf(body, 'text')), quote: '' };
    const who = mail.identities.find((one) => email.from?.some((from) => same(from.email, one.email)));
    const draft = new Draft({
      to: email.to ?? [], cc: email.cc ?? [], bcc: body.bcc ?? [], subject: email.subject ?? '', html: written.replace(/<img([^>]*)\ssrc="cid:([^"]+)"/g, '<img$1 data-cid="$2"'), quote,
      emailId: email.id, identityId: who?.id ?? '', files: body.attachments.map(fileOf),
      ...(body.messageId?.[0] && { messageId: body.messageId[0] }),
    });
    if (body.inReplyTo?.length) {
      const references = (body.references ?? []).filter((one) => !body.inReplyTo?.includes(one));
      const source = [...mail.conversation(email.threadId)].reverse().find((one) => one.id !== email.id);
      draft.source = { emailId: source?.id ?? '', mode: 'reply', messageId: body.inReplyTo, references };
    }
    draft.status = 'saved';
    this.show(draft);
  }

  private answer(email: Email, body: Body, mode: 'reply' | 'forward', to: Address[], cc: Address[]): Draft {
    const reached = [...(email.to ?? []), ...(email.cc ?? [])];
    const who = mail.identities.find((one) => reached.some((at) => same(at.email, one.email)));
    const source = { emailId: email.id, mode, messageId: body.messageId ?? [], references: body.references ?? [] };
    const draft = new Draft({ to, cc, identityId: who?.id ?? mail.identities[0]?.id ?? '', source });
    draft.html = `<div><br></div>${prefs.now.signatureDefault ? signature(draft.identity) : ''}`;
    return draft;
  }

  /** The original for its sealed block; the parts that it shows come along, the others only when it is forwarded. */
  private original(draft: Draft, body: Body, onlyShown: boolean): string {
    const html = cleanHtml(valueOf(body, 'html') || textToHtml(valueOf(body, 'text')));
    draft.files = body.attachments.filter((part) => part.blobId && !/pkcs7|pgp/.test(part.type) && (part.cid && html.includes(`cid:${part.cid}`) ? true : !onlyShown)).map((part) => {
      const file = fileOf(part);
      if (file.cid && !html.includes(`cid:${file.cid}`)) delete file.cid;
      return file;
    });
    return html;
  }

  private async bodyOf(email: Email): Promise<Body> {
    await mail.body([email.id]);
    const body = mail.bodies.get(email.id);
    if (!body) throw new Error('gone');
    return body;
  }
}

const fileOf = (part: Part): File_ => ({
  key: uuid(), name: part.name ?? 'file', type: part.type, size: part.size, blobId: part.blobId, progress: 1,
  ...(part.cid && part.disposition === 'inline' && { cid: part.cid }),
});

export function valueOf(body: Body, kind: 'html' | 'text'): string {
  const parts = (kind === 'html' ? body.htmlBody : body.textBody).filter((part) => part.type === `text/${kind === 'html' ? 'html' : 'plain'}`);
  return parts.map((part) => body.bodyValues[part.partId ?? '']?.value ?? '').join(kind === 'html' ? '<hr>' : '\n\n');
}

export const composer = new Composer();
