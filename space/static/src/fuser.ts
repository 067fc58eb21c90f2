import type { Answers, Reply, Task } from "./messages";
import { Refusal } from "./refusal";

interface Waiting {
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

  ask<T extends Task>(task: T, progress: (share: number) => void = () => {}): Promise<Answers[T["kind"]]> {
    this.worker ??= this.start();
    const id = this.next++;
    this.worker.postMessage({ ...task, id });
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, progress }));
  }

  /** Stop at once by ending the worker: a running graph cannot be stopped. */
  cancel(): void {
    this.worker?.terminate();
    this.worker = undefined;
    this.refuse(new Cancelled());
  }

  private start(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.postMessage({ device: new URL(location.href).searchParams.get("device") });
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const asked = this.waiting.get(data.id);
      if (!asked) return;
      if ("progress" in data) return asked.progress(data.progress);
      this.waiting.delete(data.id);
      if ("refused" in data) asked.reject(new Refusal(data.refused));
      else asked.resolve(data.answer as never);
    };
    worker.onerror = () => {
      this.worker = undefined;
      this.refuse(new Refusal("The fusion could not be started in this browser; reload the page."));
    };
    return worker;
  }

  private refuse(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
