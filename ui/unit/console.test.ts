import { readFileSync, readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { makePassword } from '../src/admin/password';
import { peerRole, verdict, type Report } from '../src/console/report';
import { blocks, spans } from '../src/console/runbooks';
import { pairs } from '../sentences';

const sentences = pairs(readFileSync('../src/ops/status/german.rs', 'utf8'));

it('the program’s sentences are read whole, each with its German', () => {
  expect(sentences.length).toBeGreaterThan(40);
  for (const [english, german] of sentences) expect(german.split('{}').length, english).toBe(english.split('{}').length);
  expect(sentences.find(([english]) => english.startsWith('the peer is missing'))?.[1]).toMatch(/^das andere Gerät fehlt/);
  expect(() => pairs('static NOTHING: &[] = &[];')).toThrow();
});

it('all that a runbook says is shown', () => {
  const letters = (text: string): string => text.replace(/\]\([^)]*\)/g, '').replace(/[^\p{L}\p{N}]/gu, '');
  for (const name of readdirSync('../docs/runbook')) {
    const text = readFileSync(`../docs/runbook/${name}`, 'utf8');
    const shown = blocks(text).flatMap((block) => ('rows' in block ? block.rows.flat() : 'items' in block ? block.items : [block.text])).flatMap((line) => spans(line)).map((span) => span.text).join('');
    const wanted = text.split('\n').filter((line) => !/^\|[-|]+\|$/.test(line)).map((line) => line.replace(/^\d+\. /, '').replace(/^```\w*$/, '')).join('\n');
    expect(letters(shown), name).toBe(letters(wanted));
  }
});

const report = (more: Partial<Report>): Report => ({ state: 'PAIR', role: 'primary', node: 0, problems: [], waiting_for: null, update: null, ...more }) as Report;

it('the worst is said first', () => {
  expect(verdict(report({}))).toEqual({ level: 'good', text: 'goodPair' });
  expect(verdict(report({ state: 'STANDALONE', node: null })).text).toBe('goodStandalone');
  expect(verdict(report({ problems: [{ what: 'x', runbook: 'witness-lost' }] })).level).toBe('warn');
  expect(verdict(report({ state: 'SOLO', problems: [{ what: 'x', runbook: 'peer-lost' }] })).text).toBe('warnSolo');
  expect(verdict(report({ state: 'RECOVERING', role: 'none', problems: [{ what: 'x', runbook: 'force-solo' }] })).text).toBe('badWaiting');
  expect(verdict(report({ problems: [{ what: 'x', runbook: 'disk-failure' }] })).level).toBe('bad');
});

it('the other one’s role is what this one can know', () => {
  expect(peerRole(report({}))).toBe('standby');
  expect(peerRole(report({ role: 'standby' }))).toBe('primary');
  expect(peerRole(report({ state: 'SOLO' }))).toBe('missing');
  expect(peerRole(report({ state: 'RECOVERING', role: 'none' }))).toBe('unknown');
  expect(peerRole(report({ state: 'STANDALONE', node: null }))).toBeNull();
});

it('a made password is long, and no two are alike', () => {
  expect(makePassword()).toMatch(/^([a-km-np-z2-9]{5}-){3}[a-km-np-z2-9]{5}$/);
  expect(new Set(Array.from({ length: 100 }, makePassword)).size).toBe(100);
});
