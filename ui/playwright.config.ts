import { defineConfig } from '@playwright/test';

// Against the mock, or against an appliance: UI_BASE_URL, UI_USER, UI_PASSWORD; its console: UI_CONSOLE_URL, UI_OPERATOR,
// UI_OPERATOR_PASSWORD. UI_STAGE: against a pair of the lab.
const base = process.env['UI_BASE_URL'];
const port = Number(process.env['UI_PORT'] ?? 4189);

export default defineConfig({
  testDir: process.env['UI_STAGE'] ? 'takeover' : 'test',
  workers: 1,
  timeout: 90_000,
  expect: { timeout: 10_000 },
  reporter: [['list']],
  use: {
    baseURL: base ?? `http://127.0.0.1:${port}`,
    ignoreHTTPSErrors: true,
    locale: 'en-GB',
    viewport: { width: 1360, height: 850 },
    serviceWorkers: 'block',
    launchOptions: { executablePath: process.env['UI_CHROMIUM'] ?? '/usr/bin/chromium' },
  },
  ...(base && process.env['UI_CONSOLE_URL'] ? {} : { webServer: { command: 'node mock/server.mjs', env: { PORT: String(port) }, port } }),
});
