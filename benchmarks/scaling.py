"""Time of the same training in one process and in two, on this machine.

    python benchmarks/scaling.py --data PAIRS --crop 64 --steps 30

The batch is the same, so two processes have half of it each. Reported are the seconds of the updates (the history of
the run has them, so the start is not in) and the processor seconds of all processes from start to end, which other work
on the machine disturbs less.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = Path(__file__).parents[1] / "train.py"


def measure(processes: int, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the updates, and processor seconds in all."""
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--task", args.task, "--data", args.data, "--out", folder + "/run", "--steps", str(args.steps)]
        flags += ["--crop", str(args.crop), "--batch-size", str(args.batch_size), "--threads", "1", "--device", "cpu"]
        command = [sys.executable, *(starter if processes > 1 else []), str(TRAIN), *flags, "--save-every", "1e9"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        last = (Path(folder) / "run" / "history.jsonl").read_text().splitlines()[-1]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(last)["seconds"], cpu


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Train in one process and in two, and compare the times.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="ir-vis")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    rows = {count: measure(count, args) for count in (1, 2)}
    for count, (wall, cpu) in rows.items():
        print(f"{count} processes: {wall:.1f} s for the updates, {cpu:.1f} processor seconds in all")
    print(f"speed-up {rows[1][0] / rows[2][0]:.2f}, efficiency {rows[1][0] / rows[2][0] / 2:.2f}")
    print(f"load of the machine after: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
