"""The command line of train.py."""

import argparse
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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

from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, WEIGHTS, local_folder, locate, read_config
from refusion.models.model import ReFusion
from refusion.pairs.dataset import DataError, Pairs, fingerprint, load_pairs
from refusion.system.allocator import keep_freed_memory
from refusion.system.devices import choose_device
from refusion.system.files import write_text
from refusion.system.processes import LostProcessError, Processes, join_processes, rank_here
from refusion.tasks import TASKS, Task, get_task
from refusion.training.preview import save_preview
from refusion.training.provenance import git_revision, versions
from refusion.training.run_folder import CHECKPOINT, append_history, resume, save_checkpoint, save_models, tidy
from refusion.training.settings import (
    DEFAULT_PRESET,
    PRESET_MINUTES,
    PRESETS,
    TrainingSettings,
    preset_settings,
)
from refusion.training.trainer import MetaTrainer, TrainingError, with_steps
from refusion.training.trainer import Progress as TrainingProgress

PREVIEW_PAIRS = 3
PREVIEW_SIDE = 192
HISTORY_STEPS = 10
PRINT_SECONDS = 30

ARGUMENTS = (
    "task", "data", "split", "streaming", "skip_bad", "start", "new_proposal", "val", "hold_out", "preset", "steps",
    "minutes", "seed", "device", "bf16", "deterministic",
)  # fmt: skip
"""Flags that are noted in the run folder, beside the hyperparameters and the threads."""


def make_parser() -> argparse.ArgumentParser:
    """The flags: what to train on, for how long, and one for each hyperparameter."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Meta-train the fusion, loss proposal and reconstruction modules on a set of registered pairs.",
    )
    parser.add_argument("--task", choices=list(TASKS), help="with --from, that model's if not given")
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
    parser.add_argument("--val", help="with --from: pairs for the scores before and after, as --data")
    parser.add_argument(
        "--hold-out",
        type=int,
        metavar="N",
        help="with --from: keep N pairs out of the training for these scores (default: a fifth, at most 20; none "
        "with --val or --new-proposal)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--deterministic", action="store_true", help="refuse torch operations that may differ from run to run"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast in the fusion update")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch chooses)")
    parser.add_argument("--split", default="train", help="split of a Hub data set")
    parser.add_argument("--streaming", action="store_true", help="read a data set too large for memory row by row")
    parser.add_argument("--skip-bad", action="store_true", help="leave out pairs that do not fit, and list them")
    parser.add_argument("--save-every", type=float, default=60, help="seconds between checkpoints")
    parser.set_defaults(expected_data=None, expected_start=None)
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


def settings_from(args: argparse.Namespace) -> TrainingSettings:
    """The preset with the given flags put over it.

    Raises:
        ValueError: a value is out of range.
    """
    given = {f.name: getattr(args, f.name) for f in fields(TrainingSettings) if getattr(args, f.name) is not None}
    return replace(preset_settings(args.preset, args.task), **given)


def main(argv: list[str] | None = None) -> int:
    """Train; returns the exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user."""
    return start(make_parser().parse_args(argv))


def start(args: argparse.Namespace, announce: Callable[[Processes], list[str]] = lambda _: []) -> int:
    """Train as the flags say, with every error as a sentence on stderr.

    Args:
        args: as from `make_parser`.
        announce: gives sentences to print before the training.

    Returns:
        The exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user.
    """
    console = Console(stderr=True)

    def fail(sentence: str, code: int) -> int:
        of = f"Process {rank_here() + 1}: " if rank_here() else ""
        console.print(of + sentence, style="red", markup=False, highlight=False)
        return code

    try:
        with repeatable(args.deterministic):
            return run(args, console, announce)
    except ValueError as error:
        return fail(str(error), 2)
    except OSError as error:
        safe = " The last checkpoint is intact: make room, then go on with --resume."
        kept = safe if (args.out / CHECKPOINT).is_file() else ""
        return fail(f"The run folder cannot be written: {error}.{kept}", 1)
    except (TrainingError, LostProcessError) as error:
        return fail(str(error), 1)
    except KeyboardInterrupt:
        console.print("Stopped before the first update; nothing was written.")
        return 130


@contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Let torch refuse what may differ from run to run on the same machine, where that is wanted."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run(args: argparse.Namespace, console: Console, announce: Callable[[Processes], list[str]]) -> int:
    """Train as the flags say; returns the exit code."""
    base = local_folder(locate(args.start)) if args.start else None
    check_start(args, base)
    settings = settings_from(args)
    if base is not None and args.window is None:
        settings = replace(settings, window=read_config(base, ReFusion).get("window") or 0)
    if args.minutes is None and args.steps is None and args.rounds is None:
        args.minutes = PRESET_MINUTES.get(args.preset)
    if args.minutes is not None and not args.minutes > 0:
        raise ValueError(f"--minutes is {args.minutes}; it must be above 0.")
    if choose_device(args.device).type == "cpu":
        keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    processes = join_processes(cpu=args.device.startswith("cpu"))
    if processes.count > 1:
        args.device = str(processes.device)
    if processes.first:
        for sentence in announce(processes):
            console.print(sentence, markup=False, highlight=False)
    task = get_task(args.task)
    pairs = load_pairs(
        args.data, task, split=args.split, skip_bad=args.skip_bad, streaming=args.streaming, processes=processes
    )
    found = fingerprint(pairs, processes)
    if args.expected_data is not None and found != args.expected_data:
        raise DataError(
            f"The pairs in {args.data} are not those of the run: their fingerprint begins with {str(found)[:12]}, not "
            f"{args.expected_data[:12]}. Put back the pairs, or tell where they are with --data."
        )
    if processes.first:
        report_skipped(pairs.skipped, console)
    scored = None
    if args.start:
        pairs, scored = scored_apart(args, task, pairs, console if processes.first else None)
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
        processes=processes,
    )
    if base is not None:
        trainer.start_from(base, keep_gains=keeps_gains(args, base), keep_proposal=not args.new_proposal)
    if args.resume:
        resume(args.out, trainer)
    elif (args.out / CHECKPOINT).exists():
        raise DataError(f"{args.out.name} holds a run already; add --resume to go on with it, or choose another --out.")
    if processes.first:
        args.out.mkdir(parents=True, exist_ok=True)
        tidy(args.out, trainer.step)
        described = description(args, settings, pairs, processes, found, base)
        write_text(args.out / "settings.json", json.dumps(described, indent=2) + "\n")
    stop = StopSignal()
    with stop:
        if processes.first:
            train(trainer, args, stop, console)
        else:
            for _ in trainer.train(stop):
                pass
    report_skipped(trainer.reader.pairs.skipped if pairs.streaming else [], console)
    processes.wait()
    processes.leave()
    if stop.received:
        if processes.first:
            console.print(f"Stopped by {stop.received} and saved; add --resume to go on.", highlight=False)
        return 130
    if scored is not None and base is not None and processes.first:
        show_scores(base, args.out, scored, task)
    return 0


def check_start(args: argparse.Namespace, base: Path | None) -> None:
    """Take the task of the model to start from, if none is given, and refuse flags that do not go together.

    Raises:
        ValueError: what does not fit.
    """
    if base is None:
        if args.new_proposal:
            raise ValueError("--new-proposal belongs to --from; without it every module starts anew.")
        if args.val or args.hold_out is not None:
            raise ValueError("--val and --hold-out belong to --from; without it there is no model to compare with.")
        if args.task is None:
            raise ValueError(f"Give --task, one of {', '.join(TASKS)}, or --from, which brings its own.")
        return
    if args.task is None:
        args.task = get_task(read_config(base, ReFusion)["task"]).name
    if args.expected_start is not None and (found := start_digest(base)) != args.expected_start:
        raise ValueError(
            f"The model {args.start} is not the one that the run started from: the SHA-256 of its weights begins with "
            f"{found[:12]}, not {args.expected_start[:12]}."
        )


def scored_apart(
    args: argparse.Namespace, task: Task, pairs: Pairs, console: Console | None
) -> tuple[Pairs, Pairs | None]:
    """Pairs to train on, and pairs for the scores before and after; the choice is told on the console."""
    from refusion.training.fine_tuning import hold_out

    scored = load_pairs(args.val, task, skip_bad=args.skip_bad) if args.val else None
    if pairs.streaming:
        told = "No scores before and after: a streamed data set has none to hold out. Give some with --val."
        train_on, held = pairs, None
    else:
        count = 0 if args.hold_out is None and (args.val or args.new_proposal) else args.hold_out
        train_on, held = hold_out(pairs, count, args.data)
        names = [str(name) for name in held.dataset["name"]]
        told = f"Held out of {len(pairs.dataset)} pairs, for the scores before and after: {', '.join(names)}."
    if scored is not None:
        if held is not None and len(held.dataset):
            raise ValueError("Give --val or --hold-out, not both.")
        return train_on, scored
    if held is not None and not len(held.dataset):
        return train_on, None
    if console is not None:
        console.print(told, markup=False, highlight=False)
    return train_on, held


def show_scores(base: Path, out: Path, pairs: Pairs, task: Task) -> None:
    """Score the model before and after, keep the figures in the run folder, and print them as a table."""
    from refusion.training.fine_tuning import SCORES, change_table, score_both

    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("scores before and after", total=2 * len(pairs.dataset))
        report = score_both(base, out, pairs, task, lambda: bar.advance(row))
    console = Console()
    console.print(change_table(report))
    notes = "Means over the held-out pairs; ↑ higher is better, ↓ lower is better.", f"All of it is in {SCORES}."
    console.print(*notes, f"Definitions: {report.definitions}.", sep="\n", markup=False, highlight=False)
    for problem in report.problems:
        console.print(f"Not scored: {problem}", markup=False, highlight=False)


def start_digest(base: Path) -> str:
    """SHA-256 of the files of the three modules, those that are there."""
    files = (base / name for name in (WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS))
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files if f.is_file())).hexdigest()


def description(
    args: argparse.Namespace,
    settings: TrainingSettings,
    pairs: Pairs,
    processes: Processes,
    found: str | None,
    base: Path | None,
) -> dict[str, Any]:
    """What the run was, for the run folder: all that it takes to start it again."""
    arguments = {name: getattr(args, name) for name in ARGUMENTS}
    for name in ("data", "val", "start"):
        if arguments[name] is not None and not is_name(name, arguments[name]):
            arguments[name] = str(Path(arguments[name]).expanduser().resolve())
    return {
        "task": args.task,
        "from": args.start,
        "new_proposal": args.new_proposal,
        "seed": args.seed,
        "minutes": args.minutes,
        "pairs": None if pairs.streaming else len(pairs.dataset),
        "device": args.device,
        "threads": torch.get_num_threads(),
        "processes": processes.count,
        "versions": versions(),
        "git": git_revision(),
        "data": {"fingerprint": found},
        "from_sha256": None if base is None else start_digest(base),
        "arguments": arguments,
        "settings": asdict(settings),
    }


def is_name(flag: str, given: str) -> bool:
    """Whether a flag names something on the Hub or a bundled model, and not a folder or file here."""
    return not Path(given).expanduser().exists() or (flag == "start" and "/" not in given and "\\" not in given)


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
