/**
 * Attention matrices of the cells of an image, interpolated between the centres of the cells, as in
 * refusion/inference/engines/onnx_stages.py.
 */

export interface Interpolation {
  /** Weight of each cell for each row or column: (rows, cells). */
  shares: Float32Array;
  first: number;
  last: number;
}

/** Interpolation of the rows (or columns) from first to last, without the last, from the cells. */
export function interpolate(first: number, last: number, length: number, cell: number): Interpolation {
  const count = Math.ceil(length / cell);
  const cellBefore = (row: number) => Math.floor((2 * row + 1 - cell) / (2 * cell));
  const [upper, lower] = [Math.max(0, cellBefore(first)), Math.min(count, cellBefore(last - 1) + 2)];
  const shares = new Float32Array((last - first) * (lower - upper));
  for (let row = first; row < last; row++) {
    const place = Math.min(Math.max((row + 0.5) / cell - 0.5, 0), count - 1);
    for (let i = upper; i < lower; i++) {
      shares[(row - first) * (lower - upper) + i - upper] = Math.max(0, 1 - Math.abs(place - i));
    }
  }
  return { shares, first: upper, last: lower };
}

/** Transpose a matrix. */
export function transposed(matrix: Float32Array, rows: number): Float32Array {
  const columns = matrix.length / rows;
  return matrix.map((_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)]!);
}

/** Cut the matrices of some rows and columns of cells from those of all cells: (entries, rows, columns). */
export function cutCells(all: Float32Array, rows: number, columns: number, of: Interpolation, by: Interpolation): Float32Array {
  const width = by.last - by.first;
  const numbers = all.length / (rows * columns);
  const result = new Float32Array(numbers * (of.last - of.first) * width);
  let at = 0;
  for (let n = 0; n < numbers; n++) {
    for (let y = of.first; y < of.last; y++, at += width) {
      const start = (n * rows + y) * columns;
      result.set(all.subarray(start + by.first, start + by.last), at);
    }
  }
  return result;
}
