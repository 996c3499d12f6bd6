import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

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

const backend = process.env['UI_BACKEND'] ?? 'http://127.0.0.1:4180';
const proxy = Object.fromEntries(['/api', '/jmap', '/.well-known'].map((path) => [path, { target: backend, secure: false }]));

export default defineConfig({
  plugins: [svelte(), offlineShell()],
  server: { port: 4170, proxy },
  build: {
    outDir: 'dist',
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
  },
});
