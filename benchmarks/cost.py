"""What a model costs: parameters, arithmetic, time and memory of one pair, and size on disk.

    python benchmarks/cost.py --threads 1

Time and memory are those of the fusion module for a pair of noise images, in a process of its own: the memory is what
the first pair adds to that of the loaded model, the time is the median over --rounds further pairs. Reading and writing
images is not included. FLOPs are counted by torch.utils.flop_counter, which counts the multiplications and additions of
convolutions and matrix products, but no element-wise operations, norms or softmaxes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from machine import describe, write_json
from memory import added_megabytes, noise_pair
from torch.utils.flop_counter import FlopCounterMode

from refusion.hub.folder import WEIGHTS
from refusion.hub.names import bundled_folder
from refusion.inference.network import fuse_luminance
from refusion.models.model import ReFusion
from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule
from refusion.tasks import TASKS


def parameters(module: torch.nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops(width: int, height: int) -> int:
    """FLOPs of the fusion module over one pair; on the meta device, so that nothing is computed."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        FusionModule().eval()(*torch.empty(2, 1, 1, height, width))
    return counter.get_total_flops()


def measure(width: int, height: int, rounds: int, threads: int) -> dict[str, float]:
    """Seconds of a pair and megabytes that the first one adds, in this process."""
    torch.set_num_threads(threads)
    model, (a, b) = ReFusion().eval(), noise_pair(width, height)
    megabytes = added_megabytes(model, a, b)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        fuse_luminance(model, a, b)
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "megabytes": megabytes}


def measure_apart(arguments: list[str]) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, *arguments, "--measure"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def bundled_sizes() -> dict[str, int]:
    """Bytes of the fusion weights that come with the package, by name of the model."""
    folders = {task.model: bundled_folder(task.model) for task in TASKS.values()}
    return {name: (folder / WEIGHTS).stat().st_size for name, folder in folders.items() if folder is not None}


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=5, help="timed pairs, after one to warm up (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for name in ("width", "height", "rounds", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; it must be at least 1.")
    if args.measure:
        print(json.dumps(measure(args.width, args.height, args.rounds, args.threads)))
        return
    measured = measure_apart(sys.argv[1:])
    modules = (FusionModule(), LossProposalModule(), ReconstructionModule())
    fusion, proposal, reconstruction = map(parameters, modules)
    pair = f"of one {args.width} x {args.height} pair"
    rows = [
        ("parameters of the fusion module (the only one needed to fuse)", f"{fusion:,}"),
        ("parameters of the loss proposal module (training only)", f"{proposal:,}"),
        ("parameters of the reconstruction module (training only)", f"{reconstruction:,}"),
        ("parameters of the three modules", f"{fusion + proposal + reconstruction:,}"),
        (f"FLOPs {pair} (convolutions and matrix products)", f"{flops(args.width, args.height) / 1e9:.1f} G"),
        (f"seconds {pair}", f"{measured['seconds']:.2f}"),
        (f"peak memory {pair}, above the loaded model", f"{measured['megabytes']:.0f} MB"),
        *((f"weights of {name} on disk", f"{size / 1e6:.2f} MB") for name, size in bundled_sizes().items()),
    ]
    machine = describe(args.threads)
    print(machine + "\n")
    width = max(len(name) for name, _ in rows)
    for name, value in [("cost", "value"), ("-" * width, "-" * 9 + ":"), *rows]:
        print(f"| {name:<{width}} | {value:>10} |")
    write_json(args.json, machine, dict(rows))


if __name__ == "__main__":
    main()
