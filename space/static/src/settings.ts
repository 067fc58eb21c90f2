import { element } from "./dom";
import type { Choices } from "./network";
import type { TaskText } from "./page";

/** The folded settings of a task, with its defaults selected. */
export class Settings {
  readonly root = element("details", { className: "settings" }, element("summary", {}, "Settings"));
  private readonly selects: HTMLSelectElement[];

  constructor(private readonly task: TaskText) {
    const row = element("div", { className: "row" });
    this.selects = task.settings.map(({ name, label, info, options, chosen }) => {
      const id = `${task.name}-${name}`;
      const select = element("select", { id, "aria-describedby": `${id}-info` });
      select.append(...options.map((text, i) => element("option", { value: String(i), selected: i === chosen }, text)));
      const about = element("small", { id: `${id}-info` }, info);
      row.append(element("div", { className: "setting" }, element("label", { htmlFor: id }, label), about, select));
      return select;
    });
    this.root.append(row);
  }

  get choices(): Choices {
    const places = this.task.settings.map(({ name }, i) => [name, Number(this.selects[i]!.value)]);
    return Object.fromEntries(places);
  }
}
