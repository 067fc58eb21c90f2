"""Time and peak memory of a whole call on a large image, compared with a small one in the same process.

    python benchmarks/large.py --width 6000 --height 4000 --json large.json

The call is `ReFusion.fuse` on two 8-bit grey arrays: network, anchor and output range. The peak is that of the process,
including the interpreter and torch; small pairs are fused before and after.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from machine import describe, write_json
from memory import peak_megabytes

from refusion.models.model import ReFusion


def seconds_for_a_megapixel(model: ReFusion, width: int, height: int) -> dict[str, float]:
    """CPU and wall seconds of one call, divided by the megapixels."""
    a, b = np.random.default_rng(0).integers(0, 256, (2, height, width), dtype=np.uint8)
    cpu, wall = time.process_time(), time.perf_counter()
    model.fuse(a, b)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    megapixels = width * height / 1e6
    return {"cpu": cpu / megapixels, "wall": wall / megapixels}


def main() -> None:
    """Print both times, their ratio and the peak, and write JSON if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="refusion-ir-vis")
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    machine = describe(args.threads)
    model = ReFusion.from_pretrained(args.model)
    before = [seconds_for_a_megapixel(model, 640, 480) for _ in range(3)]
    large = seconds_for_a_megapixel(model, args.width, args.height)
    peak = peak_megabytes() / 1000
    after = [seconds_for_a_megapixel(model, 640, 480) for _ in range(3)]
    small = {key: statistics.median(call[key] for call in before + after) for key in large}
    results = {
        "640 x 480": small,
        f"{args.width} x {args.height}": large,
        "ratio": {key: large[key] / small[key] for key in large},
    }
    print(machine)
    for name, values in results.items():
        unit = "" if name == "ratio" else " s per megapixel"
        print(f"{name}: " + ", ".join(f"{key} {value:.2f}{unit}" for key, value in values.items()))
    print(f"peak {peak:.2f} GB, {large['wall'] * args.width * args.height / 1e6:.0f} s")
    write_json(args.json, machine, {**results, "peak_gb": peak})


if __name__ == "__main__":
    main()
