// The offline shell: the files of one build, and nothing of anybody's mail.
// index.html comes from the network where that answers, so that a takeover by a newer version works.
const VERSION = 'understudy-a8d093973428';
const FILES = ["/","/assets/Connect-0GC40-eP.js","/assets/Connect-DD3IBLXI.css","/assets/Contacts-6ZIl1ftZ.js","/assets/Contacts-LuKZ5ZDR.css","/assets/Editor-BYZV5Vu4.js","/assets/Editor-rdbmk-py.css","/assets/Icon-D-0TgyL2.js","/assets/Page-K9TCojx8.css","/assets/Page-drpyWA5-.js","/assets/Qr-C5e7zPTw.css","/assets/Qr-Urxw9rL0.js","/assets/Scheduled-DDWrKiUY.css","/assets/Scheduled-qQxhuRf5.js","/assets/Settings-BSKyX2QX.js","/assets/Settings-Rjz0u8Y1.css","/assets/html-DOvEhmEz.js","/assets/index-BK5VXMyV.js","/assets/index-BeaYj2P1.css","/assets/mail.svelte-Bd0w37vL.js","/assets/toast.svelte-BW8vJg1v.js","/icon-192.png","/icon-512.png","/icon.svg","/manifest.webmanifest","/message-images.html","/message.html"];

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
