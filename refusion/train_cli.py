"""The command line of train.py."""

import argparse
import json
import platform
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from refusion import __version__
from refusion.data import DataError, Pairs, load_pairs
from refusion.files import write_text
from refusion.hub import local_folder, locate, read_config
from refusion.model import ReFusion
from refusion.preview import save_preview
from refusion.run_folder import (
    CHECKPOINT,
    append_history,
    load_checkpoint,
    save_checkpoint,
    save_models,
    trim_history,
)
from refusion.tasks import TASKS, get_task
from refusion.trainer import MetaTrainer, TrainingError, with_steps
from refusion.trainer import Progress as TrainingProgress
from refusion.training_settings import (
    DEFAULT_PRESET,
    PRESET_MINUTES,
    PRESETS,
    TrainingSettings,
    preset_settings,
)

PREVIEW_PAIRS = 3
PREVIEW_SIDE = 192
HISTORY_STEPS = 10
PRINT_SECONDS = 30


def make_parser() -> argparse.ArgumentParser:
    """The flags: what to train on, for how long, and one for each hyperparameter."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Meta-train the fusion, loss proposal and reconstruction modules on a set of registered pairs.",
    )
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True, help="folder, imagefolder, Parquet file or Hub data set of pairs")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument(
        "--preset", default=DEFAULT_PRESET, choices=list(PRESETS), help=f"hyperparameters (default: {DEFAULT_PRESET})"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="fusion updates in all")
    budget.add_argument("--minutes", type=float, help="time budget of the whole run")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="start from this model's three modules")
    parser.add_argument(
        "--new-proposal", action="store_true", help="with --from: the loss proposal module starts anew, from its gains"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast in the fusion update")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch chooses)")
    parser.add_argument("--split", default="train", help="split of a Hub data set")
    parser.add_argument("--streaming", action="store_true", help="read a data set too large for memory row by row")
    parser.add_argument("--skip-bad", action="store_true", help="leave out pairs that do not fit, and list them")
    parser.add_argument("--save-every", type=float, default=60, help="seconds between checkpoints")
    parser.add_argument("--preview-every", type=float, default=120, help="seconds between preview pictures")
    hyper = parser.add_argument_group("hyperparameters (default: the preset's)")
    for setting in fields(TrainingSettings):
        flag = f"--{setting.name.replace('_', '-')}"
        about = setting.metadata["help"]
        values = ", ".join(f"{name}: {values_in(name, setting.name)}" for name in PRESETS)
        if setting.type is bool:
            hyper.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=f"{about} ({values})")
        else:
            choices = setting.metadata["choices"] or None
            hyper.add_argument(flag, type=setting.type, choices=choices, help=f"{about} ({values})".replace("%", "%%"))
    return parser


def values_in(preset: str, setting: str) -> str:
    """The value that a preset gives a setting; one for each task where they differ."""
    by_task = {task: getattr(preset_settings(preset, task), setting) for task in TASKS}
    if len(set(by_task.values())) == 1:
        return str(by_task.popitem()[1])
    return " ".join(f"{value} {task}" for task, value in by_task.items())


def keeps_gains(args: argparse.Namespace, start: Path) -> bool:
    """Whether a run goes on from the gains of the model it starts from: one of its own task, and none given here."""
    given = [args.intensity_brightness, args.intensity_contrast, args.gradient_contrast]
    return given == [None] * 3 and read_config(start, ReFusion)["task"] == args.task


def check_device(name: str) -> None:
    """Try the device before anything is loaded.

    Raises:
        ValueError: torch does not know or have it.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from error


def settings_from(args: argparse.Namespace) -> TrainingSettings:
    """The preset with the given flags put over it.

    Raises:
        ValueError: a value is out of range.
    """
    given = {f.name: getattr(args, f.name) for f in fields(TrainingSettings) if getattr(args, f.name) is not None}
    return replace(preset_settings(args.preset, args.task), **given)


def main(argv: list[str] | None = None) -> int:
    """Train; returns the exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user."""
    args = make_parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        return run(args, console)
    except ValueError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 2
    except OSError as error:
        console.print(f"The run folder cannot be written: {error}.", style="red", markup=False, highlight=False)
        return 1
    except TrainingError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped before the first update; nothing was written.")
        return 130


def run(args: argparse.Namespace, console: Console) -> int:
    """Train as the flags say; returns the exit code."""
    settings = settings_from(args)
    if args.minutes is None and args.steps is None and args.rounds is None:
        args.minutes = PRESET_MINUTES.get(args.preset)
    if args.minutes is not None and not args.minutes > 0:
        raise ValueError(f"--minutes is {args.minutes}; it must be above 0.")
    if args.new_proposal and not args.start:
        raise ValueError("--new-proposal belongs to --from; without it every module starts anew.")
    check_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    task = get_task(args.task)
    pairs = load_pairs(args.data, task, split=args.split, skip_bad=args.skip_bad, streaming=args.streaming)
    report_skipped(pairs.skipped, console)
    if args.steps is not None:
        settings = with_steps(settings, args.steps, pairs)
    trainer = MetaTrainer(
        pairs,
        settings,
        seed=args.seed,
        device=args.device,
        bf16=args.bf16,
        steps=args.steps,
        minutes=args.minutes,
    )
    if args.start:
        start = local_folder(locate(args.start))
        trainer.start_from(start, keep_gains=keeps_gains(args, start), keep_proposal=not args.new_proposal)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.resume:
        trainer.load_state_dict(load_checkpoint(args.out))
        trim_history(args.out, trainer.step)
    elif (args.out / CHECKPOINT).exists():
        raise DataError(f"{args.out.name} holds a run already; add --resume to go on with it, or choose another --out.")
    write_text(args.out / "settings.json", json.dumps(description(args, settings, pairs), indent=2) + "\n")
    stop = StopSignal()
    with stop:
        train(trainer, args, stop, console)
    if stop.received:
        console.print(f"Stopped by {stop.received} and saved; add --resume to go on.", highlight=False)
        return 130
    return 0


def description(args: argparse.Namespace, settings: TrainingSettings, pairs: Pairs) -> dict[str, Any]:
    """What the run was, for the run folder."""
    return {
        "task": args.task,
        "from": args.start,
        "new_proposal": args.new_proposal,
        "seed": args.seed,
        "minutes": args.minutes,
        "pairs": None if pairs.streaming else len(pairs.dataset),
        "device": args.device,
        "threads": torch.get_num_threads(),
        "versions": {"refusion": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "settings": asdict(settings),
    }


def report_skipped(skipped: list[str], console: Console) -> None:
    """List what was left out of the data set."""
    if skipped:
        console.print(f"{len(skipped)} left out:", highlight=False)
        for sentence in skipped:
            console.print(f"  {sentence}", highlight=False)


class StopSignal:
    """Notes Ctrl-C and SIGTERM, so that the round under way is finished and saved."""

    def __init__(self) -> None:
        self.received = ""

    def __call__(self) -> bool:
        return bool(self.received)

    def __enter__(self) -> "StopSignal":
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name


class StatusProgress(Progress):
    """A progress bar under a line of its own for the figures, so that 80 columns hold both."""

    status = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The line, then the bar."""
        yield Text(self.status)
        yield self.make_tasks_table(self.tasks)


def train(trainer: MetaTrainer, args: argparse.Namespace, stop: StopSignal, console: Console) -> None:
    """The loop with its bar, curves, previews and checkpoints."""
    columns = (BarColumn(20), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(), TimeRemainingColumn())
    preview = preview_pairs(trainer)
    (args.out / "previews").mkdir(exist_ok=True)
    saved = previewed = printed = time.monotonic()
    noted = trainer.step
    with (
        SummaryWriter(args.out / "tensorboard", purge_step=trainer.step) as writer,
        StatusProgress(*columns, console=console, speed_estimate_period=600) as bar,
    ):
        row = bar.add_task("", total=1.0)
        bar.update(row, completed=trainer.share)
        for progress in trainer.train(stop):
            bar.status = status_line(progress)
            bar.update(row, completed=progress.share)
            now = time.monotonic()
            if not console.is_terminal and now - printed >= PRINT_SECONDS:
                console.print(f"{progress.share:.1%} {status_line(progress)}", highlight=False)
                printed = now
            if progress.step >= noted + HISTORY_STEPS:
                noted = progress.step
                append_history(args.out, progress)
                for name, value in {**progress.losses, "lr": progress.lr}.items():
                    writer.add_scalar(name, value, progress.step)
            if preview is not None and now - previewed >= args.preview_every:
                save_step_preview(trainer, args.out, preview)
                previewed = now
            if now - saved >= args.save_every:
                save_checkpoint(args.out, trainer)
                save_models(args.out, trainer, args.task)
                saved = now
    save_checkpoint(args.out, trainer)
    save_models(args.out, trainer, args.task)
    if preview is not None:
        save_step_preview(trainer, args.out, preview)
    report_skipped(trainer.reader.pairs.skipped if trainer.reader.pairs.streaming else [], console)


def status_line(progress: TrainingProgress) -> str:
    """Step, learning rate, running losses, and mean and spread of the proposed weights, on one short line."""
    parts = [f"step {progress.step}", f"lr {progress.lr:.1e}"]
    names = {"fusion": "L_f", "reconstruction": "L_r", "outer": "outer"}
    parts += [f"{short} {progress.losses[name]:.3g}" for name, short in names.items() if name in progress.losses]
    for name in ("w", "v"):
        if f"{name}_mean" in progress.losses:
            mean, spread = progress.losses[f"{name}_mean"], progress.losses[f"{name}_spread"]
            parts.append(f"{name} {mean:.2f}±{spread:.2f}")
    return "  ".join(parts)


def preview_pairs(trainer: MetaTrainer) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The middles of a few pairs, the same at every preview; None where the data set is streamed."""
    if trainer.reader.pairs.streaming:
        return None
    count = len(trainer.reader)
    indices = sorted({i * count // PREVIEW_PAIRS for i in range(PREVIEW_PAIRS)})
    middles = [[middle(x, PREVIEW_SIDE) for x in trainer.reader[i]] for i in indices]
    side = min(x.shape[-1] for pair in middles for x in pair), min(x.shape[-2] for pair in middles for x in pair)
    a, b = (torch.stack([pair[k][:, : side[1], : side[0]] for pair in middles]) for k in (0, 1))
    return a.to(trainer.device), b.to(trainer.device)


def middle(luminance: np.ndarray, side: int) -> torch.Tensor:
    """The middle of a picture, at most `side` high and wide, as a tensor (1, h, w)."""
    top, left = (max(0, (length - side) // 2) for length in luminance.shape)
    return torch.from_numpy(luminance[top : top + side, left : left + side].copy()).unsqueeze(0)


def save_step_preview(trainer: MetaTrainer, folder: Path, pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Write the preview of this step."""
    path = folder / "previews" / f"step-{trainer.step:06d}.png"
    save_preview(path, trainer.fused_module(), trainer.propose(*pairs), *pairs)
