import type { Choices } from "./network";
import type { Picture } from "./picture";

/** A frame of a video: red, green, blue and alpha. */
export interface Frame {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** A request to the worker. */
export type Task =
  | { kind: "start" }
  | { kind: "read"; file: File }
  | { kind: "fuse"; model: string; a: Picture; b: Picture; choices: Choices }
  | { kind: "frame"; model: string; a: Frame; b: Frame; choices: Choices };

/** The answers of the worker by kind of request. */
export interface Answers {
  /** Description of what the models run on. */
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
  | { id: number; refused: string; unloaded: boolean }
  | { gpuFailed: string };

/** What to run on. */
export interface Device {
  /** The device named in the address of the page, ?device=wasm or ?device=webgpu; null for the best. */
  name: string | null;
  /** Why it is "wasm"; empty if that was asked for. */
  why: string;
}
