import { filled } from "./holes";
import { fromLevels } from "./levels";
import type { Answers, Device, Frame, Reply, Request, Task } from "./messages";
import { GpuFailure, on } from "./gpu";
import { fuse } from "./network";
import { read } from "./read";
import { Refusal, Unloaded } from "./refusal";
import { resultPng } from "./result";
import { type Runtime, runtime } from "./runtime";

/** Reads and fuses, one request after the other, so that the page stays responsive. */

let device: Device = { name: null, why: "" };
let before: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request | { device: Device }>) => {
  if ("device" in data) device = data.device;
  else before = before.then(() => handle(data));
};

async function handle(request: Request): Promise<void> {
  try {
    const value = await answer(request, (progress) => reply({ id: request.id, progress }));
    reply({ id: request.id, answer: value }, request.kind === "start" ? [] : [buffer(value)]);
  } catch (error) {
    if (error instanceof GpuFailure) gpuFailed(error);
    else reply({ id: request.id, refused: sentence(error), unloaded: error instanceof Unloaded });
  }
}

async function answer(task: Task, progress: (share: number) => void): Promise<Answers[Task["kind"]]> {
  if (task.kind === "read") return read(task.file);
  const run = await runtime(device, gpuFailed);
  if (task.kind === "start") return description(run);
  const folder = `models/${task.model}`;
  if (task.kind === "fuse") {
    const rgb = await on(run.device, () => fuse(run, folder, ...filled(task.a, task.b), task.choices, progress));
    return resultPng(rgb, task.a, task.b) as Uint8Array<ArrayBuffer>;
  }
  const [a, b] = [task.a, task.b].map(({ width, height, data }) => fromLevels("", width, height, 4, data, 255));
  return frameOf(await on(run.device, () => fuse(run, folder, a!, b!, task.choices, progress)), task.a);
}

function description({ device, threads, why }: Runtime): string {
  if (device === "webgpu") return "WebGPU";
  return `WebAssembly, ${threads === 1 ? "one thread" : `${threads} threads`}${why && ` (${why})`}`;
}

/** The page starts another worker without the GPU, and asks it again. */
function gpuFailed({ message }: GpuFailure): void {
  reply({ gpuFailed: message });
}

function frameOf(rgb: Float32Array, { width, height }: Frame): Frame {
  const pixels = width * height;
  const data = new Uint8ClampedArray(4 * pixels).fill(255);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) data[4 * i + c] = 255 * rgb[c * pixels + i]!;
  }
  return { width, height, data };
}

function sentence(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  const reason = error instanceof Error ? error.message : String(error);
  if (/memory|allocat|buffer size/i.test(reason)) {
    return "There is not enough memory in this browser for images of this size; scale them down.";
  }
  return `This browser failed (${reason.slice(0, 200)}); reload the page, or add ?device=wasm to its address.`;
}

function buffer(value: Exclude<Answers[Task["kind"]], string> | string): ArrayBuffer {
  const data = typeof value === "string" ? new Uint8Array() : value instanceof Uint8Array ? value : value.data;
  return data.buffer as ArrayBuffer;
}

function reply(message: Reply, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}
