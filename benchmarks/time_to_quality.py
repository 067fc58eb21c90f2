"""Train from scratch and score the bare network along the way.

    python benchmarks/time_to_quality.py --task ir-vis --data PAIRS --val VAL -- --minutes 60

Everything after ``--`` is passed to train.py. The weights are copied every few minutes and scored after the training,
so that scoring does not slow it down: the bare network, without anchor and output range. They are those of the last
checkpoint, so --every must not be shorter than the --save-every of train.py.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from refusion.hub.folder import CONFIG, WEIGHTS
from refusion.metrics.fusion import score
from refusion.models.model import ReFusion
from refusion.pairs.dataset import Pairs, load_pairs, read_row
from refusion.system.checkpoints import load_plain
from refusion.tasks import TASKS, get_task
from refusion.training.flags import make_parser
from refusion.training.run_folder import CHECKPOINT

TRAIN = Path(__file__).parents[1] / "train.py"
FIGURES = ("VIF", "Qabf", "MI", "SCD", "SSIM")


def check_interval(every: float, save_every: float) -> None:
    """Check that there is a new checkpoint for each copy.

    Args:
        every: interval of the copies in seconds.
        save_every: interval of the checkpoints in seconds.

    Raises:
        ValueError: there is none.
    """
    if not every > 0:
        raise ValueError(f"--every is {every / 60:g}; it must be above 0 minutes.")
    if every < save_every:
        raise ValueError(
            f"--every is {every / 60:g} minutes, but train.py writes its weights only every {save_every:g} seconds, so "
            f"rows would repeat; give --every {save_every / 60:.3g} or more, or --save-every {every:g} after the --."
        )


def train(command: list[str], run: Path, copies: Path, every: float) -> list[Path]:
    """Run train.py and copy its weights at this interval in seconds; returns the folders of the copies."""
    taken: list[Path] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        due = time.monotonic() + every
        while process.poll() is None:
            time.sleep(1)
            if time.monotonic() >= due and (run / WEIGHTS).is_file():
                taken.append(copy(run, copies / str(len(taken))))
                due += every
    if process.returncode:
        raise SystemExit(f"train.py ended with {process.returncode}.")
    return [*taken, copy(run, copies / "last")]


def copy(run: Path, to: Path) -> Path:
    """Copy the fusion module and the checkpoint of a run."""
    to.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS, CHECKPOINT):
        shutil.copyfile(run / name, to / name)
    return to


def scores_of(folder: Path, pairs: Pairs) -> dict[str, float]:
    """Mean scores of the bare network over the pairs."""
    model = ReFusion.from_pretrained(folder)
    rows = []
    for row in pairs.dataset:
        a, b = read_row(row)
        fused = model.fuse(a, b, output_range="network", anchor="none").to_array(8).astype(np.float64)
        scores = score(255 * a.astype(np.float64), 255 * b.astype(np.float64), fused, FIGURES)
        rows.append([scores[name] for name in FIGURES])
    return dict(zip(FIGURES, np.mean(rows, axis=0), strict=True))


def main() -> int:
    """Print a line for each copy: minutes of training, updates, scores."""
    parser = argparse.ArgumentParser(description="Train from scratch and score along the way.")
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True)
    parser.add_argument("--val", required=True)
    parser.add_argument("--out", type=Path, help="folder for the trained model; removed at the end if not given")
    parser.add_argument("--every", type=float, default=10, help="minutes between copies")
    parser.add_argument("flags", nargs="*", help="for train.py, after --")
    args = parser.parse_args()
    try:
        check_interval(60 * args.every, make_parser().parse_args(["--out", "run", *args.flags]).save_every)
    except ValueError as error:
        parser.error(str(error))
    pairs = load_pairs(args.val, get_task(args.task))
    with tempfile.TemporaryDirectory() as folder:
        run = args.out or Path(folder) / "run"
        command = [sys.executable, str(TRAIN), "--task", args.task, "--data", args.data, "--out", str(run), *args.flags]
        copies = train(command, run, Path(folder) / "copies", 60 * args.every)
        print("minutes  updates  " + "  ".join(f"{name:>6}" for name in FIGURES))
        for taken in copies:
            state = load_plain(taken / CHECKPOINT)
            scores = scores_of(taken, pairs)
            figures = "  ".join(f"{scores[name]:6.3f}" for name in FIGURES)
            print(f"{state['seconds'] / 60:7.1f}  {state['step']:7d}  {figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
