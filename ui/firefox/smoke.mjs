// The main journey in Firefox: sign in, list, write, send, open what came back.  Debian's firefox-esr speaks WebDriver
// BiDi by itself, so this needs Node and Firefox and nothing else.  UI_BASE_URL, UI_USER and UI_PASSWORD as for the
// journeys in Chromium.  Deliberately absent: what those test already.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { UI_BASE_URL: BASE, UI_USER: USER, UI_PASSWORD: PASSWORD, UI_FIREFOX: FIREFOX = 'firefox-esr' } = process.env;
const PATIENCE_MS = 30_000;
const sleep = (ms) => new Promise((go) => setTimeout(go, ms));

/** A BiDi session; each command waits for its answer. */
class Firefox {
  static async start() {
    const self = new Firefox();
    self.profile = mkdtempSync(join(tmpdir(), 'understudy-firefox-'));
    self.process = spawn(FIREFOX, ['--headless', '--no-remote', '--profile', self.profile, '--remote-debugging-port', '0'],
      { stdio: ['ignore', 'ignore', 'pipe'] });
    const at = await new Promise((go, no) => {
      let said = '';
      self.process.stderr.on('data', (data) => {
        said += data;
        const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
        if (found) go(found[1]);
      });
      self.process.on('error', no);
      self.process.on('exit', () => no(new Error(`Firefox ended: ${said}`)));
      setTimeout(() => no(new Error(`Firefox does not listen: ${said}`)), PATIENCE_MS).unref();
    });
    self.socket = new WebSocket(`${at}/session`);
    self.waiting = new Map();
    self.last = 0;
    self.socket.onmessage = ({ data }) => {
      const answer = JSON.parse(data);
      const [go, no] = self.waiting.get(answer.id) ?? [];
      self.waiting.delete(answer.id);
      if (answer.type === 'success') go?.(answer.result);
      else no?.(new Error(`${answer.error}: ${answer.message}`));
    };
    await new Promise((go, no) => ((self.socket.onopen = go), (self.socket.onerror = () => no(new Error('no BiDi')))));
    const { capabilities } = await self.tell('session.new', { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
    self.version = capabilities.browserVersion;
    self.context = (await self.tell('browsingContext.getTree', {})).contexts[0].context;
    return self;
  }

  tell(method, params) {
    const id = ++this.last;
    this.socket.send(JSON.stringify({ id, method, params }));
    return new Promise((go, no) => this.waiting.set(id, [go, no]));
  }

  async end() {
    if (this.process.exitCode === null) {
      const over = new Promise((go) => this.process.once('exit', go));
      this.process.kill();
      await over;
    }
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Runs a function of the page; it gets strings and gives something JSON can say. */
  async run(what, ...args) {
    const answer = await this.tell('script.callFunction', {
      functionDeclaration: `async (...args) => JSON.stringify(await (${what})(...args)) ?? 'null'`,
      arguments: args.map((value) => ({ type: 'string', value })), awaitPromise: true,
      target: { context: this.context }, userActivation: true,
    });
    if (answer.type !== 'success') throw new Error(answer.exceptionDetails.text);
    return JSON.parse(answer.result.value);
  }

  async until(name, what, ...args) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = await this.run(what, ...args);
      if (found) return found;
      if (Date.now() > end) throw new Error(`${name}: not within ${PATIENCE_MS / 1000} s; the page says: ${await this.run(() => document.body.innerText.slice(0, 500))}`);
      await sleep(50);
    }
  }

  /** A click with the mouse where the element is. */
  async click(name, selector, text = '') {
    const at = await this.until(name, (css, has) => {
      const shown = [...document.querySelectorAll(css)].filter((one) => one.getClientRects().length);
      const it = shown.find((one) => (one.textContent + ' ' + (one.ariaLabel ?? '')).includes(has));
      if (!it) return null;
      it.scrollIntoView({ block: 'nearest' });
      const { x, y, width, height } = it.getBoundingClientRect();
      return [Math.round(x + width / 2), Math.round(y + height / 2)];
    }, selector, text);
    const actions = [{ type: 'pointerMove', x: at[0], y: at[1] }, { type: 'pointerDown', button: 0 }, { type: 'pointerUp', button: 0 }];
    await this.tell('input.performActions', { context: this.context, actions: [{ type: 'pointer', id: 'mouse', actions }] });
  }

  async type(text) {
    const actions = [...text].flatMap((value) => [{ type: 'keyDown', value }, { type: 'keyUp', value }]);
    await this.tell('input.performActions', { context: this.context, actions: [{ type: 'key', id: 'keys', actions }] });
  }
}

const ENTER = '\uE007';
const browser = await Firefox.start();
try {
  await browser.tell('browsingContext.setViewport', { context: browser.context, viewport: { width: 1360, height: 850 } });
  await browser.tell('browsingContext.navigate', { context: browser.context, url: BASE, wait: 'complete' });
  await browser.click('the address', 'input[type=email]');
  await browser.type(USER);
  await browser.click('the password', 'input[type=password]');
  await browser.type(PASSWORD + ENTER);
  await browser.until('the list', () => document.querySelector('[role=grid][aria-busy=false]') !== null);
  const subject = `Firefox ${Date.now().toString(36)}`;
  const text = 'Written in Firefox, with an umlaut: ü.';
  await browser.click('the button to write', 'nav button', await browser.run(() => (document.documentElement.lang === 'de' ? 'Schreiben' : 'Write')));
  await browser.click('the recipient', '[role=combobox]');
  await browser.type(USER + ENTER);
  await browser.click('the subject', 'input[placeholder=Subject], input[placeholder=Betreff]');
  await browser.type(subject);
  await browser.click('the editor', '[role=textbox][contenteditable=true]');
  await browser.type(text);
  await browser.until('the draft is saved', (has) => [...document.querySelectorAll('[aria-label]')].some((one) => one.ariaLabel === has && /Saved|Gespeichert/.test(one.textContent)), subject);
  assert.equal(await browser.run(() => document.querySelector('[role=textbox][contenteditable=true]').innerText.trim().split('\n')[0]), text);
  await browser.run(() => void [...document.querySelectorAll('button')].find((one) => /^(Send|Senden)$/.test(one.textContent.trim())).click());
  // It comes back when the time to undo is over, and the list hears of it by itself.
  await browser.click('the message that came back', '[role=row]', subject);
  await browser.until('its text', (has) => [...document.querySelectorAll('iframe')].some((one) => one.contentDocument?.body?.innerText.includes(has)), text);
  assert.equal(await browser.run(() => document.querySelectorAll('[role=article], article').length > 0), true);
  console.log(`Firefox ${browser.version}: signed in, listed, written, sent, received and opened`);
} finally {
  await browser.end();
}
