import type { Tensor } from "onnxruntime-web";
import { cutCells, interpolate, transposed } from "./cells";
import { Features, type Maps } from "./maps";
import { type Runtime, session } from "./runtime";

/**
 * Runs the network in passes over the image, tile by tile, so that images of any size fit into memory. The inputs of
 * the passes are described in refusion/inference/engines/onnx_graph.py (`Pass`).
 */

interface Pass {
  inputs: number[];
  outputs: number[];
  layers: number;
  left: number;
  pads: number[];
  sums: number;
}

interface Model {
  cell: number | null;
  passes: Pass[];
}

type Feed = Record<string, Tensor>;
type Span = readonly [number, number];

/** Fused luminance of two images, (height, width). */
export async function fuseInTiles(
  run: Runtime,
  folder: string,
  sources: Maps[],
  height: number,
  width: number,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const { cell, passes } = await description(folder);
  const tile: Span = run.device === "webgpu" ? [512, 512] : [240, 320];
  const [rows, columns] = [spans(height, tile[0], cell ?? 1), spans(width, tile[1], cell ?? 1)];
  const band = rows[0]![1];
  let given: Maps[] = sources;
  let matrices: Tensor[] = [];
  for (const [index, pass] of passes.entries()) {
    const graph = await session(run, `${folder}/pass${index}.onnx`);
    const made = pass.outputs.map((channels) => new Features(channels, height, width, band));
    const sums = new Sums(cell, height, width);
    for (const [i, span] of rows.entries()) {
      for (const [j, across] of columns.entries()) {
        const feed = feedOf(run, pass, cell, given, matrices, height, width, span, across);
        const outputs = await graph.run(feed);
        made.forEach((map, k) => {
          const y = outputs[`y${k}`]!;
          const [above, before] = [Math.min(pass.left, span[0]), Math.min(pass.left, across[0])];
          map.write(y.data as Float32Array, y.dims, span, across, above, before);
        });
        for (let k = 0; k < pass.sums; k++) sums.add(k, outputs[`sums${k}`]!, span[0], across[0]);
        for (const output of Object.values(outputs)) output.dispose();
        progress((index + (i + (j + 1) / columns.length) / rows.length) / passes.length);
      }
      // The next rows need a few of these rows, but none above them.
      given.forEach((maps) => maps.forget(span[0]));
    }
    given = made;
    if (pass.sums > 0) matrices = await makeMatrices(run, `${folder}/matrices${index}.onnx`, sums);
  }
  return given[0]!.cut(0, height, 0, width);
}

const descriptions = new Map<string, Model>();

async function description(folder: string): Promise<Model> {
  const known = descriptions.get(folder);
  if (known) return known;
  const model: Model = await (await fetch(new URL(`../${folder}/passes.json`, location.href))).json();
  descriptions.set(folder, model);
  return model;
}

/** Split a length into parts of similar size, each of whole cells; the first is the largest. */
function spans(length: number, most: number, cell: number): Span[] {
  const cells = Math.ceil(length / cell);
  const size = Math.ceil(cells / Math.ceil(cells / Math.floor(most / cell))) * cell;
  return Array.from({ length: Math.ceil(length / size) }, (_, i) => [i * size, Math.min((i + 1) * size, length)]);
}

function feedOf(
  run: Runtime,
  pass: Pass,
  cell: number | null,
  given: Maps[],
  matrices: Tensor[],
  height: number,
  width: number,
  [first, last]: Span,
  [left, right]: Span,
): Feed {
  const { Tensor } = run.ort;
  const feed: Feed = {};
  const around = (n: number): [number, number, number, number] => [
    Math.max(0, first - n),
    Math.min(height, last + n),
    Math.max(0, left - n),
    Math.min(width, right + n),
  ];
  const [top, bottom, begin, end] = around(pass.layers);
  given.forEach((maps, i) => {
    const shape = [1, maps.channels, bottom - top, end - begin];
    feed[`x${i}`] = new Tensor("float32", maps.cut(top, bottom, begin, end), shape);
  });
  const numbers = (values: number[]) => new Tensor("int64", BigInt64Array.from(values, BigInt), [values.length]);
  for (const layer of pass.pads) {
    const n = pass.layers - 1 - layer;
    const ends = [first <= n, left <= n, last + n >= height, right + n >= width].map(Number) as [number, number, number, number];
    feed[`pads${layer}`] = numbers([0, 0, ends[0], ends[1], 0, 0, ends[2], ends[3]]);
  }
  if (cell === null) {
    matrices.forEach((matrix, i) => (feed[`attention${i}`] = matrix));
    return feed;
  }
  if (pass.sums > 0) {
    const missing = [last - first, right - left].map((length) => Math.ceil(length / cell) * cell - length);
    feed["cell_pads"] = numbers([0, 0, 0, 0, 0, 0, ...missing]);
  }
  if (matrices.length === 0) return feed;
  const [upper, lower, west, east] = around(pass.layers - 1);
  const rows = interpolate(upper, lower, height, cell);
  const columns = interpolate(west, east, width, cell);
  feed["rows"] = new Tensor("float32", rows.shares, [lower - upper, rows.last - rows.first]);
  const shares = transposed(columns.shares, east - west);
  feed["columns"] = new Tensor("float32", shares, [columns.last - columns.first, east - west]);
  matrices.forEach((matrix, i) => {
    const [free, heads, d, cellRows, cellColumns] = matrix.dims as [number, number, number, number, number];
    const some = cutCells(matrix.data as Float32Array, cellRows, cellColumns, rows, columns);
    const shape = [free, heads, d, rows.last - rows.first, columns.last - columns.first];
    feed[`attention${i}`] = new Tensor("float32", some, shape);
  });
  return feed;
}

/** The sums that attention matrices are computed from: over the image, or over each cell. */
class Sums {
  readonly shape: readonly [number, number];
  readonly all: { values: Float64Array; each: readonly number[] }[] = [];

  constructor(
    private readonly cell: number | null,
    height: number,
    width: number,
  ) {
    this.shape = cell === null ? [1, 1] : [Math.ceil(height / cell), Math.ceil(width / cell)];
  }

  add(index: number, sums: Tensor, top: number, left: number): void {
    const [rows, columns, ...each] = sums.dims as [number, number, ...number[]];
    const numbers = each.reduce((x, y) => x * y, 1);
    this.all[index] ??= { values: new Float64Array(this.shape[0] * this.shape[1] * numbers), each };
    const { values } = this.all[index];
    const [firstRow, firstColumn] = this.cell === null ? [0, 0] : [top / this.cell, left / this.cell];
    const data = sums.data as Float32Array;
    for (let y = 0; y < rows; y++) {
      const start = ((firstRow + y) * this.shape[1] + firstColumn) * numbers;
      for (let i = 0; i < columns * numbers; i++) values[start + i]! += data[y * columns * numbers + i]!;
    }
  }
}

async function makeMatrices(run: Runtime, path: string, sums: Sums): Promise<Tensor[]> {
  const graph = await session(run, path, "wasm");
  const feed: Feed = {};
  sums.all.forEach(({ values, each }, i) => {
    feed[`sums${i}`] = new run.ort.Tensor("float32", Float32Array.from(values), [...sums.shape, ...each]);
  });
  const outputs = await graph.run(feed);
  return sums.all.map((_, i) => outputs[`attention${i}`]!);
}
