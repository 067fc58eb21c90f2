import { compare } from "./compare";
import { element } from "./dom";
import { Cancelled, type Fuser } from "./fuser";
import { load } from "./load";
import { Note } from "./note";
import type { TaskText } from "./page";
import type { Picture } from "./picture";
import { Settings } from "./settings";
import { Source } from "./source";

/** The panel of a task: the inputs for two images, and the fused image. */
export class TaskPanel {
  readonly root = element("section");
  private readonly sources: [Source, Source];
  private readonly settings: Settings;
  private readonly note = new Note();
  private readonly fuse = element("button", { className: "primary" }, "Fuse");
  private readonly cancel = element("button", { disabled: true }, "Cancel");
  private readonly bar = element("progress", { max: 1, hidden: true, "aria-label": "Progress of the fusion" });
  private readonly result = element("div", { className: "result", hidden: true });
  private running = false;

  constructor(
    private readonly task: TaskText,
    private readonly fuser: Fuser,
  ) {
    const changed = () => this.note.good("");
    this.sources = task.labels.map((label) => new Source(label, fuser, changed)) as [Source, Source];
    this.settings = new Settings(task);
    const swap = element("button", {}, "Swap");
    swap.addEventListener("click", () => this.swap());
    this.fuse.addEventListener("click", () => void this.run());
    this.cancel.addEventListener("click", () => {
      fuser.cancel();
      this.fuse.focus();
    });
    const actions = element("div", { className: "actions" }, this.fuse, swap, this.cancel);
    const [a, b] = this.sources;
    this.root.append(element("p", {}, task.text));
    if (task.example) this.root.append(this.example(task.example));
    this.root.append(element("div", { className: "sources" }, a.root, b.root));
    this.root.append(this.note.root, this.bar, actions, this.settings.root, this.result);
  }

  private example({ title, files }: NonNullable<TaskText["example"]>): HTMLElement {
    const button = element("button", {}, title);
    button.addEventListener("click", () => void this.fuseExample(files));
    return element("p", { className: "example" }, "No images at hand? Fuse an example: ", button);
  }

  private async fuseExample(files: [string, string]): Promise<void> {
    if (this.running) return;
    this.note.good("Loading the example …");
    this.busy(true);
    this.cancel.disabled = true;
    try {
      const fetched = await Promise.all(files.map(fetchFile));
      await Promise.all(this.sources.map((source, i) => source.give(fetched[i]!)));
    } catch (error) {
      return this.note.bad((error as Error).message);
    } finally {
      this.busy(false);
    }
    await this.run();
  }

  private swap(): void {
    const [a, b] = this.sources.map(({ picture }) => picture);
    this.sources[0].take(b!);
    this.sources[1].take(a!);
  }

  private async run(): Promise<void> {
    if (this.running) return;
    const [a, b] = this.sources.map(({ picture }) => picture);
    const refusal = this.refusal(a!, b!);
    if (!a || !b || refusal) return this.note.bad(refusal ?? "");
    this.note.good("Fusing …");
    this.busy(true);
    const begin = performance.now();
    try {
      const { model } = this.task;
      const choices = this.settings.choices;
      const png = await this.fuser.ask({ kind: "fuse", model, a, b, choices }, (share) => (this.bar.value = share));
      await this.show(a, b, new Blob([png], { type: "image/png" }));
      this.note.good(`Fused in ${((performance.now() - begin) / 1000).toFixed(1)} s. Nothing left your computer.`);
    } catch (error) {
      if (error instanceof Cancelled) this.note.good("Cancelled; nothing was fused.");
      else this.note.bad((error as Error).message);
    } finally {
      this.busy(false);
    }
  }

  /** The reason why the two images cannot be fused, or null. */
  private refusal(a: Picture | null, b: Picture | null): string | null {
    const missing = this.sources.find(({ picture }) => !picture);
    if (!a || !b) return `The ${missing!.label} image is missing; drop one into its field, or choose a file.`;
    if (a.width === b.width && a.height === b.height) return null;
    return (
      `The two sources must show the same scene pixel for pixel, but ${a.name} is ${a.width} x ${a.height} and ` +
      `${b.name} is ${b.width} x ${b.height}: register them, then crop or scale one to the size of the other.`
    );
  }

  private busy(busy: boolean): void {
    this.running = busy;
    // Disabled, it would lose the focus.
    this.fuse.setAttribute("aria-disabled", String(busy));
    this.cancel.disabled = !busy;
    this.bar.hidden = !busy;
    // Without a value the bar is indeterminate until the first tile is done.
    this.bar.removeAttribute("value");
  }

  private async show(a: Picture, b: Picture, png: Blob): Promise<void> {
    const old = this.result.querySelector<HTMLImageElement>("img")?.src;
    const address = URL.createObjectURL(png);
    const fused = element("img", { src: address, alt: `Fused image of ${a.name} and ${b.name}` });
    await fused.decode();
    const name = `${a.name.replace(/\.[^.]*$/, "")}_fused.png`;
    const download = element("a", { className: "button primary", href: address, download: name }, "Download as PNG");
    const labelled = this.task.labels.map((label, i) => [label, [a, b][i]!]) as [string, Picture][];
    this.result.replaceChildren(element("h2", {}, "Result"), compare(this.task.name, labelled, fused), download);
    this.result.hidden = false;
    this.result.scrollIntoView({ block: "nearest" });
    if (old) URL.revokeObjectURL(old);
  }
}

async function fetchFile(path: string): Promise<File> {
  const response = await load(path, "The example");
  return new File([await response.blob()], path.split("/").pop()!);
}
