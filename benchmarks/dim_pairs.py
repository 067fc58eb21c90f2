"""Fuse each pair unchanged, at half the brightness and at half the contrast, and score all three the same way.

    PYTHONPATH=. python benchmarks/dim_pairs.py --task ir-vis --data VAL

Brightness and contrast of the fused image are restored before it is scored against the unchanged sources, because the
metrics have absolute constants. "levels" is the mean difference from the fused image of the unchanged pair, in grey
levels of 255.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from refusion.inference.fuse import fuse_sources
from refusion.inference.options import Options
from refusion.metrics.fusion import score
from refusion.models.model import ReFusion
from refusion.pairs.dataset import load_pairs, read_row
from refusion.tasks import TASKS, get_task

BARE = Options(output_range="network", anchor="none")
METRICS = ("VIF", "Qabf", "MI", "SCD", "SSIM")
Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, tuple[Change, Change]] = {
    "as it is": (lambda x: x, lambda x: x),
    "half the brightness": (lambda x: x / 2, lambda x: 2 * x),
    "half the contrast": (lambda x: 0.25 + x / 2, lambda x: 2 * (x - 0.25)),
}


def main() -> None:
    """Print a table of means over the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True, help="pairs, as for train.py")
    parser.add_argument("--every", type=int, default=1, help="take every n-th pair only")
    parser.add_argument("--model", help="name, folder or OWNER/NAME; by default that of the task")
    args = parser.parse_args()
    task = get_task(args.task)
    model = ReFusion.from_pretrained(args.model or task.model)
    rows: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    pairs = load_pairs(args.data, task).dataset
    for row in pairs.select(range(0, len(pairs), args.every)):
        a, b = read_row(row)
        as_it_is: dict[str, np.ndarray] = {}
        for change, (apply, undo) in CHANGES.items():
            for kind, options in (("bare", BARE), ("finished", Options())):
                fused = undo(fuse_sources(model, apply(a), apply(b), options, task).picture.luminance)
                levels = np.rint(255 * np.clip(fused, 0, 1)).astype(np.float64)
                difference = float(np.abs(levels - as_it_is.setdefault(kind, levels)).mean())
                scores = score(255 * a.astype(np.float64), 255 * b.astype(np.float64), levels, METRICS)
                rows[kind, change].append([*(scores[name] for name in METRICS), difference])
    print(" | ".join(["", "", *METRICS, "levels"]))
    for (kind, change), values in sorted(rows.items()):
        print(" | ".join([kind, change, *(f"{value:.3f}" for value in np.mean(values, axis=0))]))


if __name__ == "__main__":
    main()
