import type { Picture } from "./picture";
import { fromLevels } from "./levels";

/** Read an image with the browser's decoder, with 8 bits: JPEG, BMP, WebP or AVIF. Colour profiles are not applied. */
export async function readBitmap(file: File, check: (width: number, height: number) => void): Promise<Picture> {
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
  return fromLevels(file.name, width, height, 4, context.getImageData(0, 0, width, height).data, 255);
}
