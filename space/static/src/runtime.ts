import type * as Ort from "onnxruntime-web";

/** ONNX Runtime and its device. */
export interface Runtime {
  ort: typeof Ort;
  device: "webgpu" | "wasm";
  threads: number;
}

const MAX_THREADS = 8;

let loaded: Promise<Runtime> | undefined;

/** Load ONNX Runtime once: with WebGPU if the browser has it, otherwise with WebAssembly. */
export function runtime(wanted: string | null): Promise<Runtime> {
  loaded ??= load(wanted);
  return loaded;
}

async function load(wanted: string | null): Promise<Runtime> {
  const device = wanted === "wasm" || (wanted !== "webgpu" && !(await hasGpu())) ? "wasm" : "webgpu";
  const folder = new URL("ort/", folderOfPage());
  const ort: typeof Ort = await import(/* @vite-ignore */ new URL(`ort.${device}.min.mjs`, folder).href);
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
  ort.env.wasm.wasmPaths = folder.href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return { ort, device, threads };
}

/** Whether there is a GPU; a software renderer is slower than WebAssembly. */
async function hasGpu(): Promise<boolean> {
  if (!navigator.gpu) return false;
  const adapter = await navigator.gpu.requestAdapter();
  return adapter !== null && !adapter.info.isFallbackAdapter;
}

const sessions = new Map<string, Promise<Ort.InferenceSession>>();

/** The session of a graph, created once. */
export function session(run: Runtime, path: string, device: "webgpu" | "wasm" = run.device): Promise<Ort.InferenceSession> {
  const known = sessions.get(path + device);
  if (known) return known;
  const options = { executionProviders: [device], logSeverityLevel: 3 } as const;
  const made = run.ort.InferenceSession.create(new URL(path, folderOfPage()).href, options);
  sessions.set(path + device, made);
  return made;
}

/** The folder of the page; workers are in a sub-folder of it. */
function folderOfPage(): string {
  return new URL("../", location.href).href;
}
