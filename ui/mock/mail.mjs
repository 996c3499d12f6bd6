// What a message is in the mock: an Email object with its values and parts beside it.
export const html = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
export const plain = (source) =>
  source.replace(/<style[\s\S]*?<\/style>/gi, '').replace(/<br\s*\/?>|<\/(p|div|li|h\d|tr)>/gi, '\n').replace(/<[^>]+>/g, '')
    .replace(/&nbsp;/g, ' ').replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&quot;/g, '"').replace(/&amp;/g, '&');
const sanitise = (source) => source.replace(/<script[\s\S]*?<\/script>/gi, '').replace(/\son\w+="[^"]*"/gi, '');

/** Parts as RFC 8621 4.1.4 orders them, from what Email/set was given or the sample says. */
export function compose(mail) {
  const { id, text, htmlBody, files = [] } = mail;
  let part = 0;
  const values = {}, blobs = {};
  const add = (type, value, more = {}) => {
    const partId = String(++part);
    values[partId] = { value, isEncodingProblem: false, isTruncated: false };
    blobs[partId] = Buffer.from(value);
    return { partId, blobId: `${id}-${partId}`, size: Buffer.byteLength(value), type, charset: 'utf-8', name: null, disposition: null, cid: null, ...more };
  };
  const textPart = text !== undefined || htmlBody === undefined ? add('text/plain', text ?? '') : null;
  const htmlPart = htmlBody !== undefined ? add('text/html', htmlBody) : null;
  const attachments = files.map((file) => {
    const partId = String(++part);
    blobs[partId] = file.data;
    return { partId, blobId: `${id}-${partId}`, size: file.data.length, type: file.type, name: file.name ?? null, charset: null, disposition: file.disposition ?? 'attachment', cid: file.cid ?? null };
  });
  const bodies = [textPart, htmlPart].filter(Boolean);
  const body = bodies.length > 1 ? { type: 'multipart/alternative', subParts: bodies } : bodies[0];
  const kind = mail.mixed ?? 'multipart/mixed';
  return {
    textBody: [textPart ?? htmlPart], htmlBody: [htmlPart ?? textPart], attachments, values, blobs,
    bodyStructure: attachments.length ? { type: kind, subParts: [body, ...attachments] } : body,
    hasAttachment: files.some((file) => file.disposition !== 'inline'),
    preview: (text ?? plain(htmlBody ?? '')).replace(/\s+/g, ' ').trim().slice(0, 250),
    size: 600 + Object.values(blobs).reduce((sum, blob) => sum + blob.length, 0),
  };
}

const someone = ({ name, email }) => (name ? `${JSON.stringify(name)} <${email}>` : email);
const encode = (name, value) => `${name}: ${/^[\x20-\x7e]*$/.test(value) ? value : `=?utf-8?B?${Buffer.from(value).toString('base64')}?=`}`;

/** The message as bytes, for raw source and .eml. */
export function source(mail) {
  const to = (list) => (list ?? []).map(someone).join(', ');
  const head = [
    encode('From', to(mail.from)), encode('To', to(mail.to)), ...(mail.cc?.length ? [encode('Cc', to(mail.cc))] : []),
    encode('Subject', mail.subject ?? ''), `Date: ${new Date(mail.sentAt ?? mail.receivedAt).toUTCString()}`,
    `Message-ID: <${mail.messageId?.[0]}>`, ...(mail.inReplyTo?.length ? [`In-Reply-To: <${mail.inReplyTo[0]}>`] : []),
    ...(mail.references?.length ? [`References: ${mail.references.map((id) => `<${id}>`).join(' ')}`] : []), 'MIME-Version: 1.0',
  ];
  const leaf = (part) => `Content-Type: ${part.type}${part.charset ? '; charset=utf-8' : ''}${part.name ? `; name="${part.name}"` : ''}\r\n` +
    (part.disposition ? `Content-Disposition: ${part.disposition}${part.name ? `; filename="${part.name}"` : ''}\r\n` : '') +
    (part.cid ? `Content-ID: <${part.cid}>\r\n` : '') +
    `Content-Transfer-Encoding: base64\r\n\r\n${mail.blobs[part.partId].toString('base64').replace(/.{76}/g, '$&\r\n')}\r\n`;
  let boundary = 0;
  const tree = (part) => {
    if (!part.subParts) return leaf(part);
    const mark = `understudy-${++boundary}`;
    return `Content-Type: ${part.type}; boundary="${mark}"\r\n\r\n${part.subParts.map((sub) => `--${mark}\r\n${tree(sub)}`).join('')}--${mark}--\r\n`;
  };
  return Buffer.from(`${head.join('\r\n')}\r\n${tree(mail.bodyStructure)}`);
}

/** Enough of RFC 5322 and MIME for Email/import of what tests and people drop here. */
export function parse(bytes) {
  const raw = bytes.toString('utf8');
  const cut = (text) => {
    const at = text.search(/\r?\n\r?\n/);
    const head = at < 0 ? text : text.slice(0, at);
    const headers = {};
    for (const line of head.replace(/\r?\n[ \t]+/g, ' ').split(/\r?\n/)) {
      const colon = line.indexOf(':');
      if (colon > 0) headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim().replace(/=\?utf-8\?B\?([^?]*)\?=/gi, (_, b) => Buffer.from(b, 'base64').toString());
    }
    return { headers, body: at < 0 ? '' : text.slice(at).replace(/^(\r?\n){2}/, '') };
  };
  const people = (value) => (value ? value.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/).map((one) => {
    const match = /^\s*"?([^"<]*?)"?\s*<([^>]+)>/.exec(one);
    return match ? { name: match[1] || null, email: match[2] } : { name: null, email: one.trim() };
  }) : []);
  const ids = (value) => (value ? [...value.matchAll(/<([^>]+)>/g)].map((match) => match[1]) : null);
  const out = { files: [] };
  const walk = (text) => {
    const { headers, body } = cut(text);
    const type = (headers['content-type'] ?? 'text/plain').split(';')[0].trim().toLowerCase();
    const boundary = /boundary="?([^";]+)"?/i.exec(headers['content-type'] ?? '')?.[1];
    if (boundary) return body.split(`--${boundary}`).slice(1, -1).forEach((part) => walk(part.replace(/^\r?\n/, '')));
    const data = /base64/i.test(headers['content-transfer-encoding'] ?? '') ? Buffer.from(body, 'base64') : Buffer.from(body);
    const name = /name="?([^";]+)"?/i.exec(headers['content-disposition'] ?? headers['content-type'] ?? '')?.[1];
    if (type === 'text/plain' && !name && out.text === undefined) out.text = data.toString();
    else if (type === 'text/html' && !name && out.htmlBody === undefined) out.htmlBody = data.toString();
    else out.files.push({ data, type, name, disposition: /^inline/i.test(headers['content-disposition'] ?? '') ? 'inline' : 'attachment', cid: /<([^>]+)>/.exec(headers['content-id'] ?? '')?.[1] });
  };
  const { headers } = cut(raw);
  walk(raw);
  return {
    ...out, from: people(headers.from), to: people(headers.to), cc: people(headers.cc), subject: headers.subject ?? '',
    messageId: ids(headers['message-id']), inReplyTo: ids(headers['in-reply-to']), references: ids(headers.references),
    sentAt: headers.date && !Number.isNaN(Date.parse(headers.date)) ? new Date(headers.date).toISOString() : null,
  };
}

const hidden = new Set(['values', 'blobs', 'text']);
/** Email/get: the asked properties and body values. */
export function show(mail, args) {
  const all = Object.keys(mail).filter((key) => !hidden.has(key));
  const out = { id: mail.id };
  for (const key of args.properties ?? all) if (key in mail && !hidden.has(key)) out[key] = mail[key];
  if (args.properties?.includes('bodyValues') || !args.properties) {
    const wanted = [...(args.fetchTextBodyValues ? mail.textBody : []), ...(args.fetchHTMLBodyValues ? mail.htmlBody : [])];
    out.bodyValues = Object.fromEntries(wanted.map((part) => {
      const value = mail.values[part.partId];
      return [part.partId, part.type === 'text/html' && args.sanitizeHTML ? { ...value, value: sanitise(value.value) } : value];
    }));
  }
  return out;
}

/** RFC 8621 4.4.1: does a message meet a filter? */
export function meets(mail, filter, thread) {
  if (!filter) return true;
  if (filter.operator) {
    const each = filter.conditions.map((one) => meets(mail, one, thread));
    return filter.operator === 'AND' ? each.every(Boolean) : filter.operator === 'OR' ? each.some(Boolean) : !each.some(Boolean);
  }
  const has = (text, word) => (text ?? '').toLowerCase().includes(word.toLowerCase().replace(/^"|"$/g, ''));
  const who = (list) => (list ?? []).map((one) => `${one.name ?? ''} ${one.email}`).join(' ');
  const body = () => Object.values(mail.values).map((v) => plain(v.value)).join(' ');
  const tests = {
    inMailbox: (id) => mail.mailboxIds[id],
    inMailboxOtherThan: (ids) => Object.keys(mail.mailboxIds).some((id) => !ids.includes(id)),
    before: (date) => mail.receivedAt < date,
    after: (date) => mail.receivedAt >= date,
    minSize: (size) => mail.size >= size,
    maxSize: (size) => mail.size < size,
    hasKeyword: (word) => !!mail.keywords[word],
    notKeyword: (word) => !mail.keywords[word],
    someInThreadHaveKeyword: (word) => thread().some((one) => one.keywords[word]),
    noneInThreadHaveKeyword: (word) => !thread().some((one) => one.keywords[word]),
    hasAttachment: (yes) => mail.hasAttachment === yes,
    text: (word) => has(`${who(mail.from)} ${who(mail.to)} ${who(mail.cc)} ${mail.subject} ${body()}`, word),
    from: (word) => has(who(mail.from), word),
    to: (word) => has(who(mail.to), word),
    cc: (word) => has(who(mail.cc), word),
    bcc: (word) => has(who(mail.bcc), word),
    subject: (word) => has(mail.subject, word),
    body: (word) => has(body(), word),
    header: ([name, value]) => name.toLowerCase() === 'message-id' && (!value || has(mail.messageId?.[0], value.replace(/[<>]/g, ''))),
  };
  return Object.entries(filter).every(([key, value]) => {
    if (!tests[key]) throw { type: 'unsupportedFilter' };
    return tests[key](value);
  });
}
