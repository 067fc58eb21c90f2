"""Peak memory of fusing one pair of noise images, above that of the loaded model.

python benchmarks/memory.py --width 1000 --height 1000
"""

import argparse
import resource
from pathlib import Path

import numpy as np
from machine import describe, write_json

from refusion.inference.network import fuse_luminance
from refusion.models.model import ReFusion


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def noise_pair(width: int, height: int) -> np.ndarray:
    """Two noise images, float32 (2, height, width) in [0, 1)."""
    return np.random.default_rng(0).random((2, height, width), dtype=np.float32)


def added_megabytes(model: ReFusion, a: np.ndarray, b: np.ndarray) -> float:
    """What the first fusion in this process adds to its peak memory."""
    before = peak_megabytes()
    fuse_luminance(model, a, b)
    return peak_megabytes() - before


def main() -> None:
    """Print megabytes, and megabytes per megapixel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    args = parser.parse_args()
    grown = added_megabytes(ReFusion().eval(), *noise_pair(args.width, args.height))
    each, machine = grown / (args.width * args.height / 1e6), describe()
    print(machine)
    print(f"{args.width} x {args.height}: {grown:.0f} MB, {each:.0f} MB for each megapixel")
    write_json(args.json, machine, {"megabytes": grown, "megabytes_a_megapixel": each})


if __name__ == "__main__":
    main()
