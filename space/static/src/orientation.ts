const ORIENTATION = 0x0112;

/** Orientation in a block of EXIF data, 1 to 8; 1 (upright) if there is none. */
export function orientationOf(exif: Uint8Array): number {
  // Some programs write the prefix of JPEG in WebP, too.
  const prefix = String.fromCharCode(...exif.subarray(0, 6)) === "Exif\0\0" ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + prefix, exif.byteLength - prefix);
  if (view.byteLength < 8) return 1;
  const little = view.getUint8(0) === 0x49;
  const first = view.getUint32(4, little);
  if (first + 2 > view.byteLength) return 1;
  for (let i = 0, at = first + 2; i < view.getUint16(first, little) && at + 12 <= view.byteLength; i++, at += 12) {
    if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
  }
  return 1;
}

/** Whether the orientation exchanges width and height. */
export function isTurned(orientation: number): boolean {
  return orientation >= 5 && orientation <= 8;
}

/** Turn interleaved pixels upright; width and height are those stored. */
export function upright<T extends Uint8Array | Uint8ClampedArray | Uint16Array | Float32Array>(
  levels: T,
  width: number,
  height: number,
  samples: number,
  orientation: number,
): T {
  if (orientation <= 1 || orientation > 8) return levels;
  const swapped = isTurned(orientation);
  const [columns, rows] = swapped ? [height, width] : [width, height];
  const mirrored = [2, 3, 6, 7].includes(orientation);
  const flipped = [3, 4, 7, 8].includes(orientation);
  const turned = levels.slice() as T;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const [u, v] = [mirrored ? columns - 1 - x : x, flipped ? rows - 1 - y : y];
      const from = samples * (swapped ? u * width + v : v * width + u);
      for (let c = 0; c < samples; c++) turned[samples * (y * columns + x) + c] = levels[from + c]!;
    }
  }
  return turned;
}
