import { expect, test } from '@playwright/test';
import { clean } from './axe';
import { box, editor, jmap, row, seed, signIn, unique } from './mail';

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });
    test('sign-in', async ({ page }) => {
      await page.goto('/');
      await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
      await clean(page);
    });
    test('list, conversation, writing, help', async ({ page }) => {
      await signIn(page);
      await seed(page, { subject: unique('Axe') });
      await clean(page);
      await row(page, 'Axe').first().click();
      await expect(page.getByRole('article')).toBeVisible();
      await clean(page);
      await page.keyboard.press('r');
      await expect(editor(page)).toBeVisible();
      await clean(page);
      await page.getByRole('button', { name: 'Save and close' }).click();
      await page.keyboard.press('?');
      await expect(page.getByRole('dialog')).toBeVisible();
      await clean(page);
    });
    for (const path of ['contacts', 'scheduled', 'connect/apple', 'connect/android', 'settings/appearance', 'settings/readingMail', 'settings/writing', 'settings/signatures', 'settings/vacation', 'settings/security', 'settings/sessions', 'settings/devices'])
      test(path, async ({ page }) => {
        await signIn(page);
        await page.goto(`/#/${path}`);
        await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
        await clean(page);
      });
  });
}

test('a day with the keyboard alone', async ({ page }) => {
  await signIn(page);
  const subject = unique('Keys');
  const id = await seed(page, { subject });
  await expect(row(page, subject)).toBeVisible();
  await page.keyboard.press('g');
  await page.keyboard.press('s');
  await expect(page.getByRole('heading', { name: 'Sent' })).toBeVisible();
  await page.keyboard.press('g');
  await page.keyboard.press('i');
  await expect(page.getByRole('heading', { name: 'Inbox' })).toBeVisible();
  await page.keyboard.press('/');
  await page.keyboard.type(`subject:"${subject}"`);
  await page.keyboard.press('Enter');
  await expect(row(page, subject)).toHaveCount(1);
  await page.keyboard.press('j');
  await expect(row(page, subject)).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('article')).toBeVisible();
  await page.keyboard.press('r');
  await expect(editor(page)).toBeFocused();
  await page.keyboard.type('From the keyboard.');
  await page.keyboard.press('Escape');
  await expect(editor(page)).toHaveCount(0);
  await page.keyboard.press('Escape');
  await page.keyboard.press('s');
  await expect(row(page, subject).getByRole('button', { name: 'Star' })).toHaveAttribute('aria-pressed', 'true');
  await page.keyboard.press('e');
  const archive = await box(page, 'archive');
  await expect(async () => {
    const [got] = (await jmap(page, ['Email/get', { ids: [id], properties: ['mailboxIds'] }])) as unknown as [{ list: { mailboxIds: Record<string, boolean> }[] }];
    expect(got.list[0]?.mailboxIds).toEqual({ [archive]: true });
  }).toPass();
});

test('the list keeps the focus while it scrolls', async ({ page }) => {
  await signIn(page);
  const word = unique('Scroll');
  for (let n = 0; n < 3; n += 1) await seed(page, { subject: `${word} ${n}` });
  await expect(row(page, word)).toHaveCount(3);
  await page.keyboard.press('j');
  await page.keyboard.press('End');
  await expect(page.locator('[role=row]:focus')).toHaveCount(1);
  await page.keyboard.press('Home');
  await expect(page.locator('[role=row]:focus')).toHaveAttribute('aria-rowindex', '1');
});

test.describe('on a phone, in German', () => {
  test.use({ viewport: { width: 390, height: 800 }, locale: 'de-DE', hasTouch: true });
  test('one pane at a time, and back', async ({ page }) => {
    await signIn(page);
    const subject = unique('Telefon');
    await seed(page, { subject, text: 'Unterwegs.' });
    await row(page, subject).tap();
    await expect(page.frameLocator('iframe').first().getByText('Unterwegs.')).toBeVisible();
    await expect(page.getByRole('grid')).toBeHidden();
    await clean(page);
    await page.goBack();
    await expect(page.getByRole('grid')).toBeVisible();
    await page.getByRole('button', { name: 'Ordner', exact: true }).tap();
    await page.getByRole('link', { name: 'Gesendet' }).tap();
    await expect(page.getByRole('heading', { name: 'Gesendet' })).toBeVisible();
    await page.getByRole('main').getByRole('heading').first().waitFor();
    await page.locator('.fab').tap();
    await expect(editor(page)).toBeVisible();
    await clean(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(wide).toBeLessThanOrEqual(390);
  });
});

test('nothing is against the policy', async ({ page }) => {
  const told: string[] = [];
  page.on('console', (message) => /Content Security Policy|TrustedHTML|Trusted Type/.test(message.text()) && told.push(message.text()));
  await signIn(page);
  const subject = unique('Policy');
  await seed(page, { subject, html: '<p style="color:#a00">Red</p>' });
  await row(page, subject).click();
  await expect(page.frameLocator('iframe').first().getByText('Red')).toHaveCSS('color', 'rgb(170, 0, 0)');
  await page.keyboard.press('r');
  await editor(page).click();
  await page.keyboard.type('Bold ');
  await page.getByRole('button', { name: 'Bold' }).click();
  await page.keyboard.type('words');
  await page.keyboard.press('Control+z');
  await page.getByRole('button', { name: 'Save and close' }).click();
  for (const path of ['contacts', 'settings', 'connect']) {
    await page.goto(`/#/${path}`);
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  }
  expect(told).toEqual([]);
});
