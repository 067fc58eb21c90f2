"""Time and peak memory of a whole call on a large picture, against a small one in the same process.

    python benchmarks/large.py --width 6000 --height 4000

The call is `ReFusion.fuse` from two 8-bit grey arrays to a picture: the network, the anchor, the output range. The peak
is that of the process, with the interpreter and torch in it; small pairs are fused before and after.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
from memory import peak_megabytes

from refusion.model import ReFusion


def cpu_seconds_for_a_megapixel(model: ReFusion, width: int, height: int) -> float:
    """CPU seconds of one call, divided by the megapixels."""
    a, b = np.random.default_rng(0).integers(0, 256, (2, height, width), dtype=np.uint8)
    start = time.process_time()
    model.fuse(a, b)
    return (time.process_time() - start) / (width * height / 1e6)


def main() -> None:
    """Print both times, their ratio and the peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="refusion-ir-vis")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = ReFusion.from_pretrained(args.model)
    small = [cpu_seconds_for_a_megapixel(model, 640, 480) for _ in range(3)]
    large = cpu_seconds_for_a_megapixel(model, args.width, args.height)
    peak = peak_megabytes()
    small += [cpu_seconds_for_a_megapixel(model, 640, 480) for _ in range(3)]
    usual = statistics.median(small)
    print(f"torch {torch.__version__}, {args.threads} thread(s), load {os.getloadavg()[0]:.1f}")
    print(f"640 x 480: {usual:.2f} CPU s for a megapixel; {args.width} x {args.height}: {large:.2f}")
    print(f"ratio {large / usual:.2f}, peak {peak / 1000:.2f} GB")


if __name__ == "__main__":
    main()
