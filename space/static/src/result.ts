import type { Picture } from "./picture";
import { writePng } from "./png";

/**
 * Encode a fused image as PNG: grey if it has no colour, with 16 bits if a source has more than 8, and with alpha if
 * both sources have it.
 */
export function resultPng(rgb: Float32Array, a: Picture, b: Picture): Uint8Array {
  const { width, height } = a;
  const pixels = width * height;
  const deep = a.deep || b.deep;
  const white = deep ? 65535 : 255;
  const colours = isGrey(rgb, pixels, 0.25 / white) ? 1 : 3;
  const alpha = a.alpha && b.alpha;
  const channels = colours + (alpha ? 1 : 0);
  const levels = deep ? new Uint16Array(pixels * channels) : new Uint8Array(pixels * channels);
  for (let i = 0; i < pixels; i++) {
    const opacity = alpha ? Math.max(a.alpha![i]!, b.alpha![i]!) : 1;
    for (let c = 0; c < colours; c++) {
      // Stored values are not premultiplied.
      const value = opacity > 0 ? Math.min(1, rgb[c * pixels + i]! / opacity) : 0;
      levels[channels * i + c] = Math.round(white * value);
    }
    if (alpha) levels[channels * i + colours] = Math.round(white * opacity);
  }
  return writePng(width, height, channels, levels);
}

function isGrey(rgb: Float32Array, pixels: number, tolerance: number): boolean {
  for (let i = 0; i < pixels; i++) {
    const red = rgb[i]!;
    if (Math.abs(red - rgb[pixels + i]!) > tolerance || Math.abs(red - rgb[2 * pixels + i]!) > tolerance) return false;
  }
  return true;
}
