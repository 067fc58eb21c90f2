"""Colour of fused exposures: how far each chroma rule is from the colour of a known scene.

python benchmarks/exposure_colour.py --photos FOLDER

Each photograph is taken to be the scene. Pairs of exposures are simulated from it: its values are scaled by powers of
two in linear light, clipped, given a tone curve and noise, and saved as JPEG. The colours of both are fused at the
luminance of the photograph, so that only the colour can be wrong. The errors are distances in the plane of a and b of
CIELAB: the mean of all pairs, and the mean of the worst pair.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from PIL import Image

from refusion.images import Picture, read_picture
from refusion.images.colour import fit_chroma, fuse_chroma, join_colour
from refusion.tasks import MeanRule

SIDE = 320
STOPS = ((-2, 2), (-3, 1), (-1, 3), (-4, 1), (-3, 3))
CURVES = {"gamma": (0, 0), "contrasty": (0.4, 0), "dark": (0.75, 0.03)}
"""Tone curves: the share of an S-shaped curve, and the level below which all is black."""

COLOURED, GREY_LEVELS = 25, (50, 165)
"""Photographs that are used: mean spread of red, green and blue, and mean grey level, at least and at most."""


def photographs(folder: Path, most: int) -> Iterator[np.ndarray]:
    """Colourful photographs that are neither dark nor bright, evenly spaced in the folder: uint8 (H, W, 3)."""
    found = []
    for file in sorted(folder.glob("*")):
        with Image.open(file) as image:
            if image.mode != "RGB":
                continue
            image.thumbnail((SIDE, SIDE))
            values = np.asarray(image)
        if np.ptp(values, axis=2).mean() > COLOURED and GREY_LEVELS[0] < values.mean() < GREY_LEVELS[1]:
            found.append(values)
    yield from found[:: max(1, len(found) // most)][:most]


def exposed(scene: np.ndarray, stops: float, curve: str, rng: np.random.Generator) -> Picture:
    """The scene in another exposure."""
    share, black = CURVES[curve]
    levels = np.linspace(0, 1, 4096)
    tone = (1 - share) * levels + share * levels**2 * (3 - 2 * levels)
    recorded = np.interp(scene / 255, tone, levels) * (1 - black) + black
    longer = (recorded**2.2 * 2**stops).clip(0, 1) ** (1 / 2.2)
    shown = np.interp((longer - black) / (1 - black), levels, tone) + rng.normal(0, 0.005, scene.shape)
    file = io.BytesIO()
    Image.fromarray((shown * 255).round().clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=82)
    return read_picture(file)


def error(scene: Picture, under: Picture, over: Picture, rule: MeanRule) -> float:
    """Mean distance in a and b of CIELAB between the scene and the fused colours at its luminance."""
    chroma = fuse_chroma(under, over, rule, luminance=scene.luminance)
    assert chroma is not None
    assert scene.chroma is not None
    fused = join_colour(scene.luminance, fit_chroma(scene.luminance, chroma))
    one, other = (
        cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2Lab)[..., 1:]
        for rgb in (fused, join_colour(scene.luminance, scene.chroma))
    )
    return float(np.linalg.norm(one - other, axis=2).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare the chroma rules on simulated exposures.")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs in colour")
    parser.add_argument("--most", type=int, default=24, help="number of photographs")
    args = parser.parse_args()
    scenes = list(photographs(args.photos, args.most))
    errors: dict[str, list[float]] = {rule: [] for rule in get_args(MeanRule)}
    rng = np.random.default_rng(0)
    for values in scenes:
        scene = read_picture(values)
        for curve in CURVES:
            for pair in STOPS:
                under, over = (exposed(values, stops, curve, rng) for stops in pair)
                for rule in get_args(MeanRule):
                    errors[rule].append(error(scene, under, over, rule))
    print(f"{len(scenes)} photographs, {len(STOPS)} exposures of each, with {len(CURVES)} tone curves\n")
    print("| rule | mean error | worst pair |\n| --- | --- | --- |")
    for rule, found in errors.items():
        print(f"| `{rule}` | {np.mean(found):.1f} | {max(found):.1f} |")


if __name__ == "__main__":
    main()
