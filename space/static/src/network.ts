import type { Tensor } from "onnxruntime-web";
import { PictureMaps } from "./maps";
import type { Picture } from "./picture";
import { type Runtime, session } from "./runtime";
import { fuseInTiles } from "./tiles";

/** Indices of the chosen settings in the lists of `refusion export --finished`. */
export interface Choices {
  output_range: number;
  anchor: number;
  chroma: number;
}

/** Largest number of pixels that goes through the network at once. */
const WHOLE = { wasm: 350_000, webgpu: 1_000_000 };

/** Share of the time for a large image that the passes take. */
const PASSES = 0.95;

/** Fuse two images of equal size; returns red, green and blue in [0, 1]: (3, height, width). */
export async function fuse(
  run: Runtime,
  folder: string,
  a: Picture,
  b: Picture,
  choices: Choices,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const { width, height } = a;
  const sources = [new PictureMaps(a), new PictureMaps(b)];
  const whole = width * height <= WHOLE[run.device];
  const luminance = whole
    ? null
    : await fuseInTiles(run, folder, sources, height, width, (share) => progress(PASSES * share));
  // On a GPU, a large image would not fit into one buffer.
  const graph = await (whole ? session(run, `${folder}/finished.onnx`) : session(run, "models/finish.onnx", "wasm"));
  const image = (maps: Float32Array) => new run.ort.Tensor("float32", maps, [1, maps.length / (width * height), height, width]);
  const feed: Record<string, Tensor> = {};
  ["a", "b"].forEach((name, i) => (feed[name] = image(sources[i]!.cut(0, height, 0, width))));
  if (luminance) feed["fused"] = image(luminance);
  for (const [name, place] of Object.entries(choices)) {
    feed[name] = new run.ort.Tensor("int64", BigInt64Array.of(BigInt(place)), []);
  }
  const { rgb } = await graph.run(feed);
  return rgb!.data as Float32Array;
}
