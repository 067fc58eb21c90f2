/** An image with its stored values. */
export interface Picture {
  name: string;
  width: number;
  height: number;
  /** Grey, or red, green and blue. */
  channels: 1 | 3;
  /** Values, (height, width, channels); transparent pixels are composited over black. */
  data: Uint8Array | Uint16Array | Float32Array;
  /** Value of white. */
  white: number;
  /** Opacity in [0, 1]; null if all pixels are opaque. */
  alpha: Float32Array | null;
  /** Whether the file has more than 8 bits. */
  deep: boolean;
}

export const MIN_SIDE = 8;

/** Largest number of pixels: with these, the steps after the network take 3.4 of the 4 GB that WebAssembly has. */
export const MAX_PIXELS = 16_000_000;

/** Draw an image with 8 bits. */
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
