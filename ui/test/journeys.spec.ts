import { expect, test } from '@playwright/test';
import { clean } from './axe';
import { box, editor, jmap, row, seed, signIn, unique, USER, write } from './mail';

test('a wrong password is told in words, a right one opens the inbox', async ({ page }) => {
  await page.goto('/');
  await page.locator('input[type=email]').fill(USER);
  await page.locator('input[type=password]').fill('certainly wrong');
  await page.locator('form button.primary').click();
  await expect(page.getByRole('alert')).toContainText('wrong');
  await signIn(page);
  await expect(page.getByRole('heading', { name: 'Inbox' })).toBeVisible();
});

test('new mail shows by itself, is read, and is one conversation with the answer to it', async ({ page }) => {
  await signIn(page);
  const subject = unique('Crane');
  await seed(page, { subject, text: 'Is Thursday good?', messageId: `${subject.replace(/\W/g, '')}@example.com` });
  await row(page, subject).click();
  await expect(page.frameLocator('iframe').first().getByText('Is Thursday good?')).toBeVisible();
  await page.keyboard.press('r');
  await editor(page).click();
  await page.keyboard.press('Control+Home');
  await page.keyboard.type('Thursday is good.');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await expect(page.getByRole('article')).toHaveCount(2);
  await expect(row(page, subject)).toContainText('me');
});

test('a mailbox that is nearly full says so in words, and a full one what that means', async ({ page }) => {
  let used = 89e6;
  await page.route('**/jmap/api', async (route) => {
    const answer = await route.fetch();
    // The page may have gone meanwhile.
    const said = (await answer.json().catch(() => ({ methodResponses: [] }))) as { methodResponses: [string, { list: unknown[] }, string][] };
    for (const [name, value] of said.methodResponses) if (name === 'Quota/get') value.list = [{ id: 'q', resourceType: 'octets', used, hardLimit: 100e6, warnLimit: 90e6 }];
    await route.fulfill({ response: answer, json: said }).catch(() => {});
  });
  await signIn(page);
  await expect(page.getByText('89 MB of 100 MB used')).toBeVisible();
  await expect(page.getByText('Nearly full.')).toHaveCount(0);
  used = 90e6;
  await page.reload();
  await expect(page.getByText('Nearly full.')).toBeVisible();
  await clean(page);
  used = 100e6;
  await page.reload();
  await expect(page.getByText('Full. New mail waits at its sender')).toBeVisible();
});

test('sending can be undone, and nothing has gone', async ({ page }) => {
  await signIn(page);
  const subject = unique('Undo');
  await write(page, USER, subject, 'Not yet.');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(editor(page)).toContainText('Not yet.');
  const filter = { inMailbox: await box(page, 'inbox'), subject };
  const [found] = (await jmap(page, ['Email/query', { filter }])) as unknown as [{ ids: string[] }];
  expect(found.ids).toEqual([]);
  page.on('dialog', (dialog) => void dialog.accept());
  await page.getByRole('button', { name: 'Discard' }).click();
});

test('what is sent arrives', async ({ page }) => {
  await signIn(page);
  await jmap(page, ['Preferences/set', { update: { singleton: { undoSeconds: 0 } } }]);
  await page.reload();
  const subject = unique('Round trip');
  await write(page, USER, subject, 'Hello me.');
  await page.keyboard.press('Control+Enter');
  await expect(row(page, subject)).toBeVisible({ timeout: 20_000 });
  await jmap(page, ['Preferences/set', { update: { singleton: { undoSeconds: 10 } } }]);
});

test('send later waits, is listed, and can be called back', async ({ page }) => {
  await signIn(page);
  const subject = unique('Later');
  await write(page, USER, subject, 'Tomorrow.');
  await page.getByRole('button', { name: 'Send later' }).click();
  await page.getByRole('menuitem', { name: /Tomorrow morning/ }).click();
  await page.getByRole('link', { name: 'Scheduled' }).click();
  const item = page.getByRole('listitem').filter({ hasText: subject });
  await expect(item).toBeVisible();
  await item.getByRole('button', { name: 'Do not send' }).click();
  await expect(editor(page)).toContainText('Tomorrow.');
  await expect(item).toHaveCount(0);
});

test('a draft is kept at the server, and again in the editor after a reload', async ({ page }) => {
  await signIn(page);
  const subject = unique('Draft');
  await write(page, 'someone@example.com', subject, 'First thought');
  await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
  await page.keyboard.type(' and second');
  // At once, before the server has it.
  await page.reload();
  await expect(editor(page)).toContainText('First thought and second');
  await page.getByRole('button', { name: 'Save and close' }).click();
  await page.getByRole('link', { name: /^Drafts/ }).click();
  await row(page, subject).click();
  await expect(editor(page)).toContainText('First thought and second');
  await expect(row(page, subject)).toHaveCount(1);
});

test('a takeover in the middle of a sentence loses no character', async ({ page, context }) => {
  await signIn(page);
  const subject = unique('Takeover');
  await write(page, 'someone@example.com', subject, 'Before. ');
  await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
  await context.setOffline(true);
  await page.keyboard.type('During the takeover. ');
  await expect(page.getByText('Reconnecting')).toBeVisible();
  await page.waitForTimeout(1_500);
  await page.keyboard.type('Still typing. ');
  await context.setOffline(false);
  const back = Date.now();
  await expect(page.getByText('Reconnecting')).toHaveCount(0);
  expect(Date.now() - back).toBeLessThan(2_000);
  await page.keyboard.type('After.');
  const all = 'Before. During the takeover. Still typing. After.';
  await expect(editor(page)).toContainText(all);
  await expect(async () => {
    const filter = { inMailbox: await box(page, 'drafts'), subject };
    const [, got] = (await jmap(page, ['Email/query', { filter }], ['Email/get', { '#ids': { resultOf: '0', name: 'Email/query', path: '/ids' }, properties: ['preview'] }])) as unknown as [unknown, { list: { preview: string }[] }];
    expect(got.list.map((one) => one.preview.trim())).toEqual([expect.stringContaining(all)]);
  }).toPass();
});

test('what is sent while the server is away is sent once', async ({ page, context }) => {
  await signIn(page);
  const subject = unique('Once');
  await write(page, 'someone@example.com', subject, 'Only once.');
  await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
  await context.setOffline(true);
  await page.keyboard.press('Control+Enter');
  await page.waitForTimeout(1_200);
  await context.setOffline(false);
  await expect(page.getByRole('region', { name: subject })).toHaveCount(0);
  const [found] = (await jmap(page, ['Email/query', { filter: { subject } }])) as unknown as [{ ids: string[] }];
  expect(found.ids).toHaveLength(1);
});

test('archiving is at once, and taken back', async ({ page }) => {
  await signIn(page);
  const subject = unique('Archive me');
  await seed(page, { subject });
  await row(page, subject).click();
  await page.getByRole('button', { name: 'Archive', exact: true }).click();
  await expect(row(page, subject)).toHaveCount(0);
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(row(page, subject)).toHaveCount(1);
});

test('what the server refuses is put back', async ({ page }) => {
  await signIn(page);
  const subject = unique('Refused');
  await seed(page, { subject, seen: true });
  await expect(row(page, subject)).toBeVisible();
  await page.route('**/jmap/api', async (route) => {
    const body = route.request().postDataJSON() as { methodCalls: [string, { update?: Record<string, unknown> }, string][] };
    const [name, args, id] = body.methodCalls[0]!;
    if (name !== 'Email/set') return route.continue();
    const notUpdated = Object.fromEntries(Object.keys(args.update ?? {}).map((key) => [key, { type: 'forbidden' }]));
    return route.fulfill({ json: { methodResponses: [['Email/set', { notUpdated, newState: 'x' }, id]], sessionState: '1' } });
  });
  await row(page, subject).click({ modifiers: ['Control'] });
  await page.keyboard.press('e');
  await expect(page.getByText('Nothing has been changed')).toBeVisible();
  await expect(row(page, subject)).toHaveCount(1);
});

test('several are chosen with shift and thrown away together', async ({ page }) => {
  await signIn(page);
  const word = unique('Batch');
  for (const n of [1, 2, 3]) await seed(page, { subject: `${word} ${n}`, seen: true });
  await expect(row(page, word)).toHaveCount(3);
  await row(page, word).nth(0).getByRole('button', { name: 'Select' }).click();
  await row(page, word).nth(2).click({ modifiers: ['Shift'] });
  await expect(page.getByText('3 selected')).toBeVisible();
  await page.keyboard.press('#');
  await expect(row(page, word)).toHaveCount(0);
  await page.getByRole('link', { name: 'Trash' }).click();
  await expect(row(page, word)).toHaveCount(3);
});

test('search understands operators and shows where it found', async ({ page }) => {
  await signIn(page);
  const word = unique('needle').replace(' ', '');
  await seed(page, { subject: `First ${word}`, from: { name: 'Uma Finder', email: 'uma@example.com' } });
  await seed(page, { subject: `Second ${word}`, seen: true, role: 'archive' });
  await page.getByRole('searchbox').fill(word);
  await page.keyboard.press('Enter');
  await expect(row(page, word)).toHaveCount(2);
  await expect(row(page, 'Second')).toContainText('Archive');
  await page.getByRole('searchbox').fill(`${word} from:uma is:unread`);
  await page.keyboard.press('Enter');
  await expect(row(page, word)).toHaveCount(1);
  await page.getByRole('searchbox').fill(`${word} -is:unread`);
  await page.keyboard.press('Enter');
  await expect(row(page, 'Second')).toHaveCount(1);
  await expect(row(page, 'First')).toHaveCount(0);
});

test('mail cannot act: scripts do not run, other servers are not asked before consent', async ({ page }) => {
  await signIn(page);
  const asked: string[] = [];
  await page.route('https://tracker.example/**', (route) => (asked.push(route.request().url()), route.abort()));
  const subject = unique('Hostile');
  await seed(page, { subject, html: `<p id="x" onclick="parent.hacked=1">Look</p><script>parent.hacked=1</script><img src="https://tracker.example/a.png" onerror="parent.hacked=1"><div style="background:url(https://tracker.example/b.png)">b</div><svg><script>parent.hacked=1</script></svg><a href="javascript:parent.hacked=1">bad</a><a href="https://example.com/">good</a><iframe src="https://tracker.example/c"></iframe><form action="https://tracker.example/d"><input name="q"></form>` });
  await row(page, subject).click();
  const frame = page.frameLocator('iframe').first();
  await frame.getByText('Look').click();
  await frame.getByText('bad').click().catch(() => {});
  await expect(frame.getByText('good')).toHaveAttribute('rel', /noopener/);
  expect(await frame.locator('form, input, iframe, script, svg').count()).toBe(0);
  expect(await page.evaluate(() => (window as unknown as { hacked?: number }).hacked)).toBeUndefined();
  expect(asked).toEqual([]);
  await page.getByRole('button', { name: 'Show now' }).click();
  await expect.poll(() => asked).toEqual(['https://tracker.example/a.png']);
});

test('files are attached with their size, and come back whole', async ({ page }) => {
  await signIn(page);
  const subject = unique('Files');
  await write(page, 'someone@example.com', subject, 'Two files.');
  await page.locator('input[data-attach]').setInputFiles([{ name: 'plan.txt', mimeType: 'text/plain', buffer: Buffer.from('the plan') }, { name: 'big.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(300_000, 1) }]);
  await expect(page.getByRole('list', { name: 'Attachments' }).getByRole('listitem')).toHaveCount(2);
  await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
  await page.getByRole('button', { name: 'Save and close' }).click();
  await page.getByRole('link', { name: /^Drafts/ }).click();
  await row(page, subject).click();
  const files = page.getByRole('list', { name: 'Attachments' });
  await expect(files).toContainText('300');
  // The older draft goes with each save; its files must not.
  for (const words of ['More. ', 'And more. ']) {
    const saved = page.waitForResponse((answer) => /"Email\/set".*"create"/.test(answer.request().postData() ?? ''));
    await editor(page).click();
    await page.keyboard.type(words);
    await saved;
    await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
  }
  await expect(files.getByRole('listitem')).toHaveCount(2);
  await expect(page.getByText('attach them again')).toHaveCount(0);
  await page.getByRole('button', { name: 'Save and close' }).click();
  await row(page, subject).click();
  await expect(files.getByRole('listitem')).toHaveCount(2);
});

test('a picture is pasted into the text and stays there', async ({ page }) => {
  await signIn(page);
  const subject = unique('Picture');
  await write(page, 'someone@example.com', subject, 'See: ');
  await page.locator('input[accept^="image"]').setInputFiles({ name: 'dot.png', mimeType: 'image/png', buffer: Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC', 'base64') });
  await expect(editor(page).locator('img')).toBeVisible();
  await expect(page.getByRole('region', { name: subject })).toContainText('Saved');
  await page.reload();
  await expect(editor(page).locator('img')).toHaveJSProperty('naturalWidth', 10);
});

test('the original stays sealed until one asks', async ({ page }) => {
  await signIn(page);
  const subject = unique('Sealed');
  await seed(page, { subject, html: '<p>The <b>original</b> words</p>' });
  await row(page, subject).click();
  await page.getByRole('button', { name: 'Forward', exact: true }).click();
  await expect(editor(page)).toBeVisible();
  await expect(editor(page)).not.toContainText('original');
  await page.getByRole('button', { name: 'Edit it' }).click();
  await expect(editor(page)).toContainText('The original words');
  page.on('dialog', (dialog) => void dialog.accept());
  await page.getByRole('button', { name: 'Discard' }).click();
});

test('folders are made, renamed, moved, filled and deleted', async ({ page }) => {
  await signIn(page);
  const name = unique('Folder');
  const side = page.getByRole('navigation', { name: 'Folders' });
  await side.getByRole('button', { name: 'New folder', exact: true }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill(name);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(side.getByRole('link', { name })).toBeVisible();
  const subject = unique('Filed');
  await seed(page, { subject, seen: true });
  await row(page, subject).click({ modifiers: ['Control'] });
  await page.keyboard.press('v');
  await page.getByRole('textbox', { name: 'Find a folder' }).fill(name);
  await page.keyboard.press('Enter');
  await expect(row(page, subject)).toHaveCount(0);
  await side.getByRole('link', { name }).click();
  await expect(row(page, subject)).toBeVisible();
  await side.getByRole('button', { name: `Actions for ${name}` }).click();
  await page.getByRole('menuitem', { name: 'Rename' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill(`${name} two`);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(side.getByRole('link', { name: `${name} two` })).toBeVisible();
  page.on('dialog', (dialog) => void dialog.accept());
  await side.getByRole('button', { name: `Actions for ${name} two` }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await expect(side.getByRole('link', { name: `${name} two` })).toHaveCount(0);
});

test('a contact is made and completes an address', async ({ page }) => {
  await signIn(page);
  const name = `Zora ${Date.now().toString(36)}`;
  await page.getByRole('link', { name: 'Contacts' }).click();
  await page.getByRole('button', { name: 'New contact' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill(name);
  await page.getByRole('textbox', { name: 'E-mail' }).fill('zora@example.com');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('heading', { name })).toBeVisible();
  await page.getByRole('navigation').getByRole('button', { name: 'Write' }).click();
  await page.getByRole('combobox', { name: 'To' }).pressSequentially(name.slice(0, 8));
  await page.getByRole('option').filter({ hasText: name }).click();
  await expect(page.getByRole('button', { name: `Remove ${name}` })).toBeVisible();
  await page.getByRole('button', { name: 'Save and close' }).click();
  page.on('dialog', (dialog) => void dialog.accept());
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await expect(page.getByRole('link', { name })).toHaveCount(0);
});

test('out of office, signature and appearance are kept', async ({ page }) => {
  await signIn(page, '/#/settings/vacation');
  await page.getByRole('checkbox', { name: 'Answer automatically' }).check();
  await page.getByRole('textbox', { name: 'Answer' }).fill('Back on Monday.');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Saved.')).toBeVisible();
  await page.reload();
  await expect(page.getByRole('textbox', { name: 'Answer' })).toHaveValue('Back on Monday.');
  await page.getByRole('checkbox', { name: 'Answer automatically' }).uncheck();
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('link', { name: 'Appearance' }).click();
  await page.getByRole('radio', { name: 'Dark' }).check();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.reload();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.getByRole('radio', { name: 'As the device' }).check();
});

test('a device gets a password of its own, which can be taken back', async ({ page }) => {
  await signIn(page, '/#/connect/android');
  const name = unique('Phone');
  await page.getByRole('textbox', { name: 'What do you call it?' }).fill(name);
  await page.getByRole('button', { name: 'Create a password' }).click();
  await expect(page.getByText('shown only now')).toBeVisible();
  await page.getByRole('main').getByRole('link', { name: 'Devices' }).click();
  page.on('dialog', (dialog) => void dialog.accept());
  await page.getByRole('button', { name: `Disconnect: ${name}` }).click();
  await expect(page.getByText(name)).toHaveCount(0);
});

test('messages are uploaded as .eml, and saved as such', async ({ page }) => {
  await signIn(page);
  const subject = unique('Uploaded');
  await page.getByRole('button', { name: 'Actions for Inbox' }).click();
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('menuitem', { name: 'Upload messages' }).click();
  const eml = `From: Old Friend <old@example.com>\r\nTo: ${USER}\r\nSubject: ${subject}\r\nDate: ${new Date().toUTCString()}\r\nMessage-ID: <${Date.now()}@example.com>\r\n\r\nKept for years.\r\n`;
  await (await chooser).setFiles({ name: 'old.eml', mimeType: 'message/rfc822', buffer: Buffer.from(eml) });
  await row(page, subject).click();
  await page.getByRole('button', { name: /More for the message/ }).click();
  const download = page.waitForEvent('download');
  await page.getByRole('menuitem', { name: 'Save as .eml' }).click();
  expect((await download).suggestedFilename()).toContain(subject);
});

test('a session that ends asks to sign in again, over what one was writing', async ({ page, context }) => {
  await signIn(page);
  const subject = unique('Signed out');
  await write(page, 'someone@example.com', subject, 'Half a sen');
  await context.clearCookies();
  await page.keyboard.type('tence');
  await expect(page.getByRole('heading', { name: 'Please sign in again' })).toBeVisible();
  await page.locator('input[type=password]').fill(process.env['UI_PASSWORD'] ?? 'understudy');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { name: 'Please sign in again' })).toHaveCount(0);
  await expect(editor(page)).toContainText('Half a sentence');
});
