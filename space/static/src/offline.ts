/**
 * Keep the page for use without a network. Where the server does not send the headers that threads need, the service
 * worker adds them, so the page is loaded once more when it has taken over for the first time.
 */
export async function keepOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  const first = !navigator.serviceWorker.controller;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (first && !crossOriginIsolated) location.reload();
  });
  await navigator.serviceWorker.register("sw.js");
}
