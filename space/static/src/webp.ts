import { readBitmap } from "./bitmap";
import { orientationOf } from "./orientation";
import type { Picture } from "./picture";

const FIRST_CHUNK = 12;

/** Read a WebP. Only some browsers turn it upright, so its EXIF data are hidden from the browser. */
export async function readWebp(file: File, check: (width: number, height: number) => void): Promise<Picture> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  for (let at = FIRST_CHUNK; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (String.fromCharCode(...bytes.subarray(at, at + 4)) === "EXIF") {
      const orientation = orientationOf(bytes.subarray(at + 8, at + 8 + size));
      bytes.set([0x4a, 0x55, 0x4e, 0x4b], at); // JUNK
      return readBitmap(new File([bytes], file.name), check, orientation);
    }
    at += 8 + size + (size % 2);
  }
  return readBitmap(file, check);
}
