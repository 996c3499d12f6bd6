// The offline shell: the files of one build, and nothing of anybody's mail.
// index.html comes from the network where that answers, so that a takeover by a newer version works.
const VERSION = 'understudy-4caa42b6b94e';
const FILES = ["/","/assets/Administration-4C2npU_f.css","/assets/Administration-DNSeKpB9.js","/assets/Connect-CUpXVnwS.js","/assets/Connect-DD3IBLXI.css","/assets/Contacts-CUxofFbv.js","/assets/Contacts-LuKZ5ZDR.css","/assets/Copy-DohFiFkb.js","/assets/Editor-C3UEzLh9.js","/assets/Editor-rdbmk-py.css","/assets/Icon-BNlCwtYQ.js","/assets/Page-D09NCRlo.js","/assets/Page-K9TCojx8.css","/assets/Qr-B3ek0o42.js","/assets/Qr-C5e7zPTw.css","/assets/Scheduled-BFYlnXz8.js","/assets/Scheduled-DDWrKiUY.css","/assets/Settings-DjAn01mJ.js","/assets/Settings-Rjz0u8Y1.css","/assets/client-LGnHJOds.js","/assets/index-BeaYj2P1.css","/assets/index-Kk9gXAVw.js","/assets/mail.svelte-BJeIGE-e.js","/assets/toast.svelte-BYy2wDeR.js","/icon-192.png","/icon-512.png","/icon.svg","/manifest.webmanifest","/message-images.html","/message.html"];

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
