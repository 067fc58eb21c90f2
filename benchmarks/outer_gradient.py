"""Time and peak memory of the outer gradient: one forward-mode product compared with a double backward.

    python benchmarks/outer_gradient.py --crops 64 128 --json outer.json

Each of the two runs in a process of its own, so that peak memories are separate; they take turns, and the median over
the rounds is printed. The memory is the growth of the process above the modules and the data.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from double_backward import outer_gradient_by_double_backward
from machine import describe, write_json
from memory import peak_megabytes

from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule
from refusion.training.crops import exchange
from refusion.training.updates import MetaOptions, Modules, outer_gradient

METHODS = {"forward mode": outer_gradient, "double backward": outer_gradient_by_double_backward}


def measure(method: str, crop: int, batch_size: int, threads: int) -> dict[str, float]:
    """Seconds and megabytes of one outer gradient in this process, after one small warm-up."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    modules = Modules(FusionModule(), LossProposalModule(), ReconstructionModule())
    options = MetaOptions(1e-4, 0.0, False, False, torch.Generator().manual_seed(0))

    def batch(side: int) -> tuple[torch.Tensor, torch.Tensor]:
        return exchange(*torch.rand(2, batch_size, 1, side, side))

    METHODS[method](modules, batch(16), batch(16), 0.5, options)
    inner, outer = batch(crop), batch(crop)
    before = peak_megabytes()
    start = time.perf_counter()
    METHODS[method](modules, inner, outer, 0.5, options)
    return {"seconds": time.perf_counter() - start, "megabytes": peak_megabytes() - before}


def main() -> None:
    """Print a table of both methods for each crop size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--batch-size", type=int, default=2, help="pairs, before the input exchange doubles them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.crops[0], args.batch_size, args.threads)))
        return
    machine, figures = describe(args.threads), {}
    print(machine)
    print(f"{'crop':>5} {'method':<16} {'seconds':>8} {'MB':>7}")
    for crop in args.crops:
        results: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for _ in range(args.rounds):
            for method, rows in results.items():
                flags = ["--one", method, "--crops", str(crop), "--batch-size", str(args.batch_size)]
                command = [sys.executable, __file__, *flags, "--threads", str(args.threads)]
                rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        median = {m: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for m, rows in results.items()}
        for method, values in median.items():
            print(f"{crop:>5} {method:<16} {values['seconds']:>8.2f} {values['megabytes']:>7.0f}")
        slow, fast = median["double backward"], median["forward mode"]
        ratios = slow["seconds"] / fast["seconds"], slow["megabytes"] / fast["megabytes"]
        print(f"{crop:>5} {'ratio':<16} {ratios[0]:>8.2f} {ratios[1]:>7.2f}")
        figures[crop] = median
    write_json(args.json, machine, figures)


if __name__ == "__main__":
    main()
