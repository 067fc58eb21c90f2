"""How often `--align` finds a known motion, refuses, or errs, on real pairs whose second image is displaced.

Usage: python benchmarks/alignment.py --task ir-vis --data PAIRS [--pairs 40] [--motion homography]

Every pair is displaced at random: shifted by up to 5 % of the long side, rotated by up to 4 degrees, or each corner
moved by up to 3 % (affine and homography). Registered pairs are not perfectly aligned, so an estimate counts as right
if it differs from the estimate for the undisplaced pair, combined with the displacement, by at most 1 % of the long
side at any point.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from refusion.images import read_picture
from refusion.inference.alignment import estimate_alignment
from refusion.inference.edges import View
from refusion.tasks import TASKS, Motion

RIGHT = 0.01


def main() -> None:
    """Print a row for each motion."""
    parser = argparse.ArgumentParser(description="Measure --align on pairs that are displaced.")
    parser.add_argument("--task", default="ir-vis", choices=list(TASKS))
    parser.add_argument("--data", type=Path, required=True, help="folder with the two sub-folders of the task")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--motion", choices=get_args(Motion), help="one motion; all if not given")
    args = parser.parse_args()
    folders = [args.data / folder for folder in TASKS[args.task].folders]
    names = sorted(path.name for path in folders[0].iterdir())
    random.Random(0).shuffle(names)
    print("| motion | right | refused | wrong |\n| --- | --- | --- | --- |")
    for motion in [args.motion] if args.motion else get_args(Motion):
        rng = np.random.default_rng(0)
        said = [judge([folder / name for folder in folders], motion, rng) for name in names[: args.pairs]]
        print(f"| {motion} | {said.count('right')} | {said.count('refused')} | {said.count('wrong')} |", flush=True)


def judge(paths: list[Path], motion: Motion, rng: np.random.Generator) -> str:
    """Displace one pair, and judge the estimate."""
    a, b = (read_picture(path).luminance for path in paths)
    height, width = a.shape
    known = displacement(motion, width, height, rng)
    options = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT}
    displaced = np.clip(cv2.warpPerspective(b, known, (width, height), **options), 0, 1)
    found = estimate_alignment(View(a), View(displaced), motion)
    if not found.sure:
        return "refused"
    before = estimate_alignment(View(a), View(b), motion)
    wanted = known @ before.matrix if before.sure else known
    places = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1], [width / 2, height / 2, 1]]).T
    there, right = found.matrix @ places, wanted @ places
    error = np.linalg.norm(there[:2] / there[2] - right[:2] / right[2], axis=0).max()
    return "right" if error <= RIGHT * max(a.shape) else "wrong"


def displacement(motion: Motion, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A random motion of a kind, (3, 3)."""
    long = max(width, height)
    if motion in ("affine", "homography"):
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
        drawn = (corners + rng.uniform(-0.03, 0.03, (4, 2)) * long).astype(np.float32)
        if motion == "homography":
            return cv2.getPerspectiveTransform(corners, drawn)
        return np.vstack([cv2.getAffineTransform(corners[:3], drawn[:3]), [0, 0, 1]])
    x, y = rng.uniform(-0.05, 0.05, 2) * long
    degrees = rng.uniform(-4, 4) if motion == "euclidean" else 0
    matrix = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), [0, 0, 1]])
    matrix[:2, 2] += x, y
    return matrix


if __name__ == "__main__":
    main()
