import type * as Ort from "onnxruntime-web";
import { gpuMissing, GpuFailure, on } from "./gpu";
import { load as loadFile } from "./load";
import type { Device } from "./messages";
import { Unloaded } from "./refusal";

/** ONNX Runtime and its device. */
export interface Runtime {
  ort: typeof Ort;
  device: "webgpu" | "wasm";
  threads: number;
  /** Why WebGPU is not used; empty if it is, or if WebAssembly was asked for. */
  why: string;
  /** Called when the GPU is lost. */
  lost: (failure: GpuFailure) => void;
}

const MAX_THREADS = 8;

let loaded: Promise<Runtime> | undefined;

/** Load ONNX Runtime once: with WebGPU if the browser has access to a GPU, otherwise with WebAssembly. */
export function runtime(wanted: Device, lost: Runtime["lost"]): Promise<Runtime> {
  loaded ??= load(wanted, lost);
  return loaded;
}

async function load({ name, why }: Device, lost: Runtime["lost"]): Promise<Runtime> {
  const missing = name === "wasm" ? why : await gpuMissing(name === "webgpu");
  const device = missing === null ? "webgpu" : "wasm";
  const folder = new URL("ort/", folderOfPage());
  const address = new URL(`ort.${device}.min.mjs`, folder).href;
  const ort: typeof Ort = await on(device, () => loading(device, import(/* @vite-ignore */ address)));
  // WebKitGTK has no shared memory even where it says that the page is isolated.
  const threaded = self.crossOriginIsolated && "SharedArrayBuffer" in self;
  const threads = threaded ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
  ort.env.wasm.wasmPaths = folder.href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return { ort, device, threads, why: missing ?? "", lost };
}

const sessions = new Map<string, Promise<Ort.InferenceSession>>();

/** The session of a graph, created once. */
export function session(run: Runtime, path: string, device: "webgpu" | "wasm" = run.device): Promise<Ort.InferenceSession> {
  const known = sessions.get(path + device);
  if (known) return known;
  const made = create(run, path, device);
  sessions.set(path + device, made);
  made.catch(() => sessions.delete(path + device)); // The next fusion tries again.
  return made;
}

let watched = false;

async function create(run: Runtime, path: string, device: "webgpu" | "wasm"): Promise<Ort.InferenceSession> {
  const options = { executionProviders: [device], logSeverityLevel: 3 } as const;
  const graph = await (await loadFile(new URL(path, folderOfPage()), "The model")).arrayBuffer();
  const made = await loading(device, run.ort.InferenceSession.create(graph, options));
  if (device === "webgpu" && !watched) {
    watched = true;
    const gpu = await run.ort.env.webgpu.device;
    void gpu.lost.then(({ message }) => run.lost(new GpuFailure(message || "the GPU was lost")));
  }
  return made;
}

/**
 * Wait for what loads modules, whose failures each browser words in its own way. Whatever fails with WebGPU is tried
 * again with WebAssembly, see `on`.
 */
async function loading<T>(device: "webgpu" | "wasm", work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const unloaded = device === "wasm" && /fetch|import|NetworkError|Load failed/i.test(String(error));
    throw unloaded ? new Unloaded() : error;
  }
}

/** The folder of the page; workers are in a sub-folder of it. */
function folderOfPage(): string {
  return new URL("../", location.href).href;
}
