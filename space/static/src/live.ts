import { element } from "./dom";
import { Cancelled, type Fuser } from "./fuser";
import { Note } from "./note";
import type { TaskText } from "./page";
import { fromCamera, fromFiles, type Streams } from "./streams";

const WIDTHS = [160, 240, 320, 480, 640];
const WIDTH = 320;

/** Number of frames that the frame rate is measured over. */
const COUNTED = 10;

/** The panel for two videos or a camera, fused frame by frame as fast as the computer can. */
export class LivePanel {
  readonly root = element("section");
  private readonly canvas = element("canvas", { role: "img", "aria-label": "Fused video", hidden: true });
  private readonly note = new Note();
  private readonly rate = element("output", { className: "rate", "aria-live": "off" });
  private readonly task = element("select");
  private readonly width = element("select");
  private readonly stopButton = element("button", { disabled: true }, "Stop");
  private streams: Streams | null = null;

  constructor(
    private readonly tasks: TaskText[],
    private readonly fuser: Fuser,
  ) {
    tasks.forEach(({ title, labels }, i) => {
      this.task.append(element("option", { value: String(i) }, `${title}: ${labels.join(", ")}`));
    });
    WIDTHS.forEach((width) => {
      this.width.append(element("option", { value: String(width), selected: width === WIDTH }, `${width} pixels`));
    });
    const files = element("input", { type: "file", accept: "video/*", multiple: true, className: "visually-hidden" });
    files.addEventListener("change", () => {
      const chosen = [...(files.files ?? [])];
      files.value = "";
      void this.start(() => fromFiles(chosen.sort((x, y) => (x.name < y.name ? -1 : 1)).slice(0, 2)));
    });
    const camera = element("button", {}, "Use the camera");
    camera.addEventListener("click", () => void this.start(fromCamera));
    this.stopButton.addEventListener("click", () => this.stop());
    this.root.append(
      element(
        "p",
        {},
        "Give two videos of one scene, ordered by name, or one video or camera with the first source on the left and " +
          "the second on the right. Frames that your computer has no time for are skipped.",
      ),
      element("div", { className: "row" }, field("Task", this.task), field("Width", this.width)),
      element(
        "div",
        { className: "actions" },
        element("label", { className: "button primary" }, "Choose one or two videos", files),
        camera,
        this.stopButton,
      ),
      this.note.root,
      this.rate,
      this.canvas,
    );
  }

  stop(): void {
    this.streams?.close();
    this.streams = null;
    this.stopButton.disabled = true;
  }

  private async start(open: () => Promise<Streams>): Promise<void> {
    this.stop();
    this.note.good("");
    try {
      const streams = await open();
      this.streams = streams;
      this.stopButton.disabled = false;
      await this.run(streams);
    } catch (error) {
      if (!(error instanceof Cancelled)) this.note.bad((error as Error).message);
      this.stop();
    }
  }

  private async run(streams: Streams): Promise<void> {
    const times: number[] = [];
    while (this.streams === streams) {
      const { model, settings } = this.tasks[Number(this.task.value)]!;
      const frames = streams.frames(Number(this.width.value));
      if (!frames) return this.stop();
      const choices = Object.fromEntries(settings.map(({ name, chosen }) => [name, chosen])) as never;
      const fused = await this.fuser.ask({ kind: "frame", model, a: frames[0], b: frames[1], choices });
      this.canvas.hidden = false;
      Object.assign(this.canvas, { width: fused.width, height: fused.height });
      this.canvas.getContext("2d")!.putImageData(new ImageData(fused.data, fused.width, fused.height), 0, 0);
      times.push(performance.now());
      if (times.length > COUNTED) times.shift();
      if (times.length > 1) {
        const rate = (1000 * (times.length - 1)) / (times.at(-1)! - times[0]!);
        this.rate.value = `${rate.toFixed(1)} frames per second at ${fused.width} x ${fused.height}`;
      }
    }
  }
}

function field(label: string, select: HTMLSelectElement): HTMLElement {
  return element("label", { className: "setting" }, label, select);
}
