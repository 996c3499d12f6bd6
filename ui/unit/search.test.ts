import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../src/lib/jmap/types';
import { parseDate, toFilter } from '../src/lib/search';

const box = (id: string, name: string, role: string | null): Mailbox => ({ id, name, role, parentId: null, sortOrder: 1, totalEmails: 0, unreadEmails: 0, totalThreads: 0, unreadThreads: 0, myRights: {} });
const boxes = [box('b1', 'Inbox', 'inbox'), box('b2', 'Projekte', null)];
const filter = (text: string): unknown => toFilter(text, boxes);

describe('a search', () => {
  it('of nothing is none', () => {
    expect(filter('')).toBeNull();
    expect(filter('   ')).toBeNull();
    expect(filter('""')).toBeNull();
  });
  it('of words looks for all of them', () => {
    expect(filter('spundwand angebot')).toEqual({ operator: 'AND', conditions: [{ text: 'spundwand' }, { text: 'angebot' }] });
  });
  it('keeps a phrase together', () => {
    expect(filter('"drei Wochen"')).toEqual({ text: '"drei Wochen"' });
    expect(filter('subject:"drei Wochen"')).toEqual({ subject: 'drei Wochen' });
  });
  it.each([
    ['from:priya', { from: 'priya' }], ['von:priya', { from: 'priya' }], ['TO:a@b.example', { to: 'a@b.example' }], ['betreff:kran', { subject: 'kran' }],
    ['has:attachment', { hasAttachment: true }], ['hat:Anhang', { hasAttachment: true }], ['is:unread', { notKeyword: '$seen' }], ['ist:markiert', { hasKeyword: '$flagged' }],
    ['in:inbox', { inMailbox: 'b1' }], ['in:proj', { inMailbox: 'b2' }], ['larger:2m', { minSize: 2e6 }],
  ])('knows %s', (text, wanted) => expect(filter(text)).toEqual(wanted));
  it('turns one round with a minus', () => {
    expect(filter('-from:tom')).toEqual({ operator: 'NOT', conditions: [{ from: 'tom' }] });
  });
  it('takes what is no operator as a word', () => {
    expect(filter('re:zeit')).toEqual({ text: 're:zeit' });
    expect(filter('is:purple')).toEqual({ text: 'is:purple' });
    expect(filter('before:soon')).toEqual({ text: 'before:soon' });
    expect(filter('in:nowhere')).toEqual({ text: 'in:nowhere' });
  });
  it('never throws', () => {
    for (const text of ['"', '-', ':', 'from:', '-"', 'a:b:c', '\u{1F600}:x', 'from:"open']) expect(() => filter(text)).not.toThrow();
  });
});

describe('a date', () => {
  const now = new Date(2026, 10, 23, 12);
  it('may be a day, a month, a year', () => {
    expect(parseDate('2026-11-01')).toBe(new Date(2026, 10, 1).toISOString());
    expect(parseDate('2026-11')).toBe(new Date(2026, 10, 1).toISOString());
    expect(parseDate('1.11.2026')).toBe(new Date(2026, 10, 1).toISOString());
  });
  it('may be so long ago', () => {
    expect(parseDate('7d', now)).toBe(new Date(2026, 10, 16, 12).toISOString());
    expect(parseDate('2w', now)).toBe(new Date(2026, 10, 9, 12).toISOString());
  });
  it('is none where there is no such day', () => {
    expect(parseDate('2026-02-30')).toBeNull();
    expect(parseDate('31.13.2026')).toBeNull();
  });
});
