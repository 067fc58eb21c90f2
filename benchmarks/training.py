"""Steps per second and peak memory of the two kinds of training step, and the time for decoding.

    python benchmarks/training.py --crops 64 128 256 --json training.json

"outer" is one (inner, outer) pair: the forward-mode product of this package compared with a double backward through the
authors' arrangement (benchmarks/reference_arrangement.py) of all three modules. "fusion" is one fusion update, in this
package's arrangement and in the authors'. Every measurement has a process of its own, with a warm-up step of the same
size before the timed ones; they take turns, and ratios are those of medians. The processes of this package keep freed
memory, as train.py does (refusion/system/allocator.py). The memory is the growth of the process. With --data the time
to decode and crop one batch is measured too.
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
from reference_arrangement import ReferenceFusionModule, ReferenceLossProposalModule, ReferenceReconstructionModule

from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule
from refusion.pairs.dataset import load_pairs
from refusion.system.allocator import keep_freed_memory
from refusion.tasks import get_task
from refusion.training.crops import CropBatches, CropTransform, PairReader, exchange
from refusion.training.updates import (
    MetaOptions,
    Modules,
    fusion_loss_and_reconstruction_loss,
    outer_gradient,
)

METHODS = ("outer, refusion", "outer, reference", "fusion, refusion", "fusion, reference")


def step(method: str, modules: Modules, inner: tuple, outer: tuple, options: MetaOptions) -> None:
    """One step of the given kind; no weight is changed."""
    if method.startswith("outer"):
        gradient = outer_gradient if method.endswith("refusion") else outer_gradient_by_double_backward
        gradient(modules, inner, outer, 0.5, options)
        return
    losses = fusion_loss_and_reconstruction_loss(modules, inner, 0.5, options)
    torch.stack(losses).sum().backward()


def measure(method: str, crop: int, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of one step in this process, after one to warm up, and the megabytes by which it grew."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if method.endswith("refusion"):
        keep_freed_memory()
        modules = Modules(FusionModule(), LossProposalModule(), ReconstructionModule())
    else:
        reference = ReferenceFusionModule(), ReferenceLossProposalModule(), ReferenceReconstructionModule()
        modules = Modules(*reference)
    options = MetaOptions(1e-4, 0.0, False, False, torch.Generator().manual_seed(0))

    def batch(side: int) -> tuple[torch.Tensor, torch.Tensor]:
        return exchange(*torch.rand(2, args.batch_size, 1, side, side))

    step(method, modules, batch(16), batch(16), options)
    inner, outer = batch(crop), batch(crop)
    before = peak_megabytes()
    step(method, modules, inner, outer, options)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(args.steps):
        step(method, modules, inner, outer, options)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"wall": wall / args.steps, "cpu": cpu / args.steps, "mb": peak_megabytes() - before}


def decoding(args: argparse.Namespace, crop: int) -> dict[str, float]:
    """Seconds to decode and crop one batch, with nothing cached and after a first pass over the pairs."""
    pairs = load_pairs(args.data, get_task(args.task))
    seconds = {}
    for name, cache in (("decoded", 0), ("cached", 2 * 1024**3)):
        batches = CropBatches(PairReader(pairs, cache), CropTransform(crop), args.batch_size, 0)
        for _ in range(20):
            next(batches)
        start = time.process_time()
        for _ in range(20):
            next(batches)
        seconds[name] = (time.process_time() - start) / 20
    return seconds


def main() -> None:
    """Print a table, and write JSON if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--batch-size", type=int, default=2, help="pairs, before the input exchange doubles them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="pairs, as for train.py, to measure decoding with")
    parser.add_argument("--task", default="ir-vis", help="task of the pairs (default: ir-vis)")
    parser.add_argument("--json", type=Path, help="write the medians and the machine there")
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.crops[0], args)))
        return
    machine = f"batch {args.batch_size} x 2, {describe(args.threads)}"
    print(machine)
    print("| crop | step | wall s | CPU s | steps per CPU second | MB |\n| ---: | --- | ---: | ---: | ---: | ---: |")
    results = {}
    for crop in args.crops:
        rows: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for _ in range(args.rounds):
            for method, measured in rows.items():
                flags = ["--one", method, "--crops", str(crop), "--batch-size", str(args.batch_size)]
                command = [sys.executable, __file__, *flags, "--threads", str(args.threads), "--steps", str(args.steps)]
                measured.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        medians = {m: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for m, rs in rows.items()}
        for method, v in medians.items():
            print(
                f"| {crop} | {method} | {v['wall']:.2f} | {v['cpu']:.2f} | {1 / v['cpu']:.2f} | {v['mb']:.0f} |",
                flush=True,
            )
        for kind in ("outer", "fusion"):
            ours, reference = medians[f"{kind}, refusion"], medians[f"{kind}, reference"]
            time_ratio, memory_ratio = reference["cpu"] / ours["cpu"], reference["mb"] / max(1, ours["mb"])
            print(f"| {crop} | {kind}: ratio | | {time_ratio:.2f} | | {memory_ratio:.2f} |", flush=True)
            medians[f"{kind}, ratio"] = {"cpu": time_ratio, "mb": memory_ratio}
        if args.data:
            medians["batch"] = decoding(args, crop)
            print(f"| {crop} | batch, decoded | | {medians['batch']['decoded']:.4f} | | |")
            print(f"| {crop} | batch, cached | | {medians['batch']['cached']:.4f} | | |", flush=True)
        results[crop] = medians
    write_json(args.json, machine, results)


if __name__ == "__main__":
    main()
