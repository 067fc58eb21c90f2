"""Peak memory of fusing one pair of noise pictures, above what the loaded model takes.

python benchmarks/memory.py --width 1000 --height 1000
"""

import argparse
import resource

import numpy as np

from refusion.model import ReFusion
from refusion.pipeline import fuse_luminance


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print megabytes, and megabytes for each megapixel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1000)
    args = parser.parse_args()
    model = ReFusion().eval()
    a, b = np.random.default_rng(0).random((2, args.height, args.width), dtype=np.float32)
    before = peak_megabytes()
    fuse_luminance(model, a, b)
    grown = peak_megabytes() - before
    print(f"{grown:.0f} MB, {grown / (args.width * args.height / 1e6):.0f} MB for each megapixel")


if __name__ == "__main__":
    main()
