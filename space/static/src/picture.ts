/** An image as it is stored. */
export interface Picture {
  name: string;
  width: number;
  height: number;
  /** Grey, or red, green and blue. */
  channels: 1 | 3;
  /** Height, width and channels, in this order; what is transparent is over black. */
  data: Uint8Array | Uint16Array | Float32Array;
  /** Value of white. */
  white: number;
  /** Opacity in 0..1 where not all is opaque. */
  alpha: Float32Array | null;
  /** Whether it came with more than 8 bits. */
  deep: boolean;
}

export const MIN_SIDE = 8;

/** Most pixels of an image: with these, what follows the network takes 3.4 of the 4 GB that WebAssembly has. */
export const MAX_PIXELS = 16_000_000;

/** Draw it, with 8 bits. */
export function paint(canvas: HTMLCanvasElement, picture: Picture): void {
  const { width, height, channels, data, white } = picture;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = (255 * data[channels * i + (channels === 3 ? c : 0)]!) / white;
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
