// Addresses as people write and read them.
import type { Address } from './jmap/types';

export const shortName = (who: Address | undefined): string => who?.name || who?.email || '';
export const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

export function initials(who: Address | undefined): string {
  const words = (who?.name || who?.email.split('@')[0] || '?').replace(/[^\p{L}\p{N}\s._-]/gu, '').split(/[\s._-]+/).filter(Boolean);
  return ((words[0]?.[0] ?? '?') + (words.length > 1 ? words.at(-1)![0] : '')).toUpperCase();
}

/** One of eight quiet hues, always the same for a person. */
export function hue(who: Address | undefined): number {
  let sum = 0;
  for (const char of (who?.email ?? '').toLowerCase()) sum = (sum * 31 + char.charCodeAt(0)) >>> 0;
  return sum % 8;
}

export const written = (who: Address): string => (who.name ? `${/[",<>@()]/.test(who.name) ? JSON.stringify(who.name) : who.name} <${who.email}>` : who.email);

export const looksLikeAddress = (text: string): boolean => /^[^\s@<>,;"]+@[^\s@<>,;"]+$/.test(text);

/** `Ann <a@b>, c@d; e@f`: what was typed or pasted; what is no address stays as it is. */
export function parseAddresses(text: string): Address[] {
  const out: Address[] = [];
  for (const one of text.match(/(?:"[^"]*"|<[^>]*>|[^,;\n"<])+/g) ?? []) {
    const match = /^\s*"?([^"<]*?)"?\s*<\s*([^>]+?)\s*>\s*$/.exec(one);
    const email = match ? match[2]! : one.trim();
    if (email) out.push({ name: match?.[1]?.trim() || null, email });
  }
  return out;
}

export function unique(list: Address[], except: string[] = []): Address[] {
  const seen = new Set(except.map((one) => one.toLowerCase()));
  return list.filter(({ email }) => !seen.has(email.toLowerCase()) && !!seen.add(email.toLowerCase()));
}
