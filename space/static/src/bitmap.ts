import type { Picture } from "./picture";
import { fromLevels } from "./levels";
import { isTurned, upright } from "./orientation";

/**
 * Read an image with the browser's decoder, with 8 bits: JPEG, BMP, WebP or AVIF. Colour profiles are not applied.
 *
 * @param orientation EXIF orientation, if the browser does not apply it
 */
export async function readBitmap(
  file: File,
  check: (width: number, height: number) => void,
  orientation = 1,
): Promise<Picture> {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  check(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const levels = upright(data, width, height, 4, orientation);
  return isTurned(orientation)
    ? fromLevels(file.name, height, width, 4, levels, 255)
    : fromLevels(file.name, width, height, 4, levels, 255);
}
