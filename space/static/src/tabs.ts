import { element } from "./dom";

export interface Tab {
  name: string;
  title: string;
  panel: HTMLElement;
  /** Called when another tab is chosen. */
  left?: () => void;
}

/** Tabs that follow the ARIA Authoring Practices: the arrow keys, Home and End change the tab. */
export function tabs(all: Tab[]): HTMLElement {
  const buttons = all.map(({ name, title, panel }) => {
    panel.id = `panel-${name}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    panel.tabIndex = 0;
    return element("button", { id: `tab-${name}`, role: "tab", "aria-controls": panel.id }, title);
  });
  let chosen = -1;
  const choose = (index: number) => {
    if (chosen >= 0 && chosen !== index) all[chosen]!.left?.();
    chosen = index;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
      all[i]!.panel.hidden = i !== index;
    });
  };
  const list = element("div", { role: "tablist", "aria-label": "Tasks" }, ...buttons);
  buttons.forEach((button, i) => button.addEventListener("click", () => choose(i)));
  list.addEventListener("keydown", (event) => {
    const last = buttons.length - 1;
    const places: Record<string, number> = {
      ArrowRight: chosen === last ? 0 : chosen + 1,
      ArrowLeft: chosen === 0 ? last : chosen - 1,
      Home: 0,
      End: last,
    };
    const place = places[event.key];
    if (place === undefined) return;
    event.preventDefault();
    choose(place);
    buttons[place]!.focus();
  });
  choose(0);
  return element("div", { className: "tabs" }, list, ...all.map(({ panel }) => panel));
}
