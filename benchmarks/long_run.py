"""Train for some minutes and record the memory of the process.

    python benchmarks/long_run.py --data PAIRS --minutes 30 --crop 32

Prints the resident memory over time, and its slope over the second half of the run, when pairs have been decoded, the
allocator has grown, and curves and checkpoints have been written many times. Reads /proc, so it runs on Linux only.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TRAIN = Path(__file__).parents[1] / "train.py"


def resident_megabytes(process: int) -> float | None:
    """Resident memory of a process; None once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("VmRSS:")]
    return int(found[0][1]) / 1024 if found else None


def watch(command: list[str], every: float) -> list[tuple[float, float]]:
    """Run a command to its end; (seconds since its start, megabytes) at every look."""
    rows = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        start = time.monotonic()
        while process.poll() is None:
            if (megabytes := resident_megabytes(process.pid)) is not None:
                rows.append((time.monotonic() - start, megabytes))
            time.sleep(every)
    if process.returncode:
        raise SystemExit(f"train.py ended with {process.returncode}.")
    return rows


def main() -> int:
    """Print a table of the memory and its slope."""
    parser = argparse.ArgumentParser(description="Train and watch the memory.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="ir-vis")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--every", type=float, default=2, help="seconds between measurements")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        flags = ["--task", args.task, "--data", args.data, "--out", str(out), "--minutes", str(args.minutes)]
        command = [sys.executable, str(TRAIN), *flags, "--crop", str(args.crop), "--threads", "1", "--save-every", "10"]
        rows = np.array(watch(command, args.every))
        updates = (out / "history.jsonl").read_text().splitlines()[-1]
    print(f"last line of the history: {updates}")
    print("minute  MB")
    for minute in range(int(rows[-1, 0] / 60) + 1):
        at = rows[np.abs(rows[:, 0] - 60 * minute).argmin()]
        print(f"{at[0] / 60:6.1f}  {at[1]:.1f}")
    late = rows[rows[:, 0] > rows[-1, 0] / 2]
    slope, _ = np.polyfit(late[:, 0] / 60, late[:, 1], 1)
    print(f"second half: {late[:, 1].min():.1f} to {late[:, 1].max():.1f} MB, slope {slope:+.3f} MB a minute")
    return 0


if __name__ == "__main__":
    sys.exit(main())
