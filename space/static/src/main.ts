import { about } from "./about";
import { element } from "./dom";
import { Fuser } from "./fuser";
import { LivePanel } from "./live";
import { keepOffline } from "./offline";
import { loadPage } from "./page";
import { tabs } from "./tabs";
import { TaskPanel } from "./task";

const main = document.getElementById("page")!;
let inUse = false;
for (const kind of ["click", "keydown", "drop"]) addEventListener(kind, () => (inUse = true), { once: true });

const page = await loadPage().catch((error: Error) => {
  main.replaceChildren(element("p", { role: "alert" }, error.message));
  throw error;
});
const fuser = new Fuser(() => void showDevice());
const live = new LivePanel(page.tasks, fuser);
const runsOn = element("span", { "aria-live": "polite" }, "…");
const kept = element("span");

main.replaceChildren(
  element("h1", {}, "ReFusion in your browser"),
  element("p", {}, page.introduction),
  element("p", { className: "promise" }, "The images stay on your computer: nothing is uploaded. Fuses on ", runsOn, ". ", kept),
  tabs([
    ...page.tasks.map((task) => ({ name: task.name, title: task.title, panel: new TaskPanel(task, fuser).root })),
    { name: "live", title: "Live", panel: live.root, left: () => live.stop() },
    { name: "about", title: "About", panel: about(page) },
  ]),
);
await showDevice();
try {
  await keepOffline(() => inUse);
  kept.textContent = "The page is saved and works without a network.";
} catch (error) {
  console.warn(`The page is not saved for use without a network: ${(error as Error).message}`);
}

async function showDevice(): Promise<void> {
  try {
    runsOn.textContent = await fuser.ask({ kind: "start" });
  } catch (error) {
    runsOn.textContent = (error as Error).message;
  }
}
