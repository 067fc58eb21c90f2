import { element } from "./dom";

/** A line for facts and errors, which screen readers announce when it changes. */
export class Note {
  readonly root = element("p", { className: "note", hidden: true });

  good(text: string): void {
    this.show(text, "status");
  }

  bad(text: string): void {
    this.show(text, "alert");
  }

  private show(text: string, role: string): void {
    this.root.setAttribute("role", role);
    this.root.classList.toggle("bad", role === "alert");
    this.root.hidden = text === "";
    this.root.textContent = text;
  }
}
