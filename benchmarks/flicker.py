"""Flicker: how much the mean brightness of fused video frames changes, with the range of each frame and smoothed.

    python benchmarks/flicker.py --data VAL

The frames are crops of real pairs that pan by one pixel per frame, with noise of 2 grey levels and a hot pixel in every
fifth infrared frame. Flicker is the mean absolute change of the mean from one frame to the next, in grey levels. The
first column is that of network and anchor, without a range, caused by the pan and the noise.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np

from refusion.images import read_picture
from refusion.inference.anchors import anchor_luminance
from refusion.inference.network import fuse_luminance
from refusion.inference.video import RangeSmoother
from refusion.models.model import ReFusion

RATE = 25.0


def flicker(frames: list[np.ndarray]) -> float:
    """Mean absolute change of the mean, in grey levels."""
    return float(255 * np.abs(np.diff([frame.mean() for frame in frames])).mean())


def main() -> None:
    """Print a table of output ranges."""
    parser = argparse.ArgumentParser(description="Measure flicker of fused video.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ir and vis")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    model, rng = ReFusion.from_pretrained("refusion-ir-vis"), np.random.default_rng(0)
    rows: dict[str, list[tuple[float, float, float]]] = {"stretch": [], "robust": [], "sources": []}
    for path in sorted((args.data / "vis").iterdir())[: args.pairs]:
        other = next((args.data / "ir").glob(f"{path.stem}.*"))
        whole = [read_picture(x).luminance for x in (other, path)]
        fused, sources = [], []
        for frame in range(args.frames):
            window = np.s_[20 : 20 + args.size, 20 + frame : 20 + frame + args.size]
            shot = [x[window] + rng.normal(0, 2 / 255, x[window].shape) for x in whole]
            if frame % 5 == 0:
                shot[0][tuple(rng.integers(0, side) for side in shot[0].shape)] = 1
            a, b = (np.clip(x, 0, 1).astype(np.float32) for x in shot)
            fused.append(anchor_luminance(fuse_luminance(model, a, b), a, b, model.task.anchor))
            sources.append((a, b))
        for output_range, row in rows.items():
            each, smooth = RangeSmoother(output_range, RATE, seconds=0), RangeSmoother(output_range, RATE)
            row.append(
                (
                    flicker(fused),
                    flicker([each(f, *s) for f, s in zip(fused, sources, strict=True)]),
                    flicker([smooth(f, *s) for f, s in zip(fused, sources, strict=True)]),
                )
            )
    print("| output range | without a range | range of each frame | smoothed |")
    print("| --- | --- | --- | --- |")
    for name, row in rows.items():
        figures = (statistics.mean(column) for column in zip(*row, strict=True))
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
