// One person, one browser, one draft after the other; `understudy-lab browser` takes the node away meanwhile and reads
// the times.  They speak through files: see crates/lab/src/browser.rs.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, type Page } from '@playwright/test';
import { box, editor, jmap, row, signIn, unique, USER, write } from '../test/mail';

const STAGE = process.env['UI_STAGE']!;
const ROUNDS = Number(process.env['UI_ROUNDS'] ?? 3);
/** Typed before the fault, during the takeover and after it: at 40 ms each four seconds. */
const WORDS = Array.from({ length: 16 }, (_, n) => `word${n}`).join(' ');
const KEY_MS = 40;
const CUT_AFTER_MS = 800;

const say = (name: string, what: unknown = {}): void => {
  writeFileSync(join(STAGE, 'said'), JSON.stringify(what));
  renameSync(join(STAGE, 'said'), join(STAGE, name));
};
const hear = async (name: string): Promise<Record<string, number>> => {
  await expect.poll(() => existsSync(join(STAGE, name)), { timeout: 60_000, intervals: [50] }).toBe(true);
  return JSON.parse(readFileSync(join(STAGE, name), 'utf8')) as Record<string, number>;
};

interface Found {
  list: { textBody: { partId: string }[]; bodyValues: Record<string, { value: string }> }[];
}
/** The text of every message with that subject in a mailbox. */
async function texts(page: Page, role: string, subject: string): Promise<string[]> {
  const filter = { inMailbox: await box(page, role), subject };
  const ids = { resultOf: '0', name: 'Email/query', path: '/ids' };
  const get = { '#ids': ids, properties: ['textBody', 'bodyValues'], fetchTextBodyValues: true };
  const [, got] = (await jmap(page, ['Email/query', { filter }], ['Email/get', get])) as unknown as [unknown, Found];
  return got.list.map((one) => one.bodyValues[one.textBody[0]!.partId]!.value.trim());
}

test('a takeover under a draft loses no character, and the app hears of new mail again by itself', async ({ page, context }) => {
  test.setTimeout(60_000 + ROUNDS * 90_000);
  const streams: number[] = [];
  page.on('response', (answer) => void (answer.url().includes('/jmap/events') && answer.ok() && streams.push(Date.now())));
  let loads = 0;
  page.on('load', () => loads++);
  await signIn(page);
  await jmap(page, ['Preferences/set', { update: { singleton: { undoSeconds: 0 } } }]);
  await page.reload();
  const cookies = await context.cookies();
  expect(cookies).not.toHaveLength(0);
  loads = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const subject = unique('Takeover');
    await write(page, USER, subject, 'Before. ');
    await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
    // In each third round the person waits until the node is there again: nothing is sent that could notice.
    const waits = round % 3 === 2;
    const typing = waits ? Promise.resolve() : page.keyboard.type(WORDS, { delay: KEY_MS });
    await page.waitForTimeout(CUT_AFTER_MS);
    say(`cut-${round}`);
    const { cut } = await hear(`moved-${round}`);
    await typing;
    await expect.poll(() => streams.some((at) => at > cut!), { timeout: 30_000 }).toBe(true);
    if (waits) await page.keyboard.type(WORDS);
    const text = `Before. ${WORDS}`;
    await expect(editor(page)).toContainText(text);
    // One draft, all of it, at the new primary.
    await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
    await expect.poll(() => texts(page, 'drafts', subject)).toEqual([text]);
    // Sent, and received; the list hears of it by the stream alone.
    await page.keyboard.press('Control+Enter');
    await expect(row(page, subject)).toBeVisible({ timeout: 20_000 });
    expect(await texts(page, 'inbox', subject)).toEqual([text]);
    // The session that was there before.
    expect(loads).toBe(0);
    expect(await context.cookies()).toEqual(cookies);
    say(`back-${round}`, { stream: streams.find((at) => at > cut!), characters: text.length });
    await hear(`ready-${round}`);
  }
});
