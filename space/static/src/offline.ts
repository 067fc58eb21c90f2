/**
 * Keep the page for use without a network; resolves when all of it is kept. Where the server does not send the headers
 * that threads need, the service worker adds them, so the page is loaded once more, unless it is in use already.
 */
export async function keepOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) throw new Error("this browser has no service workers here");
  await navigator.serviceWorker.register("sw.js");
  const { active } = await navigator.serviceWorker.ready;
  if (!crossOriginIsolated && !navigator.serviceWorker.controller) {
    await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
    if (!navigator.userActivation.hasBeenActive) {
      location.reload();
      await new Promise(() => {});
    }
  }
  const { port1, port2 } = new MessageChannel();
  await new Promise((resolve) => {
    port1.onmessage = resolve;
    active!.postMessage("keep", [port2]);
  });
}
