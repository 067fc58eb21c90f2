import { element } from "./dom";

/** A line for facts and errors. Screen readers announce changes only of what is there, so it is never hidden. */
export class Note {
  readonly root = element("p", { className: "note" });

  good(text: string): void {
    this.show(text, "status");
  }

  bad(text: string): void {
    this.show(text, "alert");
  }

  private show(text: string, role: string): void {
    this.root.setAttribute("role", role);
    this.root.classList.toggle("bad", role === "alert");
    this.root.textContent = text;
  }
}
