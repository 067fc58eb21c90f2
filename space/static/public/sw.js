// Caches the page for use without a network, and adds the headers that WebAssembly threads need.
importScripts("files.js"); // VERSION and FILES, written when the page is assembled.

const cacheName = `refusion-${VERSION}`;

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith("refusion-") && name !== cacheName) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

// Only on the page's request, once it runs: caching everything earlier would delay the reload that enables threads.
self.addEventListener("message", (event) => {
  event.waitUntil(keepAll().then(() => event.ports[0].postMessage("kept")));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  event.respondWith(answer(request));
});

async function keepAll() {
  for (const file of ["./", ...FILES]) await kept(new Request(file));
}

async function kept(request) {
  const cache = await caches.open(cacheName);
  const known = await cache.match(request, { ignoreSearch: true });
  if (known) return known;
  const response = await fetch(request.url, { cache: "no-cache" });
  if (response.ok) await cache.put(request.url, response.clone());
  return response;
}

async function answer(request) {
  const response = await kept(request);
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
