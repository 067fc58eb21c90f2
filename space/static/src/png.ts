import { decode, decodeApng, encode } from "fast-png";
import { readBitmap } from "./bitmap";
import { fromLevels } from "./levels";
import type { Picture } from "./picture";
import { Refusal } from "./refusal";

const PALETTE = 3;

/** Read a PNG of 1 to 16 bits. */
export async function readPng(file: File, check: (width: number, height: number) => void): Promise<Picture> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = new DataView(bytes.buffer, 16, 8);
  check(header.getUint32(0), header.getUint32(4));
  if (hasFrames(bytes) && decodeApng(bytes).numberOfFrames > 1) {
    throw new Refusal(`${file.name} holds several frames, but a file must hold one; save each frame you need as a file of its own.`);
  }
  // Palettes and fewer bits are unpacked by the browser, without loss.
  if (bytes[24]! < 8 || bytes[25] === PALETTE) return readBitmap(file, check);
  const { width, height, depth, channels, data, transparency } = decode(bytes, { checkCrc: true });
  const white = 2 ** depth - 1;
  if (!transparency) return fromLevels(file.name, width, height, channels, data, white);
  return fromLevels(file.name, width, height, channels + 1, withAlpha(data, channels, transparency, white), white);
}

/** Encode grey levels or colours of 8 or 16 bits as PNG. */
export function writePng(width: number, height: number, channels: number, data: Uint8Array | Uint16Array): Uint8Array {
  return encode({ width, height, channels, data, depth: data instanceof Uint16Array ? 16 : 8 });
}

/** Whether the file is animated: it has a chunk acTL before the pixels. */
function hasFrames(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "acTL" || kind === "IDAT") return kind === "acTL";
  }
  return false;
}

/** Add an alpha channel: pixels of the transparent colour become transparent. */
function withAlpha<T extends Uint8Array | Uint8ClampedArray | Uint16Array>(
  data: T,
  channels: number,
  transparent: Uint16Array,
  white: number,
): T {
  const pixels = data.length / channels;
  const result = new (data.constructor as new (length: number) => T)(pixels * (channels + 1));
  for (let i = 0; i < pixels; i++) {
    let matches = true;
    for (let c = 0; c < channels; c++) {
      const value = data[channels * i + c]!;
      result[(channels + 1) * i + c] = value;
      matches &&= value === transparent[c];
    }
    result[(channels + 1) * i + channels] = matches ? 0 : white;
  }
  return result;
}
