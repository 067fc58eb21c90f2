"""Time of the same training in one process and in two, on this machine.

    python benchmarks/scaling.py --data PAIRS --crop 64 --steps 30 --rounds 3 --json scaling.json

They take turns, and the numbers are medians of the rounds. The batch is the same, so two processes have half of it
each. The seconds of the updates (from the history of the run, so without the start-up) and the CPU seconds of all
processes from start to end are reported; the latter are less affected by other work on the machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe, write_json

TRAIN = Path(__file__).parents[1] / "train.py"


def measure(processes: int, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the updates, and total CPU seconds."""
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
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    args = parser.parse_args()
    machine = describe(threads=1)
    rounds = [{count: measure(count, args) for count in (1, 2)} for _ in range(args.rounds)]
    wall, cpu = ({count: statistics.median(one[count][i] for one in rounds) for count in (1, 2)} for i in (0, 1))
    print(machine)
    for count in (1, 2):
        print(f"{count} processes: {wall[count]:.1f} s for the updates, {cpu[count]:.1f} CPU seconds in total")
    speed_up = wall[1] / wall[2]
    print(f"speed-up {speed_up:.2f}, efficiency {speed_up / 2:.2f}")
    write_json(args.json, machine, {"wall": wall, "cpu": cpu, "speed_up": speed_up})
    return 0


if __name__ == "__main__":
    sys.exit(main())
