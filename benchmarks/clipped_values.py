"""How well values that an exposure clipped are estimated from the other exposure, on real pairs.

    python benchmarks/clipped_values.py --data TRAIN

The over-exposed images are clipped further, at `WHITE`, so that what they recorded above is known. The table has the
mean error of the highest of red, green and blue, and how much too high it is on average, in grey levels of 255; means
over the pairs. Pixels count where it was clipped, where the lowest of the three says how the exposures are related, and
where the under-exposed image is not almost black.
"""

import argparse
from pathlib import Path

import numpy as np

from refusion.images import Picture, read_picture
from refusion.images.colour import join_colour
from refusion.images.exposure_colour import LIT, MOST, NEARLY_CLIPPED, READABLE, unclipped
from refusion.tasks import get_task

WHITE = 0.78
HIGHEST = 0.94
"""Above this, what the camera recorded may be clipped already; `MOST` times `WHITE`, so that all can be estimated."""

MIN_PIXELS = 300


def rgb_of(picture: Picture) -> np.ndarray | None:
    """Red, green and blue, (H, W, 3), or None for a grey image."""
    return None if picture.chroma is None else join_colour(picture.luminance, picture.chroma)


def error(under: np.ndarray, over: np.ndarray) -> tuple[float, float] | None:
    """Mean absolute and mean signed error of a pair, relative to white, or None if too few pixels count."""
    clipped = (over / WHITE).clip(0, 1)
    highest = over.max(axis=2)
    counts = (highest > WHITE) & (highest < min(HIGHEST, MOST * WHITE))
    counts &= (clipped.min(axis=2) < NEARLY_CLIPPED - READABLE) & (under.mean(axis=2) > LIT)
    if counts.sum() < MIN_PIXELS:
        return None
    off = (unclipped(clipped, under).max(axis=2) * WHITE - highest)[counts]
    return float(np.abs(off).mean()), float(off.mean())


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="multi-exposure pairs, as for train.py")
    args = parser.parse_args()
    unders, overs = (args.data / folder for folder in get_task("multi-exposure").folders)
    errors = []
    for file in sorted(unders.iterdir()):
        under, over = (rgb_of(read_picture(path)) for path in (file, overs / file.name))
        found = None if under is None or over is None or under.shape != over.shape else error(under, over)
        if found is not None:
            errors.append(found)
    absolute, signed = 255 * np.mean(errors, axis=0)
    print(f"{len(errors)} pairs: mean error {absolute:.1f} grey levels, {signed:+.1f} too high on average")


if __name__ == "__main__":
    main()
