import type { Picture } from "./picture";

const LEAST_ALPHA = 1 / 65535;

/** Both sources, each with what the other one shows beyond its opacity, so that its holes do not darken the other. */
export function filled(a: Picture, b: Picture): [Picture, Picture] {
  return [over(a, b), over(b, a)];
}

function over(picture: Picture, ground: Picture): Picture {
  const { alpha, channels, white } = picture;
  if (!alpha) return picture;
  const data = new Float32Array(picture.data);
  for (let i = 0; i < alpha.length; i++) {
    const below = ground.alpha ? ground.alpha[i]! : 1;
    const rest = Math.max(0, below - alpha[i]!) / Math.max(below, LEAST_ALPHA);
    const scale = (rest * white) / ground.white;
    for (let c = 0; c < channels; c++) data[channels * i + c]! += scale * level(ground, i, c, channels);
  }
  return { ...picture, data };
}

/** The level of a pixel in an image of so many channels. */
function level({ data, channels }: Picture, i: number, c: number, wanted: number): number {
  if (channels === 1) return data[i]!;
  if (wanted === 3) return data[3 * i + c]!;
  return 0.299 * data[3 * i]! + 0.587 * data[3 * i + 1]! + 0.114 * data[3 * i + 2]!;
}
