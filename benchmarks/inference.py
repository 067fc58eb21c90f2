"""Time and memory of fusing one pair: this package compared with the authors' arrangement, in one interleaved run.

    python benchmarks/inference.py --threads 1 --json inference.json

Every contender has a process of its own, which keeps running; in each round they take turns, from two arrays to one.
A turn is two calls: the first finds the caches as the contender before left them, as a single call does, the second as
it left them itself, as in a folder of pairs; the columns of the second end with "again". Ratios are those of medians.
"kept" is the same with an allocator that keeps freed memory (glibc, with three environment variables). The memory is
the peak of the process, including the interpreter and torch.

    python benchmarks/inference.py --device cuda --batch 4

measures on a GPU instead: pairs per second, the peak memory allocated by torch, and the difference of the fused image
from that of float32. `--device cpu` does the same on a CPU, without the memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import describe, write_json
from memory import noise_pair, peak_megabytes
from reference_arrangement import reference_fuse
from torch import Tensor

from refusion.inference.engines.bfloat16 import check_bfloat16
from refusion.inference.engines.dispatch import fuse_luminances
from refusion.inference.network import fuse_luminance
from refusion.models.model import ReFusion
from refusion.tasks import Engine

KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": "268435456"}
REFERENCE = "authors' arrangement"
Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]


def whole(forward: Callable[[Tensor, Tensor], Tensor], device: str = "cpu", batch: int = 1) -> Fuse:
    """From arrays through a network on whole tensors to an array; a batch repeats the pair."""

    def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            tensors = (torch.from_numpy(x)[None, None].to(device).expand(batch, -1, -1, -1) for x in (a, b))
            return forward(*tensors)[0, 0].float().cpu().numpy()

    return run


def exported(model: ReFusion, threads: int) -> Fuse:
    """The exported model in ONNX Runtime, the whole image at once."""
    from refusion.inference.engines.onnx_runtime import InferenceSession, SessionOptions
    from refusion.models.export import export

    options = SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(model, path)
        session = InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return session.run(None, {"a": a[None, None], "b": b[None, None]})[0][0, 0]

    return run


def half_runs(device: str) -> bool:
    """Whether the engine half runs on this device."""
    if device != "cpu":
        return True
    try:
        check_bfloat16()
    except (ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return False
    return True


def cpu_contenders(model: ReFusion, threads: int) -> dict[str, Callable[[], Fuse]]:
    """What is compared on a CPU, by name."""
    contenders: dict[str, Callable[[], Fuse]] = {
        REFERENCE: lambda: whole(lambda a, b: reference_fuse(model, a, b)),
        "FusionModule.forward": lambda: whole(model),
        "refusion": lambda: lambda a, b: fuse_luminance(model, a, b),
        "exported, whole": lambda: exported(model, threads),
    }
    if half_runs("cpu"):
        contenders["refusion, half"] = lambda: lambda a, b: fuse_luminance(model, a, b, engine="half")
    return contenders


def batch_contenders(model: ReFusion, device: str, batch: int) -> dict[str, tuple[Fuse, int]]:
    """What is compared in batches, by name, and how many pairs one call takes."""
    model = model.to(device)
    channels_last = ReFusion(**model.config).to(device).eval().to(memory_format=torch.channels_last)
    channels_last.load_state_dict(model.state_dict())
    compiled = torch.compile(channels_last)

    def autocast(forward: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
        def run(a: Tensor, b: Tensor) -> Tensor:
            with torch.autocast(device, dtype):
                return forward(a, b)

        return run

    def wholes(forward: Callable[[Tensor, Tensor], Tensor]) -> Fuse:
        return whole(forward, device, batch)

    def refusion(engine: Engine | None) -> Fuse:
        return lambda a, b: fuse_luminances(model, [a] * batch, [b] * batch, engine=engine)[0]

    contenders = {
        REFERENCE: (whole(lambda a, b: reference_fuse(model, a, b), device), 1),
        "refusion, one pair": (lambda a, b: fuse_luminance(model, a, b), 1),
        "refusion": (refusion(None), batch),
        "FusionModule.forward": (wholes(model), batch),
        "channels_last": (wholes(channels_last), batch),
        "bf16": (wholes(autocast(channels_last, torch.bfloat16)), batch),
        "compiled": (wholes(compiled), batch),
        "compiled, fp16": (wholes(autocast(compiled, torch.float16)), batch),
    }
    if half_runs(device):
        contenders["refusion, half"] = refusion("half"), batch
    return contenders


def measure(fuse: Fuse, a: np.ndarray, b: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Wall and CPU seconds of one call, page faults, and the fused image."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    wall, cpu = time.perf_counter(), time.process_time()
    fused = fuse(a, b)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"wall": wall, "cpu": cpu, "faults": faults, "peak_mb": peak_megabytes()}, fused


def worker(name: str, args: argparse.Namespace) -> None:
    """Fuse once for every line on standard input, and print what it took."""
    torch.set_num_threads(args.threads)
    model = ReFusion.from_pretrained(args.model)
    a, b = noise_pair(args.width, args.height)
    fuse = cpu_contenders(model, args.threads)[name]()
    _, fused = measure(fuse, a, b)
    expected = whole(model)(a, b) if args.check else fused
    print(json.dumps(float(np.abs(fused - expected).max())), flush=True)
    for _ in sys.stdin:
        first, second = measure(fuse, a, b)[0], measure(fuse, a, b)[0]
        print(json.dumps(first | {f"{key}_again": second[key] for key in ("wall", "cpu")}), flush=True)


def on_cpu(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians of every contender with both allocator settings."""
    names = list(cpu_contenders(ReFusion(), args.threads))
    processes = {}
    for name in names:
        for kept in (False, True):
            environment = {k: v for k, v in os.environ.items() if k not in KEPT}
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
            processes[f"{name}, kept" if kept else name] = subprocess.Popen(
                command,
                env={**environment, **(KEPT if kept else {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    differences = {name: json.loads(process.stdout.readline()) for name, process in processes.items()}
    for _ in range(args.rounds):
        for name, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            rows[name].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    results = {n: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for n, rs in rows.items()}
    return {name: {**values, "difference": differences[name]} for name, values in results.items()}


def in_batches(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians of every contender; a call copies the pairs to the device and one result back."""
    torch.set_num_threads(args.threads)
    a, b = noise_pair(args.width, args.height)
    contenders = batch_contenders(ReFusion.from_pretrained(args.model), args.device, args.batch)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    fused = {name: fuse(a, b) for name, (fuse, _) in contenders.items()}
    for _ in range(args.rounds):
        for name, (fuse, pairs) in contenders.items():
            if args.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            values, _ = measure(fuse, a, b)
            row = {"wall": values["wall"] / pairs, "pairs_per_second": pairs / values["wall"]}
            if args.device == "cuda":
                row["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
            rows[name].append(row)
    results = {n: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for n, rs in rows.items()}
    for name, values in results.items():
        levels = np.abs(fused[name] - fused["FusionModule.forward"]) * 255
        values["difference"] = float(levels.max() / 255)
        values["within_a_level"] = float((levels <= 1).mean())
    return results


def main() -> None:
    """Print a table, and write JSON if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="refusion-ir-vis")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, help="compare calls with this many pairs (default on a GPU: 4)")
    parser.add_argument(
        "--check", action="store_true", help="compare with FusionModule.forward; raises the peak memory"
    )
    parser.add_argument("--json", type=Path, help="write the medians and the machine there")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args)
        return
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA GPU here; leave out --device cuda.")
    if args.device == "cuda":
        args.batch = args.batch or 4
    machine = f"{args.width} x {args.height}, {args.rounds} rounds, {describe(args.threads, args.device)}"
    print(machine)
    results = in_batches(args) if args.batch else on_cpu(args)
    for values in results.values():
        values["ratio"] = results[REFERENCE]["wall"] / values["wall"]
        ratios = ("cpu", "wall_again", "cpu_again") if "cpu" in values else ()
        values |= {f"{key}_ratio": results[REFERENCE][key] / values[key] for key in ratios}
    columns = list(next(iter(results.values())))
    print("| contender |", " | ".join(columns), "|")
    print("| --- |", " | ".join("---:" for _ in columns), "|")
    for name, values in results.items():
        print(f"| {name} |", " | ".join(f"{values[column]:.4g}" for column in columns), "|")
    write_json(args.json, machine, results)


if __name__ == "__main__":
    main()
