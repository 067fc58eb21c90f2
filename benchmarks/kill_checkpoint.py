"""Kill train.py with SIGKILL while it writes a checkpoint, repeatedly, and check what is left each time.

    PYTHONPATH=. python benchmarks/kill_checkpoint.py --data PAIRS --kills 20

Every restart is `train.py --resume` on what the previous kill left. A kill counts as a hit if the temporary file still
exists afterwards, because then it interrupted a write.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from refusion.system.checkpoints import CheckpointError
from refusion.training.run_folder import CHECKPOINT, load_checkpoint

TRAIN = Path(__file__).parents[1] / "train.py"
FLAGS = ["--task", "ir-vis", "--crop", "16", "--batch-size", "1", "--threads", "1", "--steps", "100000"]


def half_written(folder: Path) -> bool:
    """Whether a temporary file of a checkpoint is in the folder."""
    return folder.is_dir() and any(entry.name.startswith(".checkpoint-") for entry in os.scandir(folder))


def kill_while_writing(command: list[str], folder: Path) -> bool:
    """Start a run, kill it in the second write of a checkpoint; whether the write was cut off."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        started = time.time()
        while process.poll() is None:
            fresh = (folder / CHECKPOINT).exists() and (folder / CHECKPOINT).stat().st_mtime > started
            if fresh and half_written(folder):
                break
            time.sleep(0.0002)
        process.send_signal(signal.SIGKILL)
    return half_written(folder)


def main() -> int:
    """Print one line per kill; the exit code is 1 if a checkpoint was lost."""
    parser = argparse.ArgumentParser(description="Kill a training while it writes its checkpoint, and restart it.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    hits, whole, before = 0, 0, -1.0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        for number in range(args.kills):
            resume = ["--resume"] if (out / CHECKPOINT).exists() else []
            command = [sys.executable, str(TRAIN), *FLAGS, "--data", args.data, "--out", str(out), "--save-every", "0"]
            hits += kill_while_writing([*command, *resume], out)
            try:
                state = load_checkpoint(out)
            except CheckpointError as error:
                print(f"kill {number + 1}: {error}", flush=True)
                continue
            now = state["seconds"]  # of training, which only grows
            whole += now > before
            before = now
            print(f"kill {number + 1}: whole checkpoint of step {state['step']}, {hits} hits so far", flush=True)
        print(f"{whole} of {args.kills} kills left a complete, advanced checkpoint; {hits} interrupted a write.")
    return 0 if whole == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
