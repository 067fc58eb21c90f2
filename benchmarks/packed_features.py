"""What storing the features of an image in 16 bits, as is done for large images, changes in small ones.

    python benchmarks/packed_features.py --task ir-vis --pairs VAL

Differences are of luminance in [0, 1]; the times are of the network.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from refusion.images import read_picture
from refusion.inference.anchors import anchor_luminance
from refusion.inference.engines import onnx_tiles
from refusion.inference.network import Network, fuse_luminance
from refusion.models.loading import load
from refusion.pairs.jobs import match_folders
from refusion.tasks import TASKS


def timed(network: Network, a: np.ndarray, b: np.ndarray, packed_from: int) -> tuple[np.ndarray, float]:
    """Fused luminance, and CPU seconds."""
    onnx_tiles.PACKED_FROM = packed_from
    begin = time.process_time()
    fused = fuse_luminance(network, a, b, engine="onnx")
    return fused, time.process_time() - begin


def main() -> None:
    """Print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS), required=True)
    parser.add_argument("--pairs", type=Path, required=True, help="folder with both folders of the task")
    args = parser.parse_args()
    task = TASKS[args.task]
    network, never = load(task.name, None, "cpu"), 1 << 60
    before, after, means, seconds = 0.0, 0.0, [], np.zeros(2)
    first, second = (args.pairs / folder for folder in task.folders)
    for pair in match_folders(first, second, args.pairs / "fused").pairs:
        a, b = (read_picture(file).luminance for file in (pair.a, pair.b))
        timed(network, a, b, never)
        results, times = zip(*(timed(network, a, b, packed_from) for packed_from in (never, 0)), strict=True)
        seconds += times
        before = max(before, float(np.abs(results[0] - results[1]).max()))
        plain, packed = (anchor_luminance(result, a, b, task.anchor) for result in results)
        after = max(after, float(np.abs(plain - packed).max()))
        means.append(float(np.abs(plain - packed).mean()))
    print("| task | largest, of the network | largest, anchored | mean, anchored | CPU s, 32 bits | CPU s, 16 bits |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    of_all = f"{before:.1e} | {after:.1e} | {np.mean(means):.1e} | {seconds[0]:.1f} | {seconds[1]:.1f}"
    print(f"| {task.name} | {of_all} |")


if __name__ == "__main__":
    main()
