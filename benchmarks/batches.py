"""Whether a batch of pairs of equal size is faster than one pair after the other, and gives the same image.

    python benchmarks/batches.py --sides 48 128 256 --json batches.json

On a CPU; benchmarks/inference.py compares batches on a GPU. The methods take turns, and the numbers are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe, write_json
from torch import Tensor

from refusion.inference.engines.dispatch import run_network
from refusion.models.model import ReFusion

PAIRS = 16
ROUNDS = 3


def ways(model: ReFusion, a: Tensor, b: Tensor) -> dict[str, Callable[[], list[Tensor]]]:
    """Functions that fuse all pairs, by name; the first is what `refusion.fuse` does."""

    def batches(size: int) -> list[Tensor]:
        return [model(a[i : i + size], b[i : i + size]) for i in range(0, PAIRS, size)]

    return {
        "refusion, one pair": lambda: [run_network(model, a[i : i + 1], b[i : i + 1]) for i in range(PAIRS)],
        "forward, one pair": lambda: batches(1),
        "forward, batches of 4": lambda: batches(4),
        "forward, batches of 16": lambda: batches(16),
    }


def main() -> None:
    """Print a row for each size and way, and write JSON if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[48, 128, 256])
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    args = parser.parse_args()
    machine = describe()
    model = ReFusion.from_pretrained("refusion-ir-vis")
    print(machine)
    print("| side | way | pairs per CPU second | against one after the other | pixels with another grey level |")
    print("| ---: | --- | ---: | ---: | ---: |")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for side in args.sides:
        of_ways = ways(model, *torch.rand(2, PAIRS, 1, side, side, generator=torch.Generator().manual_seed(0)))
        seconds: dict[str, list[float]] = {name: [] for name in of_ways}
        levels = {}
        for _ in range(ROUNDS):
            for name, fuse in of_ways.items():
                start = time.process_time()
                with torch.inference_mode():
                    fused = torch.cat(fuse())
                seconds[name].append(time.process_time() - start)
                levels[name] = (fused * 255).round()
        first = next(iter(of_ways))
        results[str(side)] = {}
        for name in of_ways:
            median = statistics.median(seconds[name])
            row = {
                "pairs_per_cpu_second": PAIRS / median,
                "ratio": statistics.median(seconds[first]) / median,
                "other_levels": (levels[name] != levels[first]).float().mean().item(),
            }
            results[str(side)][name] = row
            print(f"| {side} | {name} | {' | '.join(f'{value:.3g}' for value in row.values())} |", flush=True)
    write_json(args.json, machine, results)


if __name__ == "__main__":
    main()
