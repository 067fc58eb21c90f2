import { Refusal } from "./refusal";

/** An error of the GPU or its driver; the work can be done in WebAssembly instead. */
export class GpuFailure extends Error {
  constructor(cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(reason.split("\n")[0]!.slice(0, 120).replace(/\.$/, ""));
  }
}

/** Do work on a device; whatever fails on a GPU is a `GpuFailure`, unless it is a `Refusal`. */
export async function on<T>(device: "webgpu" | "wasm", work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw device === "webgpu" && !(error instanceof Refusal) ? new GpuFailure(error) : error;
  }
}

/** Why WebGPU cannot be used, or null. A software renderer, which is slower than WebAssembly, is used only if wanted. */
export async function gpuMissing(softwareWanted: boolean): Promise<string | null> {
  if (!navigator.gpu) return "this browser has no WebGPU";
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return "WebGPU finds no GPU";
  return adapter.info?.isFallbackAdapter && !softwareWanted ? "WebGPU has only a software renderer" : null;
}
