import type { Picture } from "./picture";

/** Maps of equal size that tiles are cut from. */
export interface Maps {
  channels: number;
  /** Rows top to bottom and columns left to right, ends excluded: (channels, rows, columns). */
  cut(top: number, bottom: number, left: number, right: number): Float32Array;
  /** Free the rows above, which are not needed again. */
  forget(above: number): void;
}

/** Red, green and blue of an image. */
export class PictureMaps implements Maps {
  readonly channels = 3;

  constructor(private readonly picture: Picture) {}

  cut(top: number, bottom: number, left: number, right: number): Float32Array {
    const { width, channels, data, white } = this.picture;
    const result = new Float32Array(3 * (bottom - top) * (right - left));
    let at = 0;
    for (let c = 0; c < 3; c++) {
      const channel = channels === 3 ? c : 0;
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) result[at++] = data[channels * (y * width + x) + channel]! / white;
      }
    }
    return result;
  }

  forget(): void {}
}

/** Features, stored in bands of rows, so that bands that are no longer needed can be freed. */
export class Features implements Maps {
  private readonly bands: (Float32Array | undefined)[];

  constructor(
    readonly channels: number,
    private readonly height: number,
    private readonly width: number,
    private readonly rows: number,
  ) {
    this.bands = Array(Math.ceil(height / rows)).fill(undefined);
  }

  cut(top: number, bottom: number, left: number, right: number): Float32Array {
    const columns = right - left;
    const result = new Float32Array(this.channels * (bottom - top) * columns);
    for (let c = 0; c < this.channels; c++) {
      for (let y = top; y < bottom; y++) {
        const [band, start] = this.place(c, y, left);
        result.set(band.subarray(start, start + columns), (c * (bottom - top) + y - top) * columns);
      }
    }
    return result;
  }

  /** Write a tile to the given rows and columns; its first `above` rows and `before` columns are skipped. */
  write(
    tile: Float32Array,
    size: readonly number[],
    [top, bottom]: readonly [number, number],
    [left, right]: readonly [number, number],
    above: number,
    before: number,
  ): void {
    const [, channels, rows, columns] = size as [number, number, number, number];
    for (let c = 0; c < channels; c++) {
      for (let y = top; y < bottom; y++) {
        const [band, start] = this.place(c, y, left);
        const from = (c * rows + y - top + above) * columns + before;
        band.set(tile.subarray(from, from + right - left), start);
      }
    }
  }

  forget(above: number): void {
    this.bands.fill(undefined, 0, Math.floor(above / this.rows));
  }

  private place(channel: number, y: number, x: number): [Float32Array, number] {
    const index = Math.floor(y / this.rows);
    const rows = Math.min(this.rows, this.height - index * this.rows);
    const band = (this.bands[index] ??= new Float32Array(this.channels * rows * this.width));
    return [band, (channel * rows + y - index * this.rows) * this.width + x];
  }
}
