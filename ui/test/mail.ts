// What the journeys have in common.  Each makes what it needs, by the app or by JMAP, so that they run on any server.
import { expect, type Page } from '@playwright/test';

export const USER = process.env['UI_USER'] ?? 'mara@nordwerk.example';
const PASSWORD = process.env['UI_PASSWORD'] ?? 'understudy';

export async function signIn(page: Page, at = '/'): Promise<void> {
  await page.goto(at);
  await page.locator('input[type=email]').fill(USER);
  await page.locator('input[type=password]').fill(PASSWORD);
  await page.locator('form button.primary').click();
  await expect(page.locator('nav a').first()).toBeAttached();
  if (at === '/') await expect(page.getByRole('grid')).toHaveAttribute('aria-busy', 'false');
}

type Call = [string, Record<string, unknown>];
/** JMAP with the page's own session. */
export async function jmap(page: Page, ...calls: Call[]): Promise<Record<string, never>[]> {
  return page.evaluate(async (list) => {
    const session = (await (await fetch('/jmap/session')).json()) as { primaryAccounts: Record<string, string>; apiUrl: string };
    const accountId = session.primaryAccounts['urn:ietf:params:jmap:mail'];
    const names = ['core', 'mail', 'submission', 'vacationresponse', 'contacts'].map((name) => `urn:ietf:params:jmap:${name}`);
    const methodCalls = list.map(([name, args], index) => [name, { accountId, ...args }, String(index)]);
    const body = JSON.stringify({ using: [...names, 'urn:understudy:params:jmap:preferences'], methodCalls });
    const answer = await fetch(session.apiUrl, { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Understudy': '1' }, body });
    return ((await answer.json()) as { methodResponses: [string, never, string][] }).methodResponses.map(([, value]) => value);
  }, calls);
}

export const unique = (word: string): string => `${word} ${Date.now().toString(36)}${Math.floor(Math.random() * 1e4)}`;

export async function box(page: Page, role: string): Promise<string> {
  const [got] = (await jmap(page, ['Mailbox/get', { ids: null }])) as unknown as [{ list: { id: string; role: string }[] }];
  return got.list.find((one) => one.role === role)!.id;
}

export interface Seed {
  subject: string;
  text?: string;
  html?: string;
  from?: { name: string; email: string };
  seen?: boolean;
  role?: string;
  messageId?: string;
  inReplyTo?: string;
}
/** Puts a message into a mailbox. */
export async function seed(page: Page, mail: Seed): Promise<string> {
  const value = mail.html ?? mail.text ?? 'Hello.';
  const part = mail.html ? { htmlBody: [{ partId: 'b', type: 'text/html' }] } : { textBody: [{ partId: 'b', type: 'text/plain' }] };
  const create = {
    mailboxIds: { [await box(page, mail.role ?? 'inbox')]: true }, keywords: mail.seen ? { $seen: true } : {}, subject: mail.subject,
    from: [mail.from ?? { name: 'Test Sender', email: 'sender@example.com' }], to: [{ name: null, email: USER }], ...part, bodyValues: { b: { value } },
    ...(mail.messageId && { messageId: [mail.messageId] }), ...(mail.inReplyTo && { inReplyTo: [mail.inReplyTo], references: [mail.inReplyTo] }),
  };
  const [got] = (await jmap(page, ['Email/set', { create: { m: create } }])) as unknown as [{ created: { m: { id: string } } }];
  return got.created.m.id;
}

export const row = (page: Page, subject: string) => page.getByRole('row').filter({ hasText: subject });
export const editor = (page: Page) => page.getByRole('textbox', { name: /^(Message|Nachricht)$/ });

export async function write(page: Page, to: string, subject: string, text: string): Promise<void> {
  await page.getByRole('navigation').getByRole('button', { name: /^(Write|Schreiben)$/ }).click();
  await page.getByRole('combobox', { name: /^(To|An)$/ }).fill(to);
  await page.keyboard.press('Enter');
  await page.getByPlaceholder(/^(Subject|Betreff)$/).fill(subject);
  await editor(page).click();
  await page.keyboard.type(text);
}
