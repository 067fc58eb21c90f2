const LOADED_AGAIN = "refusion-loaded-again";

/**
 * Save the page for use without a network; resolves when all of it is saved.
 *
 * @param inUse whether the visitor has done something that reloading the page would undo
 */
export async function keepOffline(inUse: () => boolean): Promise<void> {
  if (!("serviceWorker" in navigator)) throw new Error("this browser has no service workers here");
  await navigator.serviceWorker.register("sw.js");
  const { active } = await navigator.serviceWorker.ready;
  if (!navigator.serviceWorker.controller) {
    await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
  }
  if (wantsHeaders() && !inUse()) {
    sessionStorage.setItem(LOADED_AGAIN, "");
    location.reload();
    return new Promise(() => {});
  }
  const { port1, port2 } = new MessageChannel();
  await new Promise((resolve) => {
    port1.onmessage = resolve;
    active!.postMessage("keep", [port2]);
  });
}

/**
 * Whether to reload the page once: if the server does not send the headers that threads need, the service worker adds
 * them. Only once, because a page that embeds this one may forbid threads.
 */
function wantsHeaders(): boolean {
  return !crossOriginIsolated && sessionStorage.getItem(LOADED_AGAIN) === null;
}
