"""Whether a batch of pairs of one size is faster than one pair after the other, and whether it gives the same picture.

python benchmarks/batches.py --sides 48 128 256
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from refusion.model import ReFusion
from refusion.strips import fuse_in_strips

PAIRS = 16
ROUNDS = 3


def ways(model: ReFusion, a: Tensor, b: Tensor) -> dict[str, Callable[[], list[Tensor]]]:
    """Functions that fuse all pairs, by name; the first is what `refusion.fuse` does."""

    def batches(size: int) -> list[Tensor]:
        return [model(a[i : i + size], b[i : i + size]) for i in range(0, PAIRS, size)]

    return {
        "strips, one pair": lambda: [fuse_in_strips(model, a[i : i + 1], b[i : i + 1]) for i in range(PAIRS)],
        "forward, one pair": lambda: batches(1),
        "forward, batches of 4": lambda: batches(4),
        "forward, batches of 16": lambda: batches(16),
    }


def main() -> None:
    """Print a row for each size and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[48, 128, 256])
    args = parser.parse_args()
    model = ReFusion.from_pretrained("refusion-ir-vis")
    print("| side | way | pairs a CPU second | pixels with another grey level |")
    for side in args.sides:
        a, b = torch.rand(2, PAIRS, 1, side, side, generator=torch.Generator().manual_seed(0))
        reference = None
        for name, fuse in ways(model, a, b).items():
            seconds = []
            for _ in range(ROUNDS):
                start = time.process_time()
                with torch.inference_mode():
                    fused = torch.cat(fuse())
                seconds.append(time.process_time() - start)
            levels = (fused * 255).round()
            reference = levels if reference is None else reference
            other = (levels != reference).float().mean().item()
            print(f"| {side} | {name} | {PAIRS / min(seconds):.1f} | {other:.1e} |", flush=True)


if __name__ == "__main__":
    main()
