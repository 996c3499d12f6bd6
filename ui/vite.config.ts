import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';
import { pairs } from './sentences.ts';

/** Writes sw.js with the names of all files of this build; its version is a hash over them. */
function offlineShell(): Plugin {
  return {
    name: 'offline-shell',
    generateBundle(_options, bundle) {
      // The frame of a message whose reader lets it load images differs in one word of its policy.
      const frame = readFileSync('public/message.html', 'utf8');
      const withImages = frame.replace('img-src data: blob:', 'img-src data: blob: https:');
      if (withImages === frame) this.error('public/message.html has another policy than this script knows');
      this.emitFile({ type: 'asset', fileName: 'message-images.html', source: withImages });
      const still = readdirSync('public');
      const files = [...Object.keys(bundle).filter((name) => name !== 'index.html'), ...still, 'message-images.html'].sort();
      const hash = createHash('sha256');
      for (const name of files) hash.update(name);
      for (const name of still.sort()) hash.update(readFileSync(`public/${name}`));
      const source = readFileSync('src/sw.js', 'utf8')
        .replace("'__FILES__'", JSON.stringify(['/', ...files.map((name) => `/${name}`)]))
        .replace('__VERSION__', hash.digest('hex').slice(0, 12));
      this.emitFile({ type: 'asset', fileName: 'sw.js', source });
    },
  };
}

/** Writes which packages are in this build, "name version sha512" of each, and their licences: for the image's list of
 *  parts. Their names begin with a dot, so that they are not served. */
function parts(list: string): Plugin {
  return {
    name: 'parts',
    generateBundle(_options, bundle) {
      const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
      const modules = Object.values(bundle).flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
      const names = new Set(modules.flatMap((id) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1] ?? []));
      const lines = [...names].sort().map((name) => {
        const at = `node_modules/${name}`;
        const { version, integrity } = lock[at] ?? {};
        const hash = /^sha512-(.+)$/.exec(integrity ?? '')?.[1];
        if (!hash || !existsSync(at)) this.error(`${name} is in the build and not in package-lock.json`);
        const licences = readdirSync(at).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file));
        if (licences.length === 0) this.error(`${name} does not say what its licence is`);
        for (const file of licences) {
          const source = readFileSync(`${at}/${file}`);
          this.emitFile({ type: 'asset', fileName: `.licences/${name.replace('/', '-')}-${version}/${file}`, source });
        }
        return `${name} ${version} ${Buffer.from(hash, 'base64').toString('hex')}\n`;
      });
      this.emitFile({ type: 'asset', fileName: list, source: lines.join('') });
    },
  };
}

/** The sentences of `understudy status` in German: the program's own list, so that there is one. */
function sentences(): Plugin {
  const name = 'virtual:sentences';
  const source = new URL('../src/ops/status/german.rs', import.meta.url);
  return {
    name: 'sentences',
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load(id) {
      if (id !== `\0${name}`) return;
      this.addWatchFile(source.pathname);
      return `export default ${JSON.stringify(pairs(readFileSync(source, 'utf8')))};`;
    },
  };
}

const backend = process.env['UI_BACKEND'] ?? 'http://127.0.0.1:4180';
const console_ = process.env['UI_CONSOLE_BACKEND'] ?? 'http://127.0.0.1:4181';
const to = (target: string) => ({ target, secure: false });
const proxy = { '/api/console': to(console_), '/api': to(backend), '/jmap': to(backend), '/.well-known': to(backend) };

// The console is a build of its own: it shares sources with the webmail and no file, for neither may serve the other's.
export default defineConfig(({ mode }) => {
  const console = mode === 'console';
  return {
    plugins: [svelte(), sentences(), ...(console ? [] : [offlineShell()]), parts(console ? '.parts-console' : '.parts')],
    server: { port: 4170, proxy, fs: { allow: ['..'] } },
    publicDir: console ? false : 'public',
    build: {
      outDir: 'dist',
      emptyOutDir: !console,
      assetsDir: console ? 'assets/console' : 'assets',
      rolldownOptions: { input: console ? 'console.html' : 'index.html' },
      target: 'es2022',
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      chunkSizeWarningLimit: 400,
    },
  };
});
