// The offline shell: the files of one build, and nothing of anybody's mail.
// index.html comes from the network where that answers, so that a takeover by a newer version works.
const VERSION = 'understudy-56cb1b82e2cb';
const FILES = ["/","/assets/Administration-4C2npU_f.css","/assets/Administration-DCM1yZgc.js","/assets/Connect-DD3IBLXI.css","/assets/Connect-RMv0tRs3.js","/assets/Contacts-LuKZ5ZDR.css","/assets/Contacts-UFguTzXT.js","/assets/Copy-B2qge1_G.js","/assets/Editor-Xzbz1NvS.js","/assets/Editor-rdbmk-py.css","/assets/Icon-Du-S0bp6.js","/assets/Page-DiDae1Ey.js","/assets/Page-K9TCojx8.css","/assets/Qr-BZQ6x2oN.js","/assets/Qr-C5e7zPTw.css","/assets/Scheduled-DDWrKiUY.css","/assets/Scheduled-DsEcxbXB.js","/assets/Settings-DfLesoi9.js","/assets/Settings-Rjz0u8Y1.css","/assets/client-omaEo-Oz.js","/assets/index-BYKPO_Dh.css","/assets/index-CODpiWe5.js","/assets/mail.svelte-CDhXl9rM.js","/assets/toast.svelte-bAQwOUFG.js","/icon-192.png","/icon-512.png","/icon.svg","/manifest.webmanifest","/message-images.html","/message.html"];

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
