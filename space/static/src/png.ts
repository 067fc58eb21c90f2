import { decode, decodeApng, encode } from "fast-png";
import { readBitmap } from "./bitmap";
import { fromLevels } from "./levels";
import { isTurned, orientationOf, upright } from "./orientation";
import type { Picture } from "./picture";
import { Refusal } from "./refusal";

const PALETTE = 3;

/** Bytes before the first chunk. */
const SIGNATURE = 8;

/** Read a PNG of 1 to 16 bits. */
export async function readPng(file: File, check: (width: number, height: number) => void): Promise<Picture> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = new DataView(bytes.buffer, 16, 8);
  check(header.getUint32(0), header.getUint32(4));
  const chunks = chunksOf(bytes);
  if (chunks.has("acTL") && decodeApng(bytes).numberOfFrames > 1) {
    throw new Refusal(`${file.name} holds several frames, but a file must hold one; save each frame you need as a file of its own.`);
  }
  const exif = chunks.get("eXIf");
  const orientation = exif ? orientationOf(bytes.subarray(exif[0] + 8, exif[1] - 4)) : 1;
  // Palettes and fewer bits are unpacked by the browser, without loss. Only some browsers turn a PNG upright, so its
  // EXIF data are cut out.
  if (bytes[24]! < 8 || bytes[25] === PALETTE) {
    const parts = exif ? [bytes.subarray(0, exif[0]), bytes.subarray(exif[1])] : [bytes];
    return readBitmap(new File(parts, file.name), check, orientation);
  }
  const { width, height, depth, channels, data, transparency } = decode(bytes, { checkCrc: true });
  const white = 2 ** depth - 1;
  const samples = transparency ? channels + 1 : channels;
  const all = transparency ? withAlpha(data, channels, transparency, white) : data;
  const levels = upright(all, width, height, samples, orientation);
  return isTurned(orientation)
    ? fromLevels(file.name, height, width, samples, levels, white)
    : fromLevels(file.name, width, height, samples, levels, white);
}

/** Encode grey levels or colours of 8 or 16 bits as PNG. */
export function writePng(width: number, height: number, channels: number, data: Uint8Array | Uint16Array): Uint8Array {
  return encode({ width, height, channels, data, depth: data instanceof Uint16Array ? 16 : 8 });
}

/** Where the chunks begin and end, by name; of several with one name, the last. */
function chunksOf(bytes: Uint8Array): Map<string, [begin: number, end: number]> {
  const view = new DataView(bytes.buffer);
  const chunks = new Map<string, [number, number]>();
  for (let at = SIGNATURE; at + 8 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at);
    chunks.set(String.fromCharCode(...bytes.subarray(at + 4, at + 8)), [at, end]);
    at = end;
  }
  return chunks;
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
