import { element, heading } from "./dom";
import { paint, type Picture } from "./picture";

/** The fused image with a source over its left part, up to the position of a slider. */
export function compare(name: string, sources: [string, Picture][], fused: HTMLImageElement): HTMLElement {
  const canvases = sources.map(([label, picture]) => {
    const canvas = element("canvas", { role: "img", "aria-label": `${heading(label)} source` });
    paint(canvas, picture);
    return canvas;
  });
  const show = (chosen: number) => canvases.forEach((canvas, i) => (canvas.hidden = i !== chosen));
  const radios = sources.map(([label], i) => {
    const radio = element("input", { type: "radio", name: `compare-${name}`, checked: i === 0 });
    radio.addEventListener("change", () => show(i));
    return element("label", {}, radio, heading(label));
  });
  const slider = element("input", { type: "range", min: "0", max: "100", value: "50", step: "1" });
  slider.setAttribute("aria-label", "Part of the fused image that the source covers, in per cent");
  const over = element("div", { className: "over" }, fused, ...canvases, slider);
  slider.addEventListener("input", () => over.style.setProperty("--at", `${slider.value}%`));
  show(0);
  const legend = element("legend", {}, "Drag the line. Left of it:");
  return element("div", { className: "compare" }, element("fieldset", {}, legend, ...radios), over);
}
