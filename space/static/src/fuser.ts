import type { Answers, Device, Reply, Task } from "./messages";
import { Refusal } from "./refusal";

interface Waiting {
  task: Task;
  resolve: (answer: never) => void;
  reject: (error: Error) => void;
  progress: (share: number) => void;
}

/** The visitor cancelled the request. */
export class Cancelled extends Error {}

/** Sends requests to the worker. */
export class Fuser {
  private worker: Worker | undefined;
  private waiting = new Map<number, Waiting>();
  private next = 0;
  private unloaded = false;
  private device: Device = { name: new URL(location.href).searchParams.get("device"), why: "" };

  /**
   * @param deviceChanged called when the GPU failed, and requests are answered in WebAssembly from then on; and when the
   *   program could be loaded after all
   */
  constructor(private readonly deviceChanged: () => void) {}

  ask<T extends Task>(task: T, progress: (share: number) => void = () => {}): Promise<Answers[T["kind"]]> {
    const id = this.next++;
    this.send(id, task);
    return new Promise((resolve, reject) => this.waiting.set(id, { task, resolve, reject, progress }));
  }

  /** Stop at once by ending the worker: a running graph cannot be stopped. */
  cancel(): void {
    this.end();
    this.refuse(new Cancelled());
  }

  private send(id: number, task: Task): void {
    this.worker ??= this.start();
    this.worker.postMessage({ ...task, id });
  }

  private start(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.postMessage({ device: this.device });
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if (worker !== this.worker) return;
      if ("gpuFailed" in data) return this.withoutGpu(data.gpuFailed);
      const asked = this.waiting.get(data.id);
      if (!asked) return;
      if ("progress" in data) return asked.progress(data.progress);
      this.waiting.delete(data.id);
      if ("refused" in data) {
        asked.reject(new Refusal(data.refused));
        if (!data.unloaded) return;
        this.unloaded = true;
        this.restart();
      } else this.answered(asked, data.answer);
    };
    worker.onerror = () => {
      this.end();
      this.refuse(new Refusal("The fusion could not be started in this browser; reload the page."));
    };
    return worker;
  }

  private answered({ task, resolve }: Waiting, answer: unknown): void {
    resolve(answer as never);
    if (!this.unloaded || task.kind === "read") return;
    this.unloaded = false;
    this.deviceChanged();
  }

  /** Start again with WebAssembly: a worker whose GPU failed may not answer any more. */
  private withoutGpu(reason: string): void {
    this.device = { name: "wasm", why: `WebGPU failed: ${reason}` };
    this.restart();
    this.deviceChanged();
  }

  /** What still waits is asked of another worker. */
  private restart(): void {
    this.end();
    for (const [id, { task }] of this.waiting) this.send(id, task);
  }

  private end(): void {
    this.worker?.terminate();
    this.worker = undefined;
  }

  private refuse(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
