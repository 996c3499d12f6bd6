// The offline shell: the files of one build, and nothing of anybody's mail.
// index.html comes from the network where that answers, so that a takeover by a newer version works.
const VERSION = 'understudy-__VERSION__';
const FILES = '__FILES__';

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const old = (keys) => Promise.all(keys.filter((key) => key !== VERSION).map((key) => caches.delete(key)));
  event.waitUntil(caches.keys().then(old).then(() => self.clients.claim()));
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== location.origin) return;
  if (event.request.mode === 'navigate' && url.pathname === '/') {
    const shell = () => caches.match('/').then((kept) => kept ?? Response.error());
    const soon = AbortSignal.timeout(1500);
    event.respondWith(fetch(event.request, { signal: soon }).catch(shell));
  } else if (FILES.includes(url.pathname)) {
    event.respondWith(caches.match(url.pathname).then((kept) => kept ?? fetch(event.request)));
  }
});
