// The offline shell: the files of one build, and nothing of anybody's mail.
// index.html comes from the network where that answers, so that a takeover by a newer version works.
const VERSION = 'understudy-68c7677267c7';
const FILES = ["/","/assets/Administration-4C2npU_f.css","/assets/Administration-B80L3Cix.js","/assets/Connect-DD3IBLXI.css","/assets/Connect-Yt161Haa.js","/assets/Contacts-Cxmp9xxC.js","/assets/Contacts-LuKZ5ZDR.css","/assets/Copy-BOeP3sbj.js","/assets/Editor-dHEicNpz.js","/assets/Editor-rdbmk-py.css","/assets/Icon-J1hdPOyQ.js","/assets/Page-Cx88CzPY.js","/assets/Page-K9TCojx8.css","/assets/Qr-C5e7zPTw.css","/assets/Qr-CD-iakCL.js","/assets/Scheduled-Cl_8Rtk0.js","/assets/Scheduled-DDWrKiUY.css","/assets/Settings-Blg0qoKs.css","/assets/Settings-C8EQ_opp.js","/assets/client-CJOTvv6f.js","/assets/index-Dh7nf5cp.css","/assets/index-Dodc_3B_.js","/assets/mail.svelte-BAXU7BCM.js","/assets/toast.svelte-BHiZJteX.js","/icon-192.png","/icon-512.png","/icon.svg","/manifest.webmanifest","/message-images.html","/message.html"];

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
