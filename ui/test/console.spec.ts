import { expect, test, type Page } from '@playwright/test';
import { clean } from './axe';
import { unique } from './mail';

// Against the mock, or an appliance: UI_CONSOLE_URL, UI_OPERATOR, UI_OPERATOR_PASSWORD.
const REAL = process.env['UI_CONSOLE_URL'];
const BASE = REAL ?? `http://127.0.0.1:${Number(process.env['UI_PORT'] ?? 4189) + 1}`;
const NAME = process.env['UI_OPERATOR'] ?? 'anna';
const PASSWORD = process.env['UI_OPERATOR_PASSWORD'] ?? 'understudy';
test.use({ baseURL: BASE });

async function signIn(page: Page, at = '/'): Promise<void> {
  await page.goto(at);
  await page.locator('input[autocomplete=username]').fill(NAME);
  await page.locator('input[type=password]').fill(PASSWORD);
  await page.locator('form button.primary').click();
  await expect(page.locator('nav a').first()).toBeAttached();
  await expect(page.locator('main h1')).toBeVisible();
}
/** How the mock's appliance stands. */
async function stand(page: Page, facts: Record<string, unknown>): Promise<void> {
  await page.request.post(`${BASE}/mock`, { data: facts });
}
test.afterEach(async ({ page }) => {
  if (!REAL) await stand(page, { state: 'pair', roll: null });
});
const slug = (word: string): string => unique(word).toLowerCase().replace(/[^a-z0-9]+/g, '-');
const dialog = (page: Page) => page.getByRole('dialog');
const PAGES = ['status', 'pair', 'update', 'tenants', 'queue', 'certificates', 'operators', 'audit'];

test('a wrong password is refused, the right one opens the status', async ({ page }) => {
  await page.goto('/');
  await page.getByRole('textbox', { name: 'Operator' }).fill(NAME);
  await page.locator('input[type=password]').fill('not this one');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('wrong');
  await signIn(page);
  await expect(page.getByRole('heading', { name: 'Status', level: 1 })).toBeVisible();
  await expect(page.getByText('Live ·')).toBeVisible();
  await expect(page.getByRole('region', { name: 'Replication' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in to the console' })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Sign in to the console' })).toBeVisible();
});

test('the console is a place of its own', async ({ page, request }) => {
  await signIn(page);
  for (const path of ['/index.html', '/sw.js', '/api/session', '/jmap/session']) expect((await request.get(`${BASE}${path}`)).status(), path).toBeGreaterThanOrEqual(400);
  expect(await page.evaluate(() => navigator.serviceWorker?.getRegistrations().then((list) => list.length) ?? 0)).toBe(0);
});

test('a tenant with a domain, a person and an alias is made and taken apart', async ({ page }) => {
  await signIn(page, '/#/tenants');
  const tenant = slug('Tenant');
  const domain = `${tenant}.example`;
  await page.getByRole('button', { name: 'New tenant' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill(tenant);
  await page.getByRole('button', { name: 'Create' }).click();
  await expect(page.getByRole('heading', { name: tenant, level: 1 })).toBeVisible();
  await page.getByRole('textbox', { name: 'New domain' }).fill(domain);
  await page.getByRole('button', { name: 'Add' }).click();
  await expect(page.getByRole('button', { name: `Remove ${domain}` })).toBeVisible();

  await page.getByRole('link', { name: 'People', exact: true }).click();
  await page.getByRole('button', { name: 'New person' }).click();
  await page.getByRole('textbox', { name: 'Address' }).fill('zora');
  await page.getByRole('button', { name: 'Create' }).click();
  await expect(dialog(page).locator('code')).toHaveText(/^[a-z2-9]{5}(-[a-z2-9]{5}){3}$/);
  await expect(dialog(page)).toContainText('Shown only now');
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: `zora@${domain}` }).click();

  await page.getByRole('button', { name: 'Make administrator' }).click();
  await expect(dialog(page)).toContainText('set their passwords');
  await dialog(page).getByRole('button', { name: 'Make administrator' }).click();
  await expect(page.getByRole('button', { name: 'Take away' })).toBeVisible();

  await page.getByRole('button', { name: 'New app password' }).click();
  await page.getByRole('textbox', { name: 'What is it for?' }).fill('Telephone');
  await page.getByRole('button', { name: 'Set it' }).click();
  await expect(dialog(page).locator('code')).not.toBeEmpty();
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Revoke: Telephone' }).click();
  await dialog(page).getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByText('No mail program is connected.')).toBeVisible();

  await page.getByRole('link', { name: 'Aliases', exact: true }).click();
  await page.getByRole('button', { name: 'New alias' }).click();
  await page.getByRole('textbox', { name: 'Alias' }).fill(`info@${domain}`);
  await page.getByRole('combobox', { name: 'Whose mail it becomes' }).fill(`zora@${domain}`);
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByRole('button', { name: `Remove info@${domain}` }).click();
  await dialog(page).getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByText('No aliases.')).toBeVisible();

  // What does not work says why, and what to do.
  await page.getByRole('link', { name: 'Domains', exact: true }).click();
  await page.getByRole('button', { name: `Remove ${domain}` }).click();
  await dialog(page).getByRole('button', { name: 'Remove' }).click();
  await expect(dialog(page).getByRole('alert')).toContainText('What to do');
  await dialog(page).getByRole('button', { name: 'Cancel' }).click();

  await page.getByRole('link', { name: 'People', exact: true }).click();
  await page.getByRole('link', { name: `zora@${domain}` }).click();
  await page.getByRole('button', { name: 'Close the account' }).click();
  await expect(dialog(page).getByRole('button', { name: 'Close the account' })).toBeDisabled();
  await dialog(page).getByRole('textbox').fill(`zora@${domain}`);
  await dialog(page).getByRole('button', { name: 'Close the account' }).click();
  await expect(page.getByText('Nobody yet.')).toBeVisible();

  await page.goto('/#/audit');
  await page.getByRole('searchbox', { name: 'Filter' }).fill(domain);
  await expect(page.getByRole('row', { name: /account-remove/ })).toContainText('done');
  await page.getByRole('checkbox', { name: 'Only what failed' }).check();
  await expect(page.getByRole('row', { name: /domain-remove/ })).toContainText('failed');
  await expect(page.getByRole('row', { name: /account-remove/ })).toHaveCount(0);
});

test('an operator is added, gets another password and is removed', async ({ page, browser }) => {
  await signIn(page, '/#/operators');
  const name = slug('op').slice(0, 30);
  await page.getByRole('button', { name: 'New operator' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill(name);
  await page.getByRole('button', { name: 'Create' }).click();
  const secret = (await dialog(page).locator('code').textContent()) ?? '';
  expect(secret.length).toBeGreaterThan(9);
  await page.getByRole('button', { name: 'Done' }).click();

  const context = await browser.newContext({ baseURL: BASE, ignoreHTTPSErrors: true, locale: 'en-GB' });
  const other = await context.newPage();
  await other.goto('/');
  await other.getByRole('textbox', { name: 'Operator' }).fill(name);
  await other.locator('input[type=password]').fill(secret);
  await other.getByRole('button', { name: 'Sign in' }).click();
  await expect(other.getByText('Live ·')).toBeVisible();

  await page.getByRole('button', { name: `New password for ${name}` }).click();
  await dialog(page).getByRole('button', { name: 'Set it' }).click();
  await expect(dialog(page)).toContainText('Shown only now');
  await page.getByRole('button', { name: 'Done' }).click();
  // Signed out at once, and told so.
  await expect(other.getByText('You have been signed out')).toBeVisible({ timeout: 30_000 });
  await context.close();

  await page.getByRole('button', { name: `Remove ${name}` }).click();
  await dialog(page).getByRole('textbox').fill(name);
  await dialog(page).getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByText(name, { exact: true })).toHaveCount(0);
  await expect(page.getByRole('button', { name: `Remove ${NAME}` })).toHaveCount(0);
});

test('a token is shown, and shown once', async ({ page }) => {
  await signIn(page, '/#/pair');
  test.skip(await page.getByRole('button', { name: 'Make a token' }).isHidden(), 'this appliance stands alone');
  await page.getByRole('button', { name: 'Make a token' }).click();
  await expect(page.locator('.once code')).not.toBeEmpty();
  await page.goto('/#/status');
  await page.goto('/#/pair');
  await expect(page.getByRole('button', { name: 'Make a token' })).toBeVisible();
});

test('an update is uploaded and says what will happen before anything does', async ({ page }) => {
  await signIn(page, '/#/update');
  await page.getByLabel('Update file').setInputFiles({ name: 'understudy.update', mimeType: 'application/octet-stream', buffer: Buffer.alloc(3_000_000, 7) });
  await page.getByRole('button', { name: 'Upload' }).click();
  if (REAL) {
    // What we made is no update, and the appliance says so before anything else.
    await expect(page.getByRole('alert')).toContainText('This is no update of Understudy');
    return;
  }
  await expect(page.getByText('Nothing has been changed yet')).toBeVisible();
  await expect(page.getByText('The file is checked')).toBeVisible();
  await page.getByRole('button', { name: 'Install' }).click();
  await expect(dialog(page).getByRole('listitem')).toHaveCount(5);
  await dialog(page).getByRole('button', { name: 'Install' }).click();
  await expect(page.getByText('0.4.2 · under way')).toBeVisible();
  await expect(page.getByText('0.4.2 · done')).toBeVisible({ timeout: 20_000 });
  await page.getByRole('button', { name: 'Go back' }).click();
  await expect(dialog(page)).toContainText('the version before is started');
  await dialog(page).getByRole('button', { name: 'Cancel' }).click();
});

test.describe('how it stands', () => {
  test.skip(!!REAL, 'the mock can be told how it stands');

  test('what is wrong, what to do first, and its runbook', async ({ page }) => {
    await signIn(page);
    await expect(page.getByText('One may fail')).toBeVisible();
    await stand(page, { state: 'solo' });
    await expect(page.getByText('on one disk only.')).toBeVisible();
    await expect(page.getByText('First:').first()).toBeVisible();
    await expect(page).toHaveTitle(/^Look here/);
    await page.getByRole('button', { name: 'Open runbook peer-lost' }).click();
    await expect(dialog(page)).toContainText('Bring the machine or the link back.');
    await clean(page);
  });

  test('going on alone wants its words typed', async ({ page }) => {
    await stand(page, { state: 'waiting' });
    await signIn(page);
    await expect(page.getByText('Mail is not served.').first()).toBeVisible();
    await page.getByRole('link', { name: 'To the answer' }).click();
    await page.getByRole('button', { name: 'Let this one serve alone' }).click();
    const go = dialog(page).getByRole('button', { name: 'Let this one serve alone' });
    await dialog(page).getByRole('textbox').fill('yes');
    await page.keyboard.press('Enter');
    await expect(go).toBeDisabled();
    await dialog(page).getByRole('textbox').fill('the other is off');
    await clean(page);
    await go.click();
    await page.getByRole('link', { name: 'Status', exact: true }).click();
    await expect(page.getByText('served by one appliance')).toBeVisible();
  });

  test('a handover says what will happen', async ({ page }) => {
    await signIn(page, '/#/pair');
    await page.getByRole('button', { name: 'Hand over' }).click();
    await expect(dialog(page)).toContainText('No mail is lost');
    await dialog(page).getByRole('button', { name: 'Hand over' }).click();
    await expect(page.getByText('This one is not primary')).toBeVisible();
    await expect(page.getByRole('button', { name: 'Hand over' })).toBeDisabled();
  });

  test('an origin’s addresses are taken only when nobody answers, or by force', async ({ page }) => {
    await signIn(page, '/#/pair');
    await page.getByRole('button', { name: /^Take over the addresses/ }).click();
    await dialog(page).getByRole('button', { name: 'Take over' }).click();
    await expect(dialog(page).getByRole('alert')).toContainText('Switch that machine off');
    await dialog(page).getByRole('checkbox').check();
    await dialog(page).getByRole('button', { name: 'Take over' }).click();
    await page.getByRole('button', { name: /^Give the addresses/ }).click();
    await dialog(page).getByRole('button', { name: 'Give back' }).click();
    await expect(page.getByRole('button', { name: /^Take over the addresses/ })).toBeVisible();
  });

  test('what waits says why, and is found by its words', async ({ page }) => {
    await signIn(page, '/#/queue');
    await expect(page.getByText('Greylisting in action')).toBeVisible();
    await page.getByRole('searchbox', { name: 'Filter' }).fill('timed out');
    await expect(page.getByText('Greylisting in action')).toHaveCount(0);
    await expect(page.getByText('a bounce → bounces@lists.example')).toBeVisible();
    await page.getByRole('button', { name: 'Try now: bounces@lists.example' }).click();
    await expect(page.getByText('8 attempts')).toBeVisible();
    await page.getByRole('button', { name: 'Take out: bounces@lists.example' }).click();
    await expect(dialog(page)).toContainText('Its sender is not told');
    await clean(page);
    await dialog(page).getByRole('button', { name: 'Take out' }).click();
    await expect(page.getByText('a bounce → bounces@lists.example')).toHaveCount(0);
  });

  test('whoever works in the page keeps the session, whoever left does not', async ({ page }) => {
    await page.clock.install();
    await signIn(page);
    let uses = 0;
    page.on('request', (request) => void (uses += Number(new URL(request.url()).pathname === '/api/console/session')));
    await page.locator('main h1').click();
    expect(uses).toBe(0);
    await page.clock.fastForward(600_000);
    await expect.poll(() => uses).toBe(0);
    const told = page.waitForRequest('**/api/console/session');
    await page.locator('main h1').click();
    await told;
    await page.keyboard.press('Tab');
    expect(uses).toBe(1);
  });

  test('a line that is cut is said calmly, and comes back', async ({ page, context }) => {
    await signIn(page);
    await expect(page.getByText('Live ·')).toBeVisible();
    await context.setOffline(true);
    await stand(page, { cut: true });
    await expect(page.getByText('No connection to the appliance')).toBeVisible();
    await expect(page.getByRole('region', { name: 'Replication' })).toBeVisible();
    await clean(page);
    await context.setOffline(false);
    await expect(page.getByText('No connection to the appliance')).toHaveCount(0);
    await expect(page.getByText('Live ·')).toBeVisible();
  });

  for (const colorScheme of ['light', 'dark'] as const)
    for (const state of ['solo', 'waiting', 'joining', 'alone'])
      test(`${state}, ${colorScheme}`, async ({ page }) => {
        await page.emulateMedia({ colorScheme });
        await stand(page, { state });
        await signIn(page);
        await expect(page.getByText('Live ·')).toBeVisible();
        await clean(page);
      });
});

for (const colorScheme of ['light', 'dark'] as const)
  test(`every page is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await page.goto('/');
    await expect(page.getByRole('heading', { name: 'Sign in to the console' })).toBeVisible();
    await clean(page);
    await signIn(page);
    for (const at of PAGES) {
      await page.goto(`/#/${at}`);
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
      await expect(page.getByText('Loading…')).toHaveCount(0);
      await clean(page);
    }
    await page.goto('/#/operators');
    await page.getByRole('button', { name: 'New operator' }).click();
    await clean(page);
    await page.keyboard.press('Escape');
    await page.goto('/#/tenants');
    await page.locator('main ul a').first().click();
    for (const section of ['People', 'Aliases', 'Domains']) {
      await page.getByRole('link', { name: section, exact: true }).click();
      await expect(page.getByText('Loading…')).toHaveCount(0);
      await clean(page);
    }
  });

test('with the keyboard alone', async ({ page }) => {
  await page.goto('/');
  await expect(page.locator('input[autocomplete=username]')).toBeFocused();
  await page.keyboard.type(NAME);
  await page.keyboard.press('Tab');
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await expect(page.getByText('Live ·')).toBeVisible();
  // The first stop leads past the menu.
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to the page' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toBeFocused();
  await page.getByRole('link', { name: 'Operators', exact: true }).focus();
  await page.keyboard.press('Enter');
  // A new page is read from its heading on.
  await expect(page.getByRole('heading', { name: 'Operators', level: 1 })).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('button', { name: 'New operator' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(dialog(page)).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(dialog(page)).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'New operator' })).toBeFocused();
});

test.describe('on a phone, in German', () => {
  test.use({ viewport: { width: 390, height: 800 }, locale: 'de-DE', hasTouch: true });
  test('each page fits, and the menu leads there', async ({ page }) => {
    if (!REAL) await stand(page, { state: 'solo' });
    await signIn(page);
    const names = ['Paar', 'Update', 'Mandanten', 'Ausgang', 'Zertifikate', 'Operatoren', 'Protokoll', 'Zustand'];
    for (const name of names) {
      await page.getByRole('button', { name: 'Menü' }).tap();
      await page.getByRole('navigation', { name: 'Seiten' }).getByRole('link', { name }).tap();
      await expect(page.getByRole('heading', { name, level: 1 })).toBeVisible();
      await expect(page.getByText('Lädt…')).toHaveCount(0);
      const main = page.locator('main');
      expect(await main.evaluate((element) => element.scrollWidth - element.clientWidth), name).toBe(0);
      await clean(page);
    }
    if (!REAL) await expect(page.getByText('Das andere Gerät fehlt')).toBeVisible();
  });
});

test('nothing is against the policy', async ({ page }) => {
  const told: string[] = [];
  page.on('console', (message) => /Content Security Policy|TrustedHTML|Trusted Type/.test(message.text()) && told.push(message.text()));
  page.on('pageerror', (error) => told.push(String(error)));
  await signIn(page);
  for (const at of PAGES) {
    await page.goto(`/#/${at}`);
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await expect(page.getByText('Loading…')).toHaveCount(0);
  }
  expect(told).toEqual([]);
});
