"""Scores of the anchors and the bare network on training pairs, so that nothing is chosen on the validation pairs.

    python benchmarks/anchors.py --task multi-focus --data TRAIN --pairs 30

Rows: the bare network, every anchor, the guided anchor with other windows, and the hard choice of the source with more
local contrast, which needs no network; all in the output range of the task (or --output-range).
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from loss_optimum import middles

from refusion import ReFusion
from refusion.inference.anchors import anchor_luminance, guided_by_sources
from refusion.inference.network import fuse_luminance
from refusion.inference.output_range import bring_to_range, ends_of
from refusion.metrics.fusion import score
from refusion.tasks import TASKS, Anchor, OutputRange, get_task

METRICS = ("SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")
GUIDED_WINDOWS = (7, 25)
HARD_WINDOW = 25

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def guided(window: int) -> Rule:
    """The guided anchor with another window."""

    def rule(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        result = guided_by_sources(fused, a, b, window)
        return anchor_luminance(result, a, b, "bounds")

    return rule


def hard_choice(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Every pixel from the source with more gradient around it, without using the fused image."""

    def contrast(x: np.ndarray) -> np.ndarray:
        gradient = np.abs(cv2.Sobel(x, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(x, cv2.CV_32F, 0, 1))
        return cv2.blur(gradient, (HARD_WINDOW, HARD_WINDOW), borderType=cv2.BORDER_REPLICATE)

    return np.where(contrast(a) >= contrast(b), a, b)


def rules() -> dict[str, Rule]:
    """The rows of the table."""
    named: dict[str, Rule] = {
        anchor: lambda fused, a, b, anchor=anchor: anchor_luminance(fused, a, b, anchor) for anchor in get_args(Anchor)
    }
    for window in GUIDED_WINDOWS:
        named[f"guided, {window} x {window}"] = guided(window)
    return named | {f"hard choice, {HARD_WINDOW} x {HARD_WINDOW}": hard_choice}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True, type=Path, help="pairs, as for train.py")
    parser.add_argument("--pairs", type=int, default=12, help="pairs, spread over the data set (default: 12)")
    parser.add_argument("--side", type=int, default=400, help="largest side of the middles in pixels (default: 400)")
    parser.add_argument("--model", help="name or folder (default: the task's)")
    parser.add_argument("--output-range", choices=get_args(OutputRange), help="default: the task's")
    args = parser.parse_args()

    task = get_task(args.task)
    model = ReFusion.from_pretrained(args.model or task.model)
    output_range = args.output_range or task.output_range
    pairs = [[x[0, 0].numpy() for x in pair] for pair in middles(args.data, args.task, args.pairs, args.side)]
    networks = [fuse_luminance(model, a, b) for a, b in pairs]
    print(f"{args.task}, output range {output_range}, middles of {len(pairs)} pairs, 8-bit luminance")
    print(" | ".join(["anchor", *METRICS]))
    for name, rule in rules().items():
        rows = []
        for (a, b), network in zip(pairs, networks, strict=True):
            fused = bring_to_range(rule(network, a, b), [ends_of(a), ends_of(b)], output_range)
            rows.append(score(*(np.rint(255 * x.astype(np.float64)) for x in (a, b, fused)), METRICS))
        means = [statistics.fmean(row[metric] for row in rows) for metric in METRICS]
        print(" | ".join([name, *(f"{mean:.3f}" for mean in means)]), flush=True)


if __name__ == "__main__":
    main()
