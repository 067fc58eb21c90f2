import type { Choices } from "./network";
import type { Picture } from "./picture";

/** A frame of a video, red, green, blue and alpha. */
export interface Frame {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** What the worker is asked for. */
export type Task =
  | { kind: "start" }
  | { kind: "read"; file: File }
  | { kind: "fuse"; model: string; a: Picture; b: Picture; choices: Choices }
  | { kind: "frame"; model: string; a: Frame; b: Frame; choices: Choices };

/** What it answers to each of them. */
export interface Answers {
  /** What fuses, for people. */
  start: string;
  read: Picture;
  /** A PNG file. */
  fuse: Uint8Array<ArrayBuffer>;
  frame: Frame;
}

export type Request = Task & { id: number };

export type Reply =
  | { id: number; progress: number }
  | { id: number; answer: Answers[Task["kind"]] }
  | { id: number; refused: string };

/** What the address of the page asks to fuse on: ?device=wasm or ?device=webgpu. */
export type Device = string | null;
