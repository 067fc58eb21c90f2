import type { Picture } from "./picture";

type Levels = Uint8Array | Uint8ClampedArray | Uint16Array | Float32Array;

/**
 * Create an image from stored values: grey, grey and alpha, RGB, or RGB and alpha.
 *
 * Transparent pixels are composited over black. If red, green and blue are equal everywhere, the image is grey.
 */
export function fromLevels(
  name: string,
  width: number,
  height: number,
  samples: number,
  levels: Levels,
  white: number,
): Picture {
  const deep = !(levels instanceof Uint8Array || levels instanceof Uint8ClampedArray);
  const pixels = width * height;
  const coloured = samples >= 3 && hasColour(levels, samples);
  const channels = coloured ? 3 : 1;
  const alpha = samples % 2 === 0 ? alphaOf(levels, samples, pixels, white) : null;
  const data = alpha || levels instanceof Float32Array ? new Float32Array(pixels * channels) : empty(levels, pixels * channels);
  for (let i = 0; i < pixels; i++) {
    const opacity = alpha ? alpha[i]! : 1;
    for (let c = 0; c < channels; c++) data[channels * i + c] = levels[samples * i + c]! * opacity;
  }
  return { name, width, height, channels, data, white, alpha, deep };
}

function empty(levels: Levels, length: number): Uint8Array | Uint16Array {
  return levels instanceof Uint16Array ? new Uint16Array(length) : new Uint8Array(length);
}

function hasColour(levels: Levels, samples: number): boolean {
  for (let i = 0; i < levels.length; i += samples) {
    if (levels[i] !== levels[i + 1] || levels[i] !== levels[i + 2]) return true;
  }
  return false;
}

function alphaOf(levels: Levels, samples: number, pixels: number, white: number): Float32Array | null {
  const alpha = new Float32Array(pixels);
  let opaque = true;
  for (let i = 0; i < pixels; i++) {
    alpha[i] = levels[samples * (i + 1) - 1]! / white;
    opaque &&= alpha[i] === 1;
  }
  return opaque ? null : alpha;
}
