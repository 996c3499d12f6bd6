// A server like ours, in memory, for work on the app and its tests: paths and answers as in docs/design/web.md.
// Deliberately absent: TLS, durability.  Sign in as mara@nordwerk.example, password "understudy";
// TOTP is wanted from totp@nordwerk.example (code 123456).
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listen as listenConsole, Operations } from './console.mjs';
import { compose, meets, parse, plain, show, source } from './mail.mjs';
import { ME, PEOPLE, sample } from './sample.mjs';
import { Objects, patch, resolve } from './store.mjs';

const DIST = join(dirname(fileURLToPath(import.meta.url)), '../dist');
const PORT = Number(process.env.PORT ?? 4180);
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; frame-src 'self' blob:; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types default dompurify understudy svelte-trusted-html";
const FRAME_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
const CORE = 'urn:ietf:params:jmap:';
const CAPABILITIES = ['mail', 'submission', 'vacationresponse', 'quota', 'contacts'].map((name) => CORE + name).concat('urn:understudy:params:jmap:preferences');

class World {
  constructor(address) {
    this.me = { ...ME, email: address };
    this.streams = new Set();
    this.due = new Set();
    const types = ['Mailbox', 'Email', 'Thread', 'Identity', 'EmailSubmission', 'VacationResponse', 'Quota', 'AddressBook', 'ContactCard', 'Preferences'];
    this.types = Object.fromEntries(types.map((type) => [type, new Objects(type, () => this.wake(type))]));
    this.blobs = new Map();
    this.next = 1;
    this.sessions = [{ id: 's0', label: 'Firefox, Windows', created: new Date(Date.now() - 864e5).toISOString(), used: new Date(Date.now() - 36e5).toISOString(), own_device: true }];
    this.devices = [{ id: 'd0', label: 'iPhone', created: new Date(Date.now() - 36e5).toISOString(), expires: null }];
    this.passkeys = [];
    this.password = 'understudy';
    this.totp = address.startsWith('totp@');
    this.fill();
  }
  id(prefix) {
    return `${prefix}${this.next++}`;
  }
  fill() {
    this.box = {};
    const names = { inbox: 'Inbox', drafts: 'Drafts', sent: 'Sent', archive: 'Archive', junk: 'Junk', trash: 'Trash' };
    Object.entries(names).forEach(([role, name], i) => (this.box[role] = this.mailbox({ name, role, sortOrder: i + 1 }).id));
    const projects = this.mailbox({ name: 'Projekte', sortOrder: 20 });
    this.mailbox({ name: 'Spundwand', parentId: projects.id, sortOrder: 21 });
    for (const mail of sample(this.box)) this.deliver(mail);
    this.types.Identity.put('i1', { name: this.me.name, email: this.me.email, replyTo: null, bcc: null, textSignature: 'Mara Lindner\nNordwerk Wasserbau GmbH', htmlSignature: '<div>Mara Lindner<br>Nordwerk Wasserbau GmbH</div>', mayDelete: false });
    this.types.Identity.put('i2', { name: 'Nordwerk Einkauf', email: 'einkauf@nordwerk.example', replyTo: null, bcc: null, textSignature: '', htmlSignature: '', mayDelete: false });
    this.types.VacationResponse.put('singleton', { isEnabled: false, fromDate: null, toDate: null, subject: null, textBody: null, htmlBody: null });
    this.types.Preferences.put('singleton', { language: null, theme: 'auto', density: 'normal', undoSeconds: 10, signatureDefault: true, trustedSenders: {}, remoteImages: 'ask', shortcuts: true });
    this.types.Quota.put('q1', { resourceType: 'octets', scope: 'account', types: ['Mail'], name: 'mail', used: 0, hardLimit: 2e9, warnLimit: 1.8e9 });
    this.types.AddressBook.put('a1', { name: 'Kontakte', isDefault: true, isSubscribed: true, sortOrder: 1, myRights: { mayRead: true, mayWrite: true, mayDelete: false, mayShare: false } });
    const card = (name, email, phone, org) => this.types.ContactCard.put(this.id('c'), { '@type': 'Card', version: '1.0', kind: 'individual', uid: `urn:uuid:${name}`, addressBookIds: { a1: true }, name: { full: name }, emails: { e1: { address: email } }, ...(phone && { phones: { p1: { number: phone } } }), ...(org && { organizations: { o1: { name: org } } }) });
    card('Priya Raman', 'priya@harbourlight.example', '+44 20 7946 0018', 'Harbourlight Ltd');
    card('Tom Okafor', 'tom.okafor@harbourlight.example', '+44 20 7946 0021', 'Harbourlight Ltd');
    card('Hafenbehörde', 'post@hafenbehoerde.example');
    this.types.ContactCard.put(this.id('c'), { '@type': 'Card', version: '1.0', kind: 'group', uid: 'urn:uuid:g', addressBookIds: { a1: true }, name: { full: 'Harbourlight' }, members: { 'urn:uuid:Priya Raman': true, 'urn:uuid:Tom Okafor': true } });
  }
  mailbox(values) {
    const rights = { mayReadItems: true, mayAddItems: true, mayRemoveItems: true, maySetSeen: true, maySetKeywords: true, mayCreateChild: true, mayRename: !values.role, mayDelete: !values.role, maySubmit: true };
    return this.types.Mailbox.put(this.id('b'), { parentId: null, role: null, sortOrder: 10, isSubscribed: true, myRights: rights, ...values });
  }
  deliver(mail) {
    const id = this.id('m');
    const refs = [...(mail.references ?? []), ...(mail.inReplyTo ?? [])];
    const kin = refs.length ? this.types.Email.all().find((other) => refs.includes(other.messageId?.[0])) : null;
    const threadId = kin?.threadId ?? this.id('t');
    const { text, htmlBody, files, mixed, at, box, ...rest } = mail;
    const body = compose({ id: `e${id}`, text, htmlBody, files, mixed });
    const full = { cc: null, bcc: null, replyTo: null, sender: null, messageId: [`${randomBytes(6).toString('hex')}@mock`], inReplyTo: null, references: null, receivedAt: new Date().toISOString(), ...rest, id, blobId: `e${id}`, threadId, ...body };
    this.types.Email.put(id, full);
    this.types.Thread.put(threadId, { emailIds: [...(this.types.Thread.get(threadId)?.emailIds ?? []), id] });
    return this.types.Email.get(id);
  }
  drop(id) {
    const mail = this.types.Email.get(id);
    const left = this.types.Thread.get(mail.threadId).emailIds.filter((other) => other !== id);
    this.types.Email.remove(id);
    if (left.length) this.types.Thread.put(mail.threadId, { emailIds: left });
    else this.types.Thread.remove(mail.threadId);
  }
  counts(box) {
    const inside = this.types.Email.all().filter((mail) => mail.mailboxIds[box.id]);
    const unread = inside.filter((mail) => !mail.keywords.$seen);
    return { ...box, totalEmails: inside.length, unreadEmails: unread.length, totalThreads: new Set(inside.map((m) => m.threadId)).size, unreadThreads: new Set(unread.map((m) => m.threadId)).size };
  }
  state(type) {
    return type === 'Mailbox' ? `1-${this.types.Email.modseq + this.types.Mailbox.modseq}-0` : this.types[type].state;
  }
  wake(type) {
    if (!this.streams) return;
    if (!this.due.size) setTimeout(() => this.push(), 20);
    this.due.add(type);
    if (type === 'Email') this.due.add('Mailbox');
  }
  push() {
    const changed = Object.fromEntries([...this.due].map((type) => [type, this.state(type)]));
    this.due.clear();
    for (const stream of this.streams) stream.write(`event: state\ndata: ${JSON.stringify({ '@type': 'StateChange', changed: { u1: changed } })}\n\n`);
  }
  blob(id) {
    if (this.blobs.has(id)) return this.blobs.get(id);
    const [, mail, part] = /^e(m\d+)(?:-(\d+))?$/.exec(id) ?? [];
    const email = mail && this.types.Email.get(mail);
    if (!email) return null;
    return part ? email.blobs[part] : source(email);
  }

  // The methods.
  call(name, args, created) {
    const [type, verb] = name.split('/');
    if (name === 'Core/echo') return args;
    if (name === 'SearchSnippet/get') return this.snippets(args);
    const rows = this.types[type];
    if (!rows) throw { type: 'unknownMethod' };
    const accountId = 'u1';
    const state = this.state(type);
    if (verb === 'get') {
      const all = args.ids === null || args.ids === undefined;
      const ids = all ? rows.all().map((row) => row.id) : [...new Set(args.ids)];
      if (ids.length > 500) throw { type: 'requestTooLarge' };
      const list = ids.map((id) => rows.get(id)).filter(Boolean).map((row) => (type === 'Email' ? show(row, args) : type === 'Mailbox' ? this.counts(row) : type === 'Quota' ? { ...row, used: this.types.Email.all().reduce((sum, mail) => sum + mail.size, 0) * 40 } : row));
      return { accountId, state, list, notFound: ids.filter((id) => !rows.get(id)) };
    }
    if (verb === 'changes') {
      if (type === 'Mailbox') {
        if (args.sinceState === state) return { accountId, oldState: state, newState: state, hasMoreChanges: false, created: [], updated: [], destroyed: [], updatedProperties: null };
        throw { type: 'cannotCalculateChanges' };
      }
      const out = rows.changes(args);
      if (out.error) throw { type: out.error };
      return { accountId, ...out };
    }
    if (verb === 'query') return this.query(type, rows, args);
    if (verb === 'queryChanges') throw { type: 'cannotCalculateChanges' };
    if (verb === 'import') return this.importMail(args);
    if (verb === 'set') return this.set(type, rows, args, created);
    throw { type: 'unknownMethod' };
  }
  query(type, rows, { filter, sort, position = 0, limit = 500, collapseThreads, anchor, calculateTotal }) {
    let found = rows.all();
    if (type === 'Email') {
      found = found.filter((mail) => meets(mail, filter, () => this.types.Thread.get(mail.threadId).emailIds.map((id) => this.types.Email.get(id))));
      const dir = sort?.[0]?.isAscending ? 1 : -1;
      const key = sort?.[0]?.property ?? 'receivedAt';
      const value = (mail) => (key === 'from' ? (mail.from?.[0]?.name ?? '') : mail[key] ?? '');
      found.sort((a, b) => (value(a) < value(b) ? -dir : value(a) > value(b) ? dir : a.id < b.id ? 1 : -1));
      const seen = new Set();
      if (collapseThreads) found = found.filter((mail) => !seen.has(mail.threadId) && seen.add(mail.threadId));
    }
    if (type === 'EmailSubmission') found = found.filter((one) => (!filter?.undoStatus || one.undoStatus === filter.undoStatus) && (!filter?.emailIds || filter.emailIds.includes(one.emailId)));
    if (type === 'Mailbox') found = found.filter((box) => (filter?.role ? box.role === filter.role : true));
    const ids = found.map((row) => row.id);
    const from = anchor ? ids.indexOf(anchor) : position;
    return { accountId: 'u1', queryState: this.state(type), canCalculateChanges: false, position: from, ids: ids.slice(from, from + limit), ...(calculateTotal && { total: ids.length }) };
  }
  snippets({ filter, emailIds }) {
    const words = [];
    const walk = (one) => (one?.conditions ? one.conditions.forEach(walk) : ['text', 'body', 'subject'].forEach((key) => one?.[key] && words.push(one[key].replaceAll('"', ''))));
    walk(filter);
    const esc = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    const mark = (text) => words.reduce((out, word) => out.replace(new RegExp(`(${word.replace(/[^\p{L}\p{N} ]/gu, '.')})`, 'gi'), '<mark>$1</mark>'), esc(text));
    const list = emailIds.map((id) => this.types.Email.get(id)).filter(Boolean).map((mail) => {
      const body = Object.values(mail.values).map((value) => plain(value.value)).join(' ').replace(/\s+/g, ' ');
      const at = Math.max(0, Math.min(...words.map((word) => body.toLowerCase().indexOf(word.toLowerCase())).filter((n) => n >= 0), 1e9));
      const hit = words.length && at < 1e9;
      return { emailId: mail.id, subject: words.some((w) => mail.subject.toLowerCase().includes(w.toLowerCase())) ? mark(mail.subject) : null, preview: hit ? mark(body.slice(Math.max(0, at - 40), at + 160)) : null };
    });
    return { accountId: 'u1', list, notFound: [] };
  }
  importMail({ emails }) {
    const created = {}, notCreated = {};
    for (const [key, { blobId, mailboxIds, keywords = {}, receivedAt }] of Object.entries(emails)) {
      const bytes = this.blob(blobId);
      if (!bytes) notCreated[key] = { type: 'invalidEmail' };
      else {
        const mail = this.deliver({ ...parse(bytes), mailboxIds, keywords, receivedAt: receivedAt ?? new Date().toISOString() });
        created[key] = { id: mail.id, blobId: mail.blobId, threadId: mail.threadId, size: mail.size };
      }
    }
    return { accountId: 'u1', oldState: null, newState: this.state('Email'), created, notCreated };
  }
  set(type, rows, args, creations) {
    const oldState = this.state(type);
    if (args.ifInState && args.ifInState !== oldState) throw { type: 'stateMismatch' };
    const out = { accountId: 'u1', oldState, created: {}, updated: {}, destroyed: [], notCreated: {}, notUpdated: {}, notDestroyed: {} };
    const real = (id) => (typeof id === 'string' && id.startsWith('#') ? creations[id.slice(1)] : id);
    for (const [key, value] of Object.entries(args.create ?? {})) {
      try {
        const made = this.create(type, rows, structuredClone(value), real);
        creations[key] = made.id;
        out.created[key] = made;
      } catch (error) {
        if (error instanceof Error) throw error;
        out.notCreated[key] = error;
      }
    }
    for (const [key, change] of Object.entries(args.update ?? {})) {
      const id = real(key);
      const old = rows.get(id);
      if (!old) { out.notUpdated[key] = { type: 'notFound' }; continue; }
      if (type === 'EmailSubmission' && change.undoStatus === 'canceled') {
        if (old.undoStatus !== 'pending') { out.notUpdated[key] = { type: 'cannotUnsend' }; continue; }
        clearTimeout(this.timers.get(id));
      }
      if (type === 'Mailbox' && change.name && rows.all().some((box) => box.id !== id && box.parentId === (change.parentId ?? old.parentId) && box.name === change.name)) { out.notUpdated[key] = { type: 'invalidProperties', properties: ['name'] }; continue; }
      rows.put(id, patch(old, change));
      out.updated[key] = null;
    }
    for (const key of args.destroy ?? []) {
      const id = real(key);
      if (!rows.get(id)) out.notDestroyed[key] = { type: 'notFound' };
      else if (type === 'Mailbox' && this.counts(rows.get(id)).totalEmails && !args.onDestroyRemoveEmails) out.notDestroyed[key] = { type: 'mailboxHasEmail' };
      else {
        if (type === 'Mailbox') for (const mail of this.types.Email.all()) if (mail.mailboxIds[id]) this.drop(mail.id);
        if (type === 'Email') this.drop(id);
        else rows.remove(id);
        out.destroyed.push(key);
      }
    }
    if (type === 'EmailSubmission') {
      const update = Object.fromEntries(Object.entries(args.onSuccessUpdateEmail ?? {}).filter(([key]) => !key.startsWith('#') || creations[key.slice(1)])
        .map(([key, change]) => [rows.get(real(key))?.emailId, change]));
      if (Object.keys(update).length) out.follow = ['Email/set', this.set('Email', this.types.Email, { update }, creations)];
    }
    out.newState = this.state(type);
    return out;
  }
  timers = new Map();
  create(type, rows, value, real) {
    if (type === 'Mailbox') {
      if (!value.name?.trim()) throw { type: 'invalidProperties', properties: ['name'] };
      if (rows.all().some((box) => box.parentId === (value.parentId ?? null) && box.name === value.name)) throw { type: 'invalidProperties', properties: ['name'] };
      return this.mailbox({ ...value, parentId: real(value.parentId ?? null) });
    }
    if (type === 'Email') {
      if (Object.keys(value.mailboxIds ?? {}).length !== 1) throw { type: 'invalidProperties', properties: ['mailboxIds'] };
      const body = (part) => part && value.bodyValues?.[part.partId]?.value;
      const files = (value.attachments ?? []).map((file) => {
        const data = this.blob(file.blobId);
        if (!data) throw { type: 'blobNotFound', notFound: [file.blobId] };
        return { ...file, data };
      });
      const mail = this.deliver({ keywords: {}, from: [this.me], sentAt: new Date().toISOString(), ...value, bodyValues: undefined, text: body(value.textBody?.[0]), htmlBody: body(value.htmlBody?.[0]), files, mailboxIds: Object.fromEntries(Object.keys(value.mailboxIds).map((id) => [real(id), true])) });
      return { id: mail.id, blobId: mail.blobId, threadId: mail.threadId, size: mail.size };
    }
    if (type === 'EmailSubmission') {
      const emailId = real(value.emailId);
      const mail = this.types.Email.get(emailId);
      if (!mail) throw { type: 'invalidProperties', properties: ['emailId'] };
      const rcpt = value.envelope?.rcptTo ?? [...(mail.to ?? []), ...(mail.cc ?? []), ...(mail.bcc ?? [])];
      if (!rcpt.length) throw { type: 'noRecipients' };
      const bad = rcpt.filter((one) => !/^[^@\s]+@[^@\s]+$/.test(one.email)).map((one) => one.email);
      if (bad.length) throw { type: 'invalidRecipients', invalidRecipients: bad };
      const wait = value.envelope?.mailFrom?.parameters ?? {};
      const sendAt = wait.HOLDUNTIL ? new Date(wait.HOLDUNTIL) : new Date(Date.now() + Number(wait.HOLDFOR ?? 0) * 1000);
      const made = rows.put(this.id('x'), { ...value, emailId, threadId: mail.threadId, undoStatus: 'pending', sendAt: sendAt.toISOString(), deliveryStatus: null, dsnBlobIds: [], mdnBlobIds: [] });
      this.timers.set(made.id, setTimeout(() => this.send(made.id, rcpt), Math.min(sendAt - Date.now(), 2 ** 31 - 1)));
      return { id: made.id, sendAt: made.sendAt, undoStatus: 'pending', threadId: mail.threadId };
    }
    if (['Identity', 'VacationResponse', 'Preferences', 'Quota'].includes(type)) throw { type: type === 'Identity' ? 'forbidden' : 'singleton' };
    return rows.put(this.id(type[0].toLowerCase()), value);
  }
  send(id, rcpt) {
    const sub = this.types.EmailSubmission.get(id);
    const mail = sub && this.types.Email.get(sub.emailId);
    this.types.EmailSubmission.put(id, { ...sub, undoStatus: 'final' });
    if (!mail || !rcpt.some((one) => one.email === this.me.email)) return;
    this.deliver({ ...mail, bcc: null, mailboxIds: { [this.box.inbox]: true }, keywords: {}, receivedAt: new Date().toISOString(), references: [...(mail.references ?? []), mail.messageId[0]], text: mail.textBody[0]?.type === 'text/plain' ? mail.values[mail.textBody[0].partId].value : undefined, htmlBody: mail.htmlBody[0]?.type === 'text/html' ? mail.values[mail.htmlBody[0].partId].value : undefined, files: mail.attachments.map((a) => ({ ...a, data: mail.blobs[a.partId] })), mixed: undefined });
  }
}

const operations = new Operations();
const worlds = new Map();
const world = (address) => worlds.get(address) ?? worlds.set(address, new World(address)).get(address);
const cookies = new Map();
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.png': 'image/png', '.webmanifest': 'application/manifest+json', '.woff2': 'font/woff2' };

async function read(request, limit = 60e6) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > limit) throw { status: 413, code: 'too-large' };
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://mock');
  const json = (status, body, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
    response.end(body === undefined ? '' : JSON.stringify(body));
  };
  const fail = (status, error, more = {}) => json(status, { error, text: error, ...more });
  const begin = (w, own_device) => {
    const fresh = randomBytes(16).toString('hex');
    const session = { id: `s${worlds.size}${cookies.size}`, label: 'Chrome, Linux', created: new Date().toISOString(), used: new Date().toISOString(), own_device };
    w.sessions.push(session);
    cookies.set(fresh, { world: w, session });
    return json(200, account({ world: w, session }), { 'set-cookie': `understudy-mock=${fresh}; HttpOnly; SameSite=Strict; Path=/` });
  };
  try {
    const token = /understudy-mock=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
    const who = cookies.get(token);
    const path = url.pathname;
    const changing = !['GET', 'HEAD'].includes(request.method);
    if (/^\/(console\.html|assets\/console\/)/.test(path)) return fail(404, 'not-found');
    if (!path.startsWith('/api/') && !path.startsWith('/jmap/') && !path.startsWith('/.well-known/')) return files(path, response);
    if (changing && request.headers['x-understudy'] !== '1') return fail(403, 'not-allowed');
    // Passkeys, without their cryptography: the one that was made last opens its world.
    const rp = (request.headers.host ?? '').replace(/:\d+$/, '');
    if (path.startsWith('/api/session/passkey') && /^[\d.]+$/.test(rp)) return fail(404, 'not-found');
    if (path === '/api/session/passkey/options') return json(200, { challenge: randomBytes(56).toString('base64url'), rp });
    if (path === '/api/session/passkey') {
      const { id } = JSON.parse(await read(request));
      const w = [...worlds.values()].find((one) => one.passkeys.some((passkey) => passkey.raw === id));
      return w ? begin(w, false) : fail(401, 'wrong');
    }
    if (path === '/api/session' && request.method === 'POST') {
      const { name, password, code, own_device } = JSON.parse(await read(request));
      if (name === 'busy@nordwerk.example') return json(429, { error: 'busy', text: 'busy' }, { 'retry-after': '2' });
      if (!/^[^@]+@nordwerk\.example$/.test(name ?? '') || password !== world(name).password) return fail(401, 'wrong');
      if (world(name).totp && !code) return fail(401, 'code-needed');
      if (world(name).totp && code !== '123456') return fail(401, 'wrong');
      return begin(world(name), !!own_device);
    }
    if (path === '/api/notice') return json(200, process.env.NOTICE === '0' ? null : { stage: 'live', since: new Date(started).toISOString(), text: { en: 'Your usual mail provider is disturbed. You are working on the stand-in; everything you write here goes back to your own mailbox later.', de: 'Ihr gewohnter Mailanbieter ist gestört. Sie arbeiten auf dem Ersatz; alles, was Sie hier schreiben, kommt später in Ihr eigenes Postfach.' } });
    if (!who) return fail(401, 'signed-out');
    const { world: w, session } = who;
    if (path.startsWith('/api/')) return await api(request, url, w, session, token, json, fail);
    if (path === '/.well-known/jmap' || path === '/jmap/session') return json(200, jmapSession(w));
    if (path === '/jmap/api') return json(200, run(w, JSON.parse(await read(request))));
    if (path.startsWith('/jmap/upload/')) {
      const data = await read(request);
      const blobId = `f${createHash('sha256').update(data).digest('hex').slice(0, 16)}`;
      w.blobs.set(blobId, data);
      return json(201, { accountId: 'u1', blobId, type: request.headers['content-type'] ?? 'application/octet-stream', size: data.length });
    }
    if (path.startsWith('/jmap/download/')) {
      const [, , , , blobId, name] = path.split('/');
      const data = w.blob(blobId);
      if (!data) return fail(404, 'not-found');
      response.writeHead(200, { 'content-type': url.searchParams.get('type') ?? 'application/octet-stream', 'content-disposition': `attachment; filename*=UTF-8''${name}`, 'x-content-type-options': 'nosniff', 'cache-control': 'private, immutable', 'content-security-policy': 'sandbox' });
      return response.end(data);
    }
    if (path === '/jmap/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.write(': hello\n\n');
      w.streams.add(response);
      const every = Math.max(1, Number(url.searchParams.get('ping') ?? 30));
      const ping = setInterval(() => response.write(`event: ping\ndata: {"interval":${every}}\n\n`), every * 1000);
      return response.on('close', () => (clearInterval(ping), w.streams.delete(response)));
    }
    return fail(404, 'not-found');
  } catch (error) {
    if (error?.status) return fail(error.status, error.code);
    console.error(error);
    fail(500, 'broken');
  }
});
const started = Date.now() - 52 * 60_000;

function files(path, response) {
  const name = normalize(path === '/' ? '/index.html' : path);
  const file = join(DIST, name);
  if (!file.startsWith(DIST) || !existsSync(file) || !statSync(file).isFile()) {
    response.writeHead(404);
    return response.end('not found');
  }
  response.writeHead(200, {
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer',
    'content-security-policy': /^\/message(-images)?\.html$/.test(name) ? FRAME_CSP : CSP,
    'cache-control': name.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
  });
  createReadStream(file).pipe(response);
}

const account = ({ world: w, session }) => ({ address: w.me.email, account: 'u1', tenant: { name: 'Nordwerk Wasserbau' }, language: 'de', session: session.id, administrator: operations.accounts.some((one) => one.address === w.me.email && one.administrator), totp: w.totp });

async function api(request, url, w, session, token, json, fail) {
  const [, , kind, id] = url.pathname.split('/');
  const at = `${request.method} ${kind}`;
  const body = ['POST', 'PUT', 'DELETE'].includes(request.method) ? JSON.parse((await read(request)).toString() || '{}') : {};
  if (at === 'GET session') return json(200, account({ world: w, session }));
  if (at === 'DELETE session') { cookies.delete(token); w.sessions = w.sessions.filter((one) => one !== session); return json(204, undefined, { 'set-cookie': 'understudy-mock=; Path=/; Max-Age=0' }); }
  if (at === 'POST admin' && id === 'ask') {
    if (!account({ world: w, session }).administrator) return fail(403, 'not-allowed');
    const reply = operations.ask(body, `administrator ${w.me.email}`, 'Nordwerk Wasserbau', w.me.email);
    return reply ? json(200, reply) : fail(403, 'not-allowed');
  }
  if (at === 'GET sessions') return json(200, w.sessions.map((one) => ({ ...one, current: one === session })));
  if (at === 'DELETE sessions') {
    w.sessions = w.sessions.filter((one) => one.id !== id);
    for (const [key, value] of cookies) if (value.session.id === id) cookies.delete(key);
    return json(204);
  }
  if (at === 'GET devices') return json(200, w.devices);
  if (at === 'POST devices') {
    if (!body.label) return fail(422, 'invalid', { field: 'label' });
    const made = { id: `d${Date.now()}`, label: body.label, created: new Date().toISOString(), expires: body.days ? new Date(Date.now() + body.days * 864e5).toISOString() : null };
    w.devices.push(made);
    return json(200, { id: made.id, password: 'kuvo-7heb-wint-3rax-moli' });
  }
  if (at === 'DELETE devices') { w.devices = w.devices.filter((one) => one.id !== id); return json(204); }
  if (at === 'GET passkeys') return json(200, w.passkeys.map(({ raw, ...one }) => one));
  if (at === 'POST passkeys') {
    const rp = (request.headers.host ?? '').replace(/:\d+$/, '');
    if (/^[\d.]+$/.test(rp)) return fail(404, 'not-found');
    if (id === 'options') return body.password === w.password ? json(200, { challenge: randomBytes(56).toString('base64url'), rp, user: Buffer.from(w.me.email).toString('base64url'), name: w.me.email, display_name: w.me.name, algorithms: [-7, -8, -257], exclude: w.passkeys.map((one) => one.raw) }) : fail(401, 'wrong');
    const data = Buffer.from(body.authenticator_data, 'base64url');
    const made = { id: `k${Date.now()}`, label: body.label, host: rp, created: new Date().toISOString(), used: null, raw: data.subarray(55, 55 + data.readUInt16BE(53)).toString('base64url') };
    w.passkeys.push(made);
    return json(200, { id: made.id });
  }
  if (at === 'DELETE passkeys') { w.passkeys = w.passkeys.filter((one) => one.id !== id); return json(204); }
  if (at === 'POST password') {
    if (body.old !== w.password) return fail(401, 'wrong');
    if ((body.new ?? '').length < 10) return fail(422, 'invalid', { field: 'new' });
    w.password = body.new;
    return json(204);
  }
  if (at === 'POST totp') return body.password === w.password ? json(200, { secret: 'JBSWY3DPEHPK3PXP', uri: `otpauth://totp/Understudy:${w.me.email}?secret=JBSWY3DPEHPK3PXP&issuer=Understudy` }) : fail(401, 'wrong');
  if (at === 'PUT totp') { if (body.code !== '123456') return fail(401, 'wrong'); w.totp = true; return json(204); }
  if (at === 'DELETE totp') { if (body.code !== '123456' || body.password !== w.password) return fail(401, 'wrong'); w.totp = false; return json(204); }
  if (at === 'GET people') {
    const q = (url.searchParams.get('q') ?? '').toLowerCase();
    return json(200, PEOPLE.filter((one) => `${one.name} ${one.email}`.toLowerCase().includes(q)).slice(0, 20).map((one) => ({ name: one.name, address: one.email })));
  }
  if (at === 'GET connect' && !id) return json(200, { username: w.me.email, imap: { host: '192.0.2.10', port: 993, security: 'tls' }, smtp: { host: '192.0.2.10', port: 465, security: 'tls' }, names: false });
  return fail(404, 'not-found');
}

const jmapSession = (w) => ({
  capabilities: { [`${CORE}core`]: { maxSizeUpload: 50e6, maxConcurrentUpload: 4, maxSizeRequest: 10e6, maxConcurrentRequests: 8, maxCallsInRequest: 32, maxObjectsInGet: 500, maxObjectsInSet: 500, collationAlgorithms: [] }, ...Object.fromEntries(CAPABILITIES.map((name) => [name, {}])) },
  accounts: { u1: { name: w.me.email, isPersonal: true, isReadOnly: false, accountCapabilities: { ...Object.fromEntries(CAPABILITIES.map((name) => [name, {}])), [`${CORE}mail`]: { maxMailboxesPerEmail: 1, maxMailboxDepth: 8, maxSizeMailboxName: 200, maxSizeAttachmentsPerEmail: 35e6, emailQuerySortOptions: ['receivedAt', 'from', 'subject', 'size'], mayCreateTopLevelMailbox: true }, [`${CORE}submission`]: { maxDelayedSend: 366 * 86400, submissionExtensions: { FUTURERELEASE: [] } } } } },
  primaryAccounts: Object.fromEntries(CAPABILITIES.map((name) => [name, 'u1'])), username: w.me.email, apiUrl: '/jmap/api', uploadUrl: '/jmap/upload/{accountId}', downloadUrl: '/jmap/download/{accountId}/{blobId}/{name}?type={type}', eventSourceUrl: '/jmap/events?types={types}&closeafter={closeafter}&ping={ping}', state: '1',
});

function run(w, { methodCalls, createdIds = {} }) {
  const responses = [];
  const created = { ...createdIds };
  for (const [name, args, id] of methodCalls) {
    try {
      const answer = w.call(name, resolve(args, responses), created);
      const follow = answer.follow;
      delete answer.follow;
      responses.push([name, answer, id]);
      if (follow) responses.push([follow[0], follow[1], id]);
    } catch (error) {
      if (error instanceof Error) console.error(error);
      responses.push(['error', { type: error.type ?? 'serverFail', description: error.message }, id]);
    }
  }
  return { methodResponses: responses, sessionState: '1' };
}

server.listen(PORT, '127.0.0.1', () => console.log(`mock on http://127.0.0.1:${PORT}`));
listenConsole(Number(process.env.CONSOLE_PORT ?? PORT + 1), operations, files, read);
