import { element, heading } from "./dom";
import { Cancelled, type Fuser } from "./fuser";
import { Note } from "./note";
import { paint, type Picture } from "./picture";

const ACCEPTED = ".png,.jpg,.jpeg,.tif,.tiff,.bmp,.webp,.avif,image/*";

/** The input for one of the two images: by drag and drop, or a chosen file. */
export class Source {
  readonly root: HTMLElement;
  picture: Picture | null = null;
  private readonly canvas = element("canvas", { hidden: true, role: "img" });
  private readonly hint = element("span", { className: "hint" }, "Drop an image here, or choose a file");
  private readonly note = new Note();

  constructor(
    readonly label: string,
    private readonly fuser: Fuser,
    private readonly changed: () => void,
  ) {
    const input = element("input", { type: "file", accept: ACCEPTED, "aria-label": `${heading(label)}: drop an image here, or choose a file` });
    input.addEventListener("change", () => {
      if (input.files?.[0]) void this.give(input.files[0]);
      input.value = "";
    });
    const drop = element("label", { className: "drop" }, input, this.canvas, this.hint);
    drop.addEventListener("dragover", (event) => event.preventDefault());
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file) void this.give(file);
    });
    this.root = element("div", { className: "source", role: "group", "aria-label": heading(label) });
    this.root.append(element("h2", {}, heading(label)), drop, this.note.root);
  }

  /** Read a file; errors are shown in the note. */
  async give(file: File): Promise<void> {
    this.note.good(`Reading ${file.name} …`);
    try {
      this.take(await this.fuser.ask({ kind: "read", file }));
    } catch (error) {
      if (error instanceof Cancelled) return this.note.good("");
      this.take(null);
      this.note.bad((error as Error).message);
    }
  }

  /** Show an image, or clear the input. */
  take(picture: Picture | null): void {
    this.picture = picture;
    this.canvas.hidden = picture === null;
    this.hint.hidden = picture !== null;
    this.note.good("");
    if (picture) {
      paint(this.canvas, picture);
      this.canvas.setAttribute("aria-label", `${heading(this.label)} source, ${picture.name}`);
      const kind = `${picture.channels === 1 ? "grey" : "colour"}${picture.deep ? ", 16 bits" : ""}`;
      this.note.good(`${picture.name}: ${picture.width} x ${picture.height} pixels, ${kind}.`);
    }
    this.changed();
  }
}
