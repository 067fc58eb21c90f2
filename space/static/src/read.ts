import { readBitmap } from "./bitmap";
import { hasBrand, READ_NAMES, refuseByKind, START } from "./kinds";
import { MAX_PIXELS, MIN_SIDE, type Picture } from "./picture";
import { readPng } from "./png";
import { Refusal } from "./refusal";
import { readTiff } from "./tiff";
import { readWebp } from "./webp";

const MAX_BYTES = 300_000_000;

type Reader = (file: File, check: (width: number, height: number) => void) => Promise<Picture>;

/** Read an image file at its full depth, upright. */
export async function read(file: File): Promise<Picture> {
  if (file.size === 0) throw new Refusal(`${file.name} is an empty file; give an image (${READ_NAMES}).`);
  if (file.size > MAX_BYTES) {
    throw new Refusal(
      `${file.name} has ${Math.round(file.size / 1e6)} MB, but this page takes at most ${MAX_BYTES / 1e6} MB.`,
    );
  }
  const reader = readerOf(new Uint8Array(await file.slice(0, START).arrayBuffer()), file.name);
  try {
    return await reader(file, (width, height) => checkSize(file.name, width, height));
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(
      `${file.name} cannot be decoded (${error instanceof Error ? error.message : error}): it is damaged, truncated ` +
        "or of an unusual kind; save it again, preferably as PNG.",
    );
  }
}

function readerOf(start: Uint8Array, name: string): Reader {
  const text = String.fromCharCode(...start);
  if (text.startsWith("\x89PNG")) return readPng;
  const animated = text.startsWith("RIFF") && text.slice(8, 16) === "WEBPVP8X" && start[20]! & 2;
  if (animated || hasBrand(text.slice(0, 12), "avis")) {
    throw new Refusal(`${name} holds several frames, but a file must hold one; save each frame you need as a file of its own.`);
  }
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return readWebp;
  if (text.startsWith("\xff\xd8\xff") || text.startsWith("BM") || hasBrand(text, "avif")) return readBitmap;
  if (hasBrand(text, "heic", "heix", "heim", "heis", "hevc", "mif1", "msf1")) return readHeic;
  refuseByKind(text, name);
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return readTiff;
  throw new Refusal(`${name} is not an image that can be read, or its header is damaged; give ${READ_NAMES}.`);
}

/** Only some browsers, such as Safari, can decode HEIC. */
async function readHeic(file: File, check: (width: number, height: number) => void): Promise<Picture> {
  try {
    return await readBitmap(file, check);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    throw new Refusal(
      `${file.name} is a HEIC image, which this browser cannot read; open the page in Safari, use the command ` +
        "`refusion fuse`, or save it as JPEG or PNG.",
    );
  }
}

function checkSize(name: string, width: number, height: number): void {
  if (Math.min(width, height) < MIN_SIDE) {
    throw new Refusal(
      `${name} is ${width} x ${height} pixels; an image is at least ${MIN_SIDE} x ${MIN_SIDE} (width x height).`,
    );
  }
  if (width * height > MAX_PIXELS) {
    throw new Refusal(
      `${name} is ${width} x ${height} pixels, but this page takes at most ${MAX_PIXELS / 1e6} million in total; ` +
        "scale it down, or use the command `refusion fuse`.",
    );
  }
}
