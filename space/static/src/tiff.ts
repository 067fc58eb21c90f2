import { fromArrayBuffer, type GeoTIFFImage } from "geotiff";
import { fromLevels } from "./levels";
import { isTurned, upright } from "./orientation";
import type { Picture } from "./picture";
import { Refusal } from "./refusal";

const WHITE_IS_ZERO = 0;
const RGB = 2;
const FLOAT = 3;
const SENSOR = [32803, 34892];
const DNG_VERSION = 50706;
const REDUCED = 1;

/** Read a grey or RGB TIFF of 8 to 16 bits, or of floats in [0, 1]. */
export async function readTiff(file: File, check: (width: number, height: number) => void): Promise<Picture> {
  const tiff = await fromArrayBuffer(await file.arrayBuffer());
  const image = await tiff.getImage();
  if (isRaw(image)) {
    throw new Refusal(`${file.name} is a camera raw file, or has a preview before its image; develop or save it as 16-bit TIFF or PNG first.`);
  }
  if ((await tiff.getImageCount()) > 1) {
    throw new Refusal(`${file.name} holds several frames, but a file must hold one; save each frame you need as a file of its own.`);
  }
  check(image.getWidth(), image.getHeight());
  const photometric = image.fileDirectory.getValue("PhotometricInterpretation") ?? 1;
  if (photometric > RGB) {
    throw new Refusal(`${file.name} is a TIFF with a palette, CMYK or another kind of colour; save it as grey or RGB.`);
  }
  const orientation = Number((await image.fileDirectory.loadValue("Orientation")) ?? 1);
  const { levels, samples } = await pixelsOf(image);
  const white = whiteOf(image, levels, file.name);
  if (photometric === WHITE_IS_ZERO) for (let i = 0; i < levels.length; i++) levels[i] = white - levels[i]!;
  const [width, height] = [image.getWidth(), image.getHeight()];
  const turned = upright(levels, width, height, samples, orientation);
  return isTurned(orientation)
    ? fromLevels(file.name, height, width, samples, turned, white)
    : fromLevels(file.name, width, height, samples, turned, white);
}

/** Whether an image is that of a sensor, or the preview of one in a directory below it. */
function isRaw(image: GeoTIFFImage): boolean {
  const tags = image.fileDirectory;
  const isPreview = (tags.getValue("NewSubfileType") ?? 0) & REDUCED && tags.hasTag("SubIFDs");
  return tags.hasTag(DNG_VERSION) || SENSOR.includes(tags.getValue("PhotometricInterpretation") ?? 1) || Boolean(isPreview);
}

type Levels = Uint8Array | Uint16Array | Float32Array;

function whiteOf(image: GeoTIFFImage, levels: Levels, name: string): number {
  if (image.getSampleFormat() !== FLOAT) return 2 ** image.getBitsPerSample() - 1;
  const outside = levels.find((value) => !(value >= 0 && value <= 1));
  if (outside === undefined) return 1;
  throw new Refusal(`${name} has the value ${outside}, but floats must be in 0 to 1; scale them to that range.`);
}

/** The stored pixels; samples after alpha are left out. */
async function pixelsOf(image: GeoTIFFImage): Promise<{ levels: Levels; samples: number }> {
  const all = image.getSamplesPerPixel();
  const samples = all > 4 ? 3 : all;
  const levels = await image.readRasters({ interleave: true, samples: [...Array(samples).keys()] });
  if (!(levels instanceof Uint8Array || levels instanceof Uint16Array || levels instanceof Float32Array)) {
    throw new Refusal("This TIFF has signed values or more than 16 bits; save it with 8 or 16 bits.");
  }
  return { levels, samples };
}
