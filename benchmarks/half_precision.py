"""How much the engine half differs from the default on a CPU, in grey levels of 255, finished and bare.

    python benchmarks/half_precision.py --task ir-vis --pairs VAL

The share is that of the values that differ by more than one level: the mean over the pairs, and that of the worst pair.
"""

import argparse
from pathlib import Path

import numpy as np

import refusion
from refusion.models.loading import load
from refusion.pairs.jobs import match_folders
from refusion.tasks import TASKS

BARE = {"anchor": "none", "output_range": "network"}


def main() -> None:
    """Print two rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS), required=True)
    parser.add_argument("--pairs", type=Path, required=True, help="folder with both folders of the task")
    args = parser.parse_args()
    task = TASKS[args.task]
    network = load(task.name, None, "cpu", "half")
    first, second = (args.pairs / folder for folder in task.folders)
    pairs = match_folders(first, second, args.pairs / "fused").pairs
    print("| task | pairs | | largest | mean share | worst share |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name, options in (("finished", {}), ("bare", BARE)):
        largest, shares = 0, []
        for pair in pairs:
            exact, half = (
                refusion.fuse(pair.a, pair.b, model=network, engine=engine, **options).to_array()
                for engine in ("onnx", "half")
            )
            levels = np.abs(exact.astype(int) - half) * (255 / np.iinfo(exact.dtype).max)
            largest = max(largest, levels.max())
            shares.append(float((levels > 1).mean()))
        shown = f"{largest:.0f} | {np.mean(shares):.3%} | {max(shares):.3%}"
        print(f"| {task.name} | {len(pairs)} | {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
