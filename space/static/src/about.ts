import { element } from "./dom";
import type { Page } from "./page";

/** The About panel. */
export function about(page: Page): HTMLElement {
  const tasks = page.tasks.map(({ title, labels, summary, limits }) =>
    element("li", {}, element("strong", {}, `${title} (${labels.join(" and ")}). `), `${summary} ${limits}`),
  );
  const figure = element("div", { innerHTML: page.figure });
  const paper = element("a", { href: page.paper, rel: "noreferrer" }, "ReFusion");
  return element(
    "section",
    {},
    element("h2", {}, "Nothing leaves your computer"),
    element(
      "p",
      {},
      "The images are read and the models run in your browser. The page contacts no other server, and its security " +
        "policy forbids it. After the first visit it works without a network.",
    ),
    element("h2", {}, "The method"),
    element("p", {}, page.method),
    figure,
    element("h2", {}, "What each task is for"),
    element("ul", {}, ...tasks),
    element("h2", {}, "Limits"),
    element(
      "ul",
      {},
      element("li", {}, "The two images must match pixel for pixel; nothing is aligned."),
      element(
        "li",
        {},
        "Fused images are for viewing: not for diagnosis, nor where anyone's safety depends on them.",
      ),
      element(
        "li",
        {},
        "Colour profiles are not applied. TIFF must be grey or RGB with 8 to 16 bits, or floats from 0 to 1.",
      ),
      element(
        "li",
        {},
        "Black and white are those of the file type; for a thermal camera, which uses a small part of 16 bits, use ",
        "`refusion fuse --own-range`.",
      ),
    ),
    element("h2", {}, "Citation"),
    element("p", {}, "The method is ", paper, "; this is an independent open implementation."),
    element("pre", {}, page.citation),
    element("p", {}, `refusion ${page.version}. Code: Apache-2.0. Weights: ${page.licence}.`),
  );
}
