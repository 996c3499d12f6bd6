// The offline shell: the files of one build, and nothing of anybody's mail.
// index.html comes from the network where that answers, so that a takeover by a newer version works.
const VERSION = 'understudy-c97c9cb90678';
const FILES = ["/","/assets/Connect-BsfwC-ml.js","/assets/Connect-DD3IBLXI.css","/assets/Contacts-DXoCgNfY.js","/assets/Contacts-LuKZ5ZDR.css","/assets/Editor-C3FseiPI.js","/assets/Editor-rdbmk-py.css","/assets/Icon-CYEXYqjo.js","/assets/Page-Dg-SpmXm.js","/assets/Page-K9TCojx8.css","/assets/Qr-C5e7zPTw.css","/assets/Qr-DkR88Og9.js","/assets/Scheduled-DDWrKiUY.css","/assets/Scheduled-DcTsP2Ky.js","/assets/Settings-BdChJZ0j.js","/assets/Settings-Blg0qoKs.css","/assets/html-B3j2bioB.js","/assets/index-1di8iX6v.js","/assets/index-Dh7nf5cp.css","/assets/mail.svelte-Rq_DxPgK.js","/assets/toast.svelte-DBw7aKQz.js","/icon-192.png","/icon-512.png","/icon.svg","/manifest.webmanifest","/message-images.html","/message.html"];

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
