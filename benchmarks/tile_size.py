"""Time of fusing one pair on a CPU with tiles and steps of several sizes.

    python benchmarks/tile_size.py --model refusion-multi-focus --threads 2 --tiles 96x112 64x96 --json tile_size.json
    python benchmarks/tile_size.py --tiles 64x96 --steps 0 64

The sizes take turns in one process; before each round, an array larger than the processor's caches is written, as other
work would do. Ratios are those of medians to the first size.
"""

import argparse
import statistics
import time
from itertools import product
from pathlib import Path

import numpy as np
from machine import describe, write_json
from memory import noise_pair

from refusion.inference.engines import onnx_tiles
from refusion.models.bundled import load_bundled


def size(text: str) -> tuple[int, int]:
    """Rows and columns from ``ROWSxCOLUMNS``."""
    rows, _, columns = text.partition("x")
    return int(rows), int(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description="time of tile sizes on a CPU")
    parser.add_argument("--model", default="refusion-ir-vis", help="a bundled model")
    parser.add_argument("--tiles", nargs="+", type=size, default=[(96, 112), (64, 96)], metavar="ROWSxCOLUMNS")
    parser.add_argument("--steps", nargs="+", type=int, default=[64], metavar="MIB", help="results that a step keeps")
    parser.add_argument("--width", type=int, default=640, help="width of the pair")
    parser.add_argument("--height", type=int, default=480, help="height of the pair")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=15, help="calls with each size")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()

    network = load_bundled(args.model).network
    a, b = noise_pair(args.width, args.height)
    contenders = list(product(args.tiles, args.steps))
    seconds: dict[tuple[tuple[int, int], int], list[float]] = {one: [] for one in contenders}
    for tile in args.tiles:
        network.fuse(a, b, tile=tile, threads=args.threads)
    for _ in range(args.rounds):
        np.ones(1 << 26)
        for tile, step in contenders:
            onnx_tiles.BYTES_OF_STEP = step << 20
            start = time.perf_counter()
            network.fuse(a, b, tile=tile, threads=args.threads)
            seconds[tile, step].append(time.perf_counter() - start)
    machine = describe(args.threads)
    print(machine)
    first = statistics.median(seconds[contenders[0]])
    results = {}
    for ((rows, columns), step), taken in seconds.items():
        median = statistics.median(taken)
        name = f"{rows}x{columns}, {step} MiB"
        results[name] = {"median": median, "least": min(taken), "ratio": first / median}
        print(f"{name}: median {median:.3f} s, least {min(taken):.3f} s, ratio {first / median:.2f}")
    write_json(args.json, machine, results)


if __name__ == "__main__":
    main()
