import { expect, test, type Page } from '@playwright/test';
import { clean } from './axe';
import { signIn, unique, USER } from './mail';

// On an appliance UI_USER must be an administrator of a tenant with a domain.
const MOCK = !process.env['UI_BASE_URL'];
const dialog = (page: Page) => page.getByRole('dialog');
const DOMAIN = USER.split('@')[1]!;

test('an administrator makes a person, helps and closes the account', async ({ page }) => {
  await signIn(page);
  await page.getByRole('link', { name: 'Administration' }).click();
  const local = unique('neu').toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const who = `${local}@${DOMAIN}`;
  await page.getByRole('button', { name: 'New person' }).click();
  await page.getByRole('textbox', { name: 'Address' }).fill(local);
  await page.getByRole('combobox', { name: 'Domain' }).selectOption(DOMAIN);
  await page.getByRole('radio', { name: 'I set one' }).check();
  await page.getByRole('textbox', { name: 'Password' }).fill('correct horse battery');
  await page.getByRole('button', { name: 'Create' }).click();
  await expect(dialog(page)).toContainText(`${who} is ready`);
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('searchbox', { name: 'Find a person' }).fill(local);
  await expect(page.getByText('1 person', { exact: true })).toBeVisible();
  await page.getByRole('link', { name: who }).click();

  await page.getByRole('button', { name: 'Set a new password' }).click();
  await dialog(page).getByRole('button', { name: 'Set it' }).click();
  await expect(dialog(page).locator('code')).toHaveText(/^[a-z2-9]{5}(-[a-z2-9]{5}){3}$/);
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Make administrator' }).click();
  await dialog(page).getByRole('button', { name: 'Make administrator' }).click();
  await page.getByRole('button', { name: 'Take away' }).click();
  await dialog(page).getByRole('button', { name: 'Take away' }).click();
  await expect(page.getByRole('button', { name: 'Make administrator' })).toBeVisible();

  await page.getByRole('link', { name: 'Aliases', exact: true }).click();
  await page.getByRole('button', { name: 'New alias' }).click();
  await page.getByRole('textbox', { name: 'Alias' }).fill(`a-${who}`);
  await page.getByRole('combobox', { name: 'Whose mail it becomes' }).fill(who);
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByRole('button', { name: `Remove a-${who}` }).click();
  await dialog(page).getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByText(`a-${who}`)).toHaveCount(0);

  await page.getByRole('link', { name: 'People', exact: true }).click();
  await page.getByRole('link', { name: who }).click();
  await page.getByRole('button', { name: 'Close the account' }).click();
  await dialog(page).getByRole('textbox').fill(who);
  await dialog(page).getByRole('button', { name: 'Close the account' }).click();
  await expect(page.getByRole('link', { name: who })).toHaveCount(0);

  await page.getByRole('link', { name: 'Audit log' }).click();
  await page.getByRole('searchbox', { name: 'Filter' }).fill(who);
  await expect(page.getByRole('row', { name: /account-remove/ })).toContainText('done');
});

test('nobody locks themselves out', async ({ page }) => {
  await signIn(page, '/#/admin');
  await page.getByRole('link', { name: USER }).click();
  await expect(page.getByText('You cannot close the account')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Close the account' })).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Take away' })).toHaveCount(0);
});

test('domains are for reading', async ({ page }) => {
  await signIn(page, '/#/admin/domains');
  await expect(page.getByText(DOMAIN, { exact: true })).toBeVisible();
  await expect(page.getByRole('button', { name: /^(Add|Remove)/ })).toHaveCount(0);
});

test('a person’s devices and second factor are taken back', async ({ page }) => {
  test.skip(!MOCK, 'wants a person who has them');
  await signIn(page, '/#/admin/people/jonas%40nordwerk.example');
  await page.getByRole('button', { name: 'Revoke: iPhone von Jonas' }).click();
  await expect(dialog(page)).toContainText('no more mail');
  await dialog(page).getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByText('No mail program is connected.')).toBeVisible();
  await page.getByRole('button', { name: 'Reset' }).click();
  await dialog(page).getByRole('button', { name: 'Reset' }).click();
  await expect(page.getByText('None is set up.')).toBeVisible();
});

test('who is no administrator sees nothing of it', async ({ page }) => {
  test.skip(!MOCK, 'wants a second person');
  await page.goto('/');
  await page.locator('input[type=email]').fill('einkauf@nordwerk.example');
  await page.locator('input[type=password]').fill('understudy');
  await page.locator('form button.primary').click();
  await expect(page.getByRole('link', { name: 'Contacts' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Administration' })).toHaveCount(0);
  await page.goto('/#/admin');
  await expect(page.getByRole('alert').first()).toContainText('You may not do this');
});

for (const colorScheme of ['light', 'dark'] as const)
  test(`administration is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await signIn(page);
    for (const at of ['people', `people/${encodeURIComponent(USER)}`, 'aliases', 'domains', 'audit']) {
      await page.goto(`/#/admin/${at}`);
      await expect(page.getByRole('heading', { name: 'Administration' })).toBeVisible();
      await expect(page.getByText('Loading…')).toHaveCount(0);
      await clean(page);
    }
    await page.goto('/#/admin/people');
    await page.getByRole('button', { name: 'New person' }).click();
    await clean(page);
  });

test.describe('on a phone, in German', () => {
  test.use({ viewport: { width: 390, height: 800 }, locale: 'de-DE', hasTouch: true });
  test('it fits', async ({ page }) => {
    await signIn(page);
    for (const at of ['people', `people/${encodeURIComponent(USER)}`, 'aliases', 'domains', 'audit']) {
      await page.goto(`/#/admin/${at}`);
      await expect(page.getByRole('heading', { name: 'Verwaltung', level: 1 })).toBeVisible();
      await expect(page.getByText('Lädt…')).toHaveCount(0);
      expect(await page.evaluate(() => document.querySelector('.page')!.scrollWidth - document.querySelector('.page')!.clientWidth), at).toBe(0);
      await clean(page);
    }
  });
});
