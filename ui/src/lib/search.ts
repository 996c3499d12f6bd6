// What is typed into the search field, as a JMAP filter (RFC 8621 4.4.1).
import type { Condition, Filter, Mailbox } from './jmap/types';

const NAMES: Record<string, string> = {
  from: 'from', von: 'from', to: 'to', an: 'to', cc: 'cc', bcc: 'bcc', subject: 'subject', betreff: 'subject', body: 'body', text: 'body',
  has: 'has', hat: 'has', is: 'is', ist: 'is', before: 'before', vor: 'before', after: 'after', nach: 'after', in: 'in', larger: 'larger', smaller: 'smaller',
};
const FLAGS: Record<string, Condition> = {
  unread: { notKeyword: '$seen' }, ungelesen: { notKeyword: '$seen' }, read: { hasKeyword: '$seen' }, gelesen: { hasKeyword: '$seen' },
  flagged: { hasKeyword: '$flagged' }, starred: { hasKeyword: '$flagged' }, markiert: { hasKeyword: '$flagged' },
  answered: { hasKeyword: '$answered' }, beantwortet: { hasKeyword: '$answered' }, draft: { hasKeyword: '$draft' }, entwurf: { hasKeyword: '$draft' },
};

/** A day, month or year, or `3d`, `2w`, `6m`, `1y` ago; null where it is none. */
export function parseDate(text: string, now = new Date()): string | null {
  const ago = /^(\d{1,4})([dtwmyj])$/i.exec(text);
  if (ago) {
    const at = new Date(now);
    const count = Number(ago[1]);
    const unit = ago[2]!.toLowerCase();
    if (unit === 'm') at.setMonth(at.getMonth() - count);
    else if (unit === 'y' || unit === 'j') at.setFullYear(at.getFullYear() - count);
    else at.setDate(at.getDate() - count * (unit === 'w' ? 7 : 1));
    return at.toISOString();
  }
  if (/^(today|heute)$/i.test(text)) return new Date(now.getFullYear(), now.getMonth(), now.getDate()).toISOString();
  const iso = /^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?$/.exec(text);
  const german = /^(\d{1,2})\.(\d{1,2})\.(\d{4})$/.exec(text);
  const parts = iso ? [iso[1], iso[2] ?? '1', iso[3] ?? '1'] : german ? [german[3], german[2], german[1]] : null;
  if (!parts) return null;
  const [year, month, day] = parts.map(Number) as [number, number, number];
  const at = new Date(year, month - 1, day);
  return at.getMonth() === month - 1 && at.getDate() === day ? at.toISOString() : null;
}

const size = (text: string): number | null => {
  const match = /^(\d+)(k|m|g)?b?$/i.exec(text);
  return match ? Number(match[1]) * { '': 1, k: 1e3, m: 1e6, g: 1e9 }[(match[2] ?? '').toLowerCase() as '' | 'k' | 'm' | 'g'] : null;
};

function condition(name: string, value: string, boxes: Mailbox[]): Condition | null {
  switch (name) {
    case 'has':
      return /^(attachment|anhang|file|datei)s?$/i.test(value) ? { hasAttachment: true } : null;
    case 'is':
      return FLAGS[value.toLowerCase()] ?? null;
    case 'before':
    case 'after': {
      const at = parseDate(value);
      return at ? { [name]: at } : null;
    }
    case 'larger':
    case 'smaller': {
      const octets = size(value);
      return octets === null ? null : { [name === 'larger' ? 'minSize' : 'maxSize']: octets };
    }
    case 'in': {
      const wanted = value.toLowerCase();
      const box = boxes.find((one) => one.role === wanted) ?? boxes.find((one) => one.name.toLowerCase() === wanted) ?? boxes.find((one) => one.name.toLowerCase().startsWith(wanted));
      return box ? { inMailbox: box.id } : null;
    }
    default:
      return { [name]: value };
  }
}

/** Words are joined by AND, `-` turns one round.  What is no operator is a word. */
export function toFilter(query: string, boxes: Mailbox[]): Filter | null {
  const all: Filter[] = [];
  for (const match of query.matchAll(/(-?)(?:(\p{L}+):)?("[^"]*"?|[^\s"]+)/gu)) {
    const [whole, minus, prefix, raw] = match;
    const value = raw!.replace(/^"|"$/g, '');
    const name = prefix && NAMES[prefix.toLowerCase()];
    const quoted = raw!.startsWith('"') && value.includes(' ') ? `"${value}"` : value;
    const one = (name && value && condition(name, value, boxes)) || (whole === '-' || !value ? null : { text: prefix && !name ? `${prefix}:${value}` : name ? `${prefix}:${value}` : quoted });
    if (one) all.push(minus ? { operator: 'NOT', conditions: [one] } : one);
  }
  if (all.length === 0) return null;
  return all.length === 1 ? all[0]! : { operator: 'AND', conditions: all };
}
