"""Scores and time of a model with its attention over the whole image, and over windows of several sizes.

    python benchmarks/attention_window.py --task multi-focus --data VAL --pairs 5 --windows 80 160 320

The weights are not changed. Scores are means over pairs spread over the data set, of the bare network and of the image
as used (with the anchor, output range and colour of the task).
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import numpy as np
from machine import describe

from refusion.inference.engines.dispatch import as_arrays
from refusion.inference.engines.onnx_tiles import OnnxNetwork
from refusion.inference.finishing import finish_pair
from refusion.inference.options import Options
from refusion.inference.preparation import prepare
from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import score
from refusion.metrics.scoring import levels
from refusion.models.model import ReFusion
from refusion.pairs.dataset import load_pairs, picture_files
from refusion.tasks import TASKS, get_task

METRICS = ("SD", "MI", "SCD", "VIF", "Qabf", "SSIM")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True, type=Path, help="pairs, as for train.py")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--windows", type=int, nargs="+", default=[80, 160, 320])
    parser.add_argument("--model", help="the task's own if not given")
    args = parser.parse_args()
    task = get_task(args.task)
    model = ReFusion.from_pretrained(args.model or task.model)
    dataset = load_pairs(args.data, task).dataset
    places = np.unique(np.linspace(0, len(dataset) - 1, args.pairs).astype(int))
    options = Options()
    pairs = [prepare(picture_files(dataset[int(place)]), options, task) for place in places]
    print(describe())
    print(f"| {len(pairs)} pairs, window | image | CPU s | " + " | ".join(METRICS) + " | sharp |")
    print("| --- |" + " --- |" * (len(METRICS) + 3))
    for window in (None, *args.windows):
        network = OnnxNetwork(*as_arrays(model), window)
        start = time.process_time()
        fused = [network.fuse(pair.a.luminance, pair.b.luminance, threads=1) for pair in pairs]
        seconds = time.process_time() - start
        used = [
            finish_pair(x, pair, options.for_task(task)).picture.luminance for x, pair in zip(fused, pairs, strict=True)
        ]
        for name, results in (("bare", fused), ("as used", used)):
            rows = []
            for pair, result in zip(pairs, results, strict=True):
                pictures = levels(pair.a.luminance), levels(pair.b.luminance), levels(result)
                rows.append([*score(*pictures, METRICS).values(), DEFECTS["sharp"].function(*pictures)])
            columns = ([value for value in column if not math.isnan(value)] for column in zip(*rows, strict=True))
            means = " | ".join(f"{statistics.fmean(column):.3f}" for column in columns)
            print(f"| {window or 'whole image'} | {name} | {seconds:.1f} | {means} |", flush=True)


if __name__ == "__main__":
    main()
