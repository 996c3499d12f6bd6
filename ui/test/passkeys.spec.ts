// Passkeys, with Chromium's virtual authenticator.  They want a name: `localhost` of the mock, the host name of configs/dev.toml.
import { expect, test, type Page } from '@playwright/test';
import { signIn, unique, USER } from './mail';

const base = process.env['UI_BASE_URL'];
const named = (base ?? 'http://127.0.0.1:4189').replace('127.0.0.1', base ? 'mx.localhost' : 'localhost');
const PASSWORD = process.env['UI_PASSWORD'] ?? 'understudy';

async function authenticator(page: Page): Promise<(verified: boolean) => Promise<void>> {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const options = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true } as const;
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', { options });
  return async (verified) => void (await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: verified }));
}

const rowOf = (page: Page, label: string) => page.getByRole('listitem').filter({ hasText: label });

async function add(page: Page, label: string): Promise<void> {
  await page.goto(`${named}/#/settings/security`);
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByLabel('What do you call it?').fill(label);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Add a passkey' }).click();
}

test('a passkey is added, signs in, and is removed', async ({ page }) => {
  const verified = await authenticator(page);
  await signIn(page, `${named}/`);
  const label = unique('Passkey');
  await add(page, label);
  await expect(rowOf(page, label)).toBeVisible();
  // The same authenticator makes no second one.
  await add(page, unique('Again'));
  await expect(page.getByRole('alert').filter({ hasText: 'has a passkey' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign out' }).click();
  // Without a finger or a PIN it opens nothing.
  await expect(page.getByRole('button', { name: 'Sign in with a passkey' })).toBeVisible();
  await verified(false);
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  await expect(page.getByRole('button', { name: 'Sign in with a passkey' })).toBeEnabled({ timeout: 70_000 });
  await expect(page.locator('nav a')).toHaveCount(0);
  await verified(true);
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  await expect(page.locator('nav a').first()).toBeAttached();
  await page.goto(`${named}/#/settings/security`);
  await expect(page.getByText(`Signed in as ${USER}`)).toBeVisible();
  page.on('dialog', (dialog) => dialog.accept());
  await rowOf(page, label).getByRole('button').click();
  if (base) {
    // The session rested on it.
    await expect(page.getByRole('heading', { name: 'Please sign in again' })).toBeVisible();
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
    await expect(page.getByRole('alert').filter({ hasText: 'does not open an account' })).toBeVisible();
  } else await expect(rowOf(page, label)).toHaveCount(0);
});

test('who comes by address is told why there are no passkeys', async ({ page }) => {
  await page.goto('/');
  await expect(page.getByText('Passkeys are tied to a name.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Sign in with a passkey' })).toHaveCount(0);
  await signIn(page);
  await page.goto('/#/settings/security');
  await expect(page.getByText('Passkeys are tied to a name.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Add a passkey' })).toHaveCount(0);
});
