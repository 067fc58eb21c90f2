import { Refusal } from "./refusal";

/** The formats that are read, for messages. */
export const READ_NAMES = "PNG, JPEG, TIFF, BMP, WebP or AVIF";

/** Number of bytes at the start of a file that are checked. */
export const START = 600;

const SAVE = "save it as PNG or TIFF";
const COMMAND = `use the command \`refusion fuse\`, or ${SAVE}`;
const ARRAY = "save the slice or image you want as 16-bit PNG or TIFF";

type Kind = [name: string, advice: string, isIt: (start: string) => boolean];

/** Reject a file of a known kind that cannot be read; `start` has its first bytes, one per character. */
export function refuseByKind(start: string, name: string): void {
  for (const [kind, advice, isIt] of KINDS) {
    if (isIt(start)) throw new Refusal(`${name} is ${kind}, but an image must be ${READ_NAMES}; ${advice}.`);
  }
}

/** Whether an ISO base media file has one of these brands, such as heic or avif. */
export function hasBrand(start: string, ...brands: string[]): boolean {
  if (start.slice(4, 8) !== "ftyp") return false;
  const length = start.charCodeAt(2) * 256 + start.charCodeAt(3);
  const compatible = start.slice(16, length).match(/[^]{4}/g) ?? [];
  return [start.slice(8, 12), ...compatible].some((brand) => brands.includes(brand));
}

function begins(...starts: string[]): Kind[2] {
  return (start) => starts.some((text) => start.startsWith(text));
}

function isVideo(start: string): boolean {
  const web = begins("\x1a\x45\xdf\xa3", "OggS")(start) || (start.startsWith("RIFF") && start.slice(8, 12) === "AVI ");
  return web || hasBrand(start, "isom", "iso2", "iso4", "iso5", "iso6", "mp41", "mp42", "avc1", "qt  ", "M4V ");
}

function isText(start: string): boolean {
  return start.length >= 8 && !/[\0-\x08\x0e-\x1f]/.test(start);
}

/** What visitors are likely to have; the command knows more, in refusion/images/kinds.py. */
const KINDS: Kind[] = [
  ["a DICOM file", COMMAND, (start) => start.slice(128, 132) === "DICM"],
  ["a GIF", "save the frame you want as PNG", begins("GIF87a", "GIF89a")],
  ["a JPEG 2000 image", SAVE, begins("\0\0\0\x0cjP  \r\n\x87\n", "\xff\x4f\xff\x51")],
  ["a JPEG XL image", SAVE, begins("\0\0\0\x0cJXL \r\n\x87\n", "\xff\x0a")],
  ["a camera raw file", "develop it to 16-bit TIFF or PNG first", isRaw],
  ["a video", "choose it on the Live tab, or save the frame you want as PNG", isVideo],
  ["an SVG drawing", "export it as PNG", (start) => /^\s*(<\?xml|<!--|<svg)/i.test(start) && /<svg/i.test(start)],
  ["a web page", "download the image itself", (start) => /^\s*<(!doctype html|html|head|body)/i.test(start)],
  ["a PDF document", "export the page or image you want as PNG", begins("%PDF-")],
  ["a Photoshop document", SAVE, begins("8BPS")],
  ["an OpenEXR or Radiance HDR image", "save it as 16-bit PNG or TIFF", begins("v/1\x01", "#?RADIANCE", "#?RGBE")],
  ["a NIfTI volume", ARRAY, (start) => /^(n\+1|ni1)\0/.test(start.slice(344, 348)) || /^(n\+2|ni2)\0/.test(start.slice(4, 8))],
  ["an HDF5 or MATLAB file", ARRAY, begins("\x89HDF\r\n", "MATLAB 5.0 MAT-file")],
  ["a NumPy array", ARRAY, begins("\x93NUMPY")],
  ["an archive", "unpack it", begins("PK\x03\x04", "\x1f\x8b", "7z\xbc\xaf\x27\x1c", "Rar!\x1a\x07")],
  ["an icon", SAVE, begins("\0\0\x01\0", "icns")],
  ["a Netpbm image", SAVE, (start) => /^P[1-7fF]\s/.test(start)],
  ["a text file", "open it to see what it says", isText],
];

function isRaw(start: string): boolean {
  const tiff = begins("II*\0", "MM\0*")(start);
  const raw = begins("FUJIFILMCCD-RAW", "IIRO", "IIRS", "MMOR", "IIU\0", "FOVb", "\0MRM");
  return raw(start) || hasBrand(start, "crx ") || (tiff && start.slice(8, 10) === "CR");
}
