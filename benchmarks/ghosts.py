"""What moves between the images of a bracket: how much of it is left in the fused image.

    python benchmarks/ghosts.py --pictures VAL

The folders under and over are merged and exposed again in even steps, as benchmarks/stacks.py does, with a textured
disc that moves across the scene. "ghosts" is the mean difference, in grey levels, from the fusion of the same bracket
with the disc at rest where the reference has it, over all places where the disc was; "noise" the same over the rest of
the image, where only the noise differs; "at rest" is how much a bracket without the disc changes if ghosts are looked
for. With --hand-held, each frame is also shifted by up to 0.7 pixels in x and y, has three times the noise, and is a
JPEG of quality 90. Luminance only.
"""

import argparse
import statistics
from pathlib import Path

import cv2
import numpy as np
from stacks import as_shot, merged, mertens

from refusion import fuse_stack
from refusion.images import read_picture
from refusion.inference.exposure_blend import exposedness

Place = tuple[float, float]


def shoot(
    radiance: np.ndarray, ratio: float, places: list[Place | None], rng: np.random.Generator, hand_held: bool
) -> list[np.ndarray]:
    """A bracket with the disc at these places; uint8 (H, W) each."""
    frames = []
    for step, place in enumerate(places):
        scene = radiance.copy()
        if place is not None:
            row, column = (round(x) for x in place)
            scene[disc(scene.shape, place)] = 1.5 * np.roll(radiance, (row, column), (0, 1))[disc(scene.shape, place)]
        exposed = np.clip(scene * ratio ** (step / (len(places) - 1)), 0, 1) ** (1 / 2.2)
        exposed += (0.012 if hand_held else 0.004) * rng.standard_normal(exposed.shape)
        frame = (255 * as_shot(exposed)).astype(np.uint8)
        if hand_held:
            shift = np.array([[1, 0, rng.uniform(-0.7, 0.7)], [0, 1, rng.uniform(-0.7, 0.7)]])
            frame = cv2.warpAffine(frame, shift, frame.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
            frame = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_GRAYSCALE)
        frames.append(frame)
    return frames


def disc(shape: tuple[int, ...], place: Place) -> np.ndarray:
    """Bool (H, W), a disc with a fifth of the short side as its diameter."""
    rows, columns = np.indices(shape)
    return (rows - place[0]) ** 2 + (columns - place[1]) ** 2 < (min(shape) / 10) ** 2


def main() -> None:
    """Print a row for each way to fuse."""
    parser = argparse.ArgumentParser(description="Measure ghosts in brackets with something that moves.")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of under and over")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--hand-held", action="store_true")
    args = parser.parse_args()

    def fused(frames: list[np.ndarray], *, deghost: bool) -> np.ndarray:
        return np.asarray(fuse_stack(frames, task="multi-exposure", deghost=deghost)).astype(np.float64)

    def by_mertens(frames: list[np.ndarray]) -> np.ndarray:
        return 255.0 * mertens(np.maximum, [frame.astype(np.float32) / 255 for frame in frames])

    ways = {
        "refusion": lambda frames: fused(frames, deghost=True),
        "refusion, --no-deghost": lambda frames: fused(frames, deghost=False),
        "Mertens": by_mertens,
    }
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    changes = []
    for index, path in enumerate(sorted((args.pictures / "under").iterdir())):
        rng = np.random.default_rng(index)
        under, over = (read_picture(args.pictures / folder / path.name).luminance for folder in ("under", "over"))
        radiance, ratio = merged(under, over)
        height, width = radiance.shape
        places = [(height / 2, width * (0.2 + 0.6 * step / (args.frames - 1))) for step in range(args.frames)]
        moving = shoot(radiance, ratio, [*places], rng, args.hand_held)
        kept = max(range(args.frames), key=lambda frame: exposedness(moving[frame] / np.float32(255)).mean())
        still = shoot(radiance, ratio, [places[kept]] * args.frames, rng, args.hand_held)
        zone = np.any([disc(radiance.shape, place) for place in places], axis=0)
        for name, way in ways.items():
            off = np.abs(way(moving) - (by_mertens if way is by_mertens else ways["refusion, --no-deghost"])(still))
            scores[name].append((off[zone].mean(), off[~zone].mean()))
        empty = shoot(radiance, ratio, [None] * args.frames, rng, args.hand_held)
        changes.append(np.abs(fused(empty, deghost=True) - fused(empty, deghost=False)).mean())
    print(f"| {len(changes)} brackets of {args.frames} | ghosts | noise |\n| --- | --- | --- |")
    for name, rows in scores.items():
        print(
            f"| {name} | " + " | ".join(f"{statistics.mean(column):.1f}" for column in zip(*rows, strict=True)) + " |"
        )
    print(f"at rest: {statistics.mean(changes):.3f}, at most {max(changes):.3f}")


if __name__ == "__main__":
    main()
