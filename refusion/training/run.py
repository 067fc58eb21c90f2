"""A training run, from its flags to its folder."""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from refusion.hub.folder import CHECKPOINT, read_config
from refusion.hub.names import local_folder, locate
from refusion.pairs.dataset import Pairs
from refusion.pairs.errors import DataError
from refusion.system.allocator import keep_freed_memory
from refusion.system.devices import choose_device
from refusion.system.files import write_text
from refusion.system.lists import counted
from refusion.system.memory import free_for_process
from refusion.system.processes import Processes, join_processes
from refusion.tasks import get_task
from refusion.training.console import (
    StatusProgress,
    print_note,
    report_skipped,
    show_scores,
    status_line,
    with_notes,
)
from refusion.training.data import pairs_of, scored_apart
from refusion.training.flags import keeps_gains, needs_proposal, settings_from, settled
from refusion.training.forecast import crop_notes, memory_notes
from refusion.training.preview import preview_pairs, save_step_preview
from refusion.training.record import (
    check_same_pairs,
    description,
    earlier_budgets,
    save_record,
)
from refusion.training.resuming import SETTINGS, begun_with
from refusion.training.run_folder import (
    append_history,
    claimed,
    resume,
    save_checkpoint,
    save_models,
    tidy,
)
from refusion.training.settings import FINE_TUNING_LR, TrainingSettings
from refusion.training.stop_signal import StopSignal
from refusion.training.trainer import MetaTrainer, Progress, TrainingError

HISTORY_STEPS = 10
PRINT_SECONDS = 30


@contextmanager
def written_to(out: Path) -> Iterator[None]:
    """Turn system errors of the block into sentences about the run folder."""
    try:
        yield
    except OSError as error:
        what = f"The run folder cannot be written: {_sentence(out, error)}."
        raise TrainingError(what + _way_on(out, "make room, then ")) from error


def _sentence(out: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{out} is a file, or lies below one; choose another --out"
    return f"{error.strerror or error} ({error.filename or out})"


def _way_on(out: Path, first: str = "") -> str:
    return f" The last checkpoint is intact: {first}continue with --resume." if (out / CHECKPOINT).is_file() else ""


def _updates(trainer: MetaTrainer, stop: StopSignal, args: argparse.Namespace) -> Iterator[Progress]:
    """The updates of the trainer, which reads the pairs meanwhile."""
    try:
        yield from trainer.train(stop)
    except OSError as error:
        what = f"The pairs in {args.data} cannot be read any more: {error.strerror or error}."
        raise TrainingError(what + _way_on(args.out)) from error


def run(
    args: argparse.Namespace, console: Console, announce: Callable[[Processes], list[str]], stop: StopSignal
) -> int:
    """Train with the given flags; returns the exit code."""
    with ExitStack() as until_end:
        return _run(args, console, announce, stop, until_end)


def _run(
    args: argparse.Namespace,
    console: Console,
    announce: Callable[[Processes], list[str]],
    stop: StopSignal,
    until_end: ExitStack,
) -> int:
    base = local_folder(locate(args.start)) if args.start else None
    begun = begun_with(args.out) if args.resume else {}
    args = settled(args, base)
    settings = _settings(args, base)
    processes = _prepared(args)
    if processes.first:
        for sentence in announce(processes):
            console.print(sentence, markup=False, highlight=False)
    task = get_task(args.task)
    pairs, found = pairs_of(args, task, processes, console)
    scored = None
    if args.start:
        pairs, scored = scored_apart(args, task, pairs, console if processes.first else None)
    trainer = _trainer(args, pairs, settings, processes, base)
    if args.resume:
        check_same_pairs(args, begun, found)
        resume(args.out, trainer)
    elif (args.out / CHECKPOINT).exists():
        raise DataError(f"{args.out.name} holds a run already; add --resume to continue it, or choose another --out.")
    complete = args.resume and trainer.complete
    described: dict[str, Any] = {}
    if processes.first:
        described = description(args, settings, pairs, processes, found, base)
        described["earlier_budgets"] = earlier_budgets(described, begun, trainer.step, trainer.fusion_updates)
        if complete:
            described = begun or described
        _open_folder(args.out, trainer.step, described, until_end)
        if not complete:
            report_forecast(pairs, settings, args.device, console)
    stop.listen()
    updates = with_notes(_updates(trainer, stop, args), pairs, console)
    if processes.first:
        with written_to(args.out):
            train(trainer, updates, args, stop, console, described)
    else:
        for _ in updates:
            pass
    if pairs.streaming:
        report_skipped(trainer.reader.pairs.skipped, console)
    processes.wait()
    stop.restore()
    processes.leave()
    if not processes.first:
        return 130 if stop.received else 0
    if stop.received:
        console.print(f"Stopped by {stop.received} and saved; add --resume to continue.", highlight=False)
        return 130
    return _end(args, console, base, scored, step=trainer.step, complete=complete)


def _settings(args: argparse.Namespace, base: Path | None) -> TrainingSettings:
    """The hyperparameters of the flags; of a model to start from, its window and a lower rate if none is given."""
    settings = settings_from(args)
    if base is not None and args.window is None:
        settings = replace(settings, window=read_config(base).get("window") or 0)
    if base is not None and args.lr is None and not args.new_proposal:
        settings = replace(settings, lr=settings.lr * FINE_TUNING_LR)
    return settings


def _trainer(
    args: argparse.Namespace, pairs: Pairs, settings: TrainingSettings, processes: Processes, base: Path | None
) -> MetaTrainer:
    """The trainer, with the weights of the model to start from."""
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
        trainer.start_from(base, keep_gains=keeps_gains(args, base), keep_proposal=needs_proposal(args))
    return trainer


def _open_folder(out: Path, step: int, described: dict[str, Any], until_end: ExitStack) -> None:
    """Claim the run folder until the run ends, and write the settings of the run to it."""
    with written_to(out):
        out.mkdir(parents=True, exist_ok=True)
        until_end.enter_context(claimed(out))
        tidy(out, step)
        write_text(out / SETTINGS, json.dumps(described, indent=2) + "\n")


def _end(
    args: argparse.Namespace,
    console: Console,
    base: Path | None,
    scored: Pairs | None,
    *,
    step: int,
    complete: bool,
) -> int:
    """Say that the run is done, and show the scores before and after fine-tuning; returns the exit code."""
    path = args.out if args.out.is_absolute() else f"./{args.out}"
    done = f"Done after {counted(step, 'step')}. Written to {args.out}; fuse with --model {path}."
    if complete:
        done = f"{args.out.name} was complete after {step} steps; more --steps, --minutes or --rounds lengthen it."
    try:
        console.print(done, markup=False, highlight=False, soft_wrap=True)
        if scored is not None and base is not None:
            show_scores(base, args.out, scored, get_task(args.task), args.device)
    except KeyboardInterrupt:
        console.print("Stopped before the scores were complete; the run is.")
        return 130
    return 0


def report_forecast(pairs: Pairs, settings: TrainingSettings, device: str, console: Console) -> None:
    """Print notes on what the settings mean for the pairs, and for the memory if the run uses that of the CPU."""
    free = free_for_process() if device.startswith("cpu") else None
    memory = [] if free is None else memory_notes(settings, free)
    for note in (*crop_notes(pairs.sides, settings), *memory):
        print_note(note, console)


def _prepared(args: argparse.Namespace) -> Processes:
    """Choose the device, prepare torch for it, and join the other processes of the run."""
    device = choose_device(args.device)
    if args.device == "auto":
        args.device = device.type
    if device.type == "cpu":
        keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    processes = join_processes(cpu=args.device.startswith("cpu"))
    if processes.count > 1:
        args.device = str(processes.device)
    return processes


def train(
    trainer: MetaTrainer,
    updates: Iterable[Progress],
    args: argparse.Namespace,
    stop: StopSignal,
    console: Console,
    described: dict[str, Any],
) -> None:
    """The training loop with progress bar, curves, previews and checkpoints."""
    columns = (BarColumn(20), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(), TimeRemainingColumn())
    preview = preview_pairs(trainer)
    (args.out / "previews").mkdir(exist_ok=True)
    saved = previewed = printed = time.monotonic()
    noted = trainer.step

    def note(progress: Progress) -> None:
        append_history(args.out, progress)
        for name, value in {**progress.losses, "lr": progress.lr}.items():
            writer.add_scalar(name, value, progress.step)

    def save() -> None:
        trainer.check_weights()
        save_checkpoint(args.out, trainer)
        save_models(args.out, trainer, args.task)
        save_record(args.out, described)

    progress = None
    with (
        SummaryWriter(args.out / "tensorboard", purge_step=trainer.step + 1) as writer,
        StatusProgress(*columns, console=console, speed_estimate_period=600) as bar,
    ):
        row = bar.add_task("", total=1.0)
        bar.update(row, completed=trainer.share)
        for progress in updates:
            bar.status = status_line(progress)
            bar.update(row, completed=progress.share)
            now = time.monotonic()
            if not console.is_terminal and now - printed >= PRINT_SECONDS:
                console.print(f"{progress.share:.1%} {status_line(progress)}", highlight=False)
                printed = now
            if progress.step // HISTORY_STEPS > noted // HISTORY_STEPS:
                noted = progress.step
                note(progress)
            if preview is not None and now - previewed >= args.preview_every:
                save_step_preview(trainer, args.out, preview)
                previewed = now
            if now - saved >= args.save_every:
                save()
                saved = now
        if progress is not None and progress.step > noted:
            note(progress)
        if not stop.received:
            bar.update(row, completed=1.0)
    save()
    if preview is not None:
        save_step_preview(trainer, args.out, preview)
