"""A training run, from its flags to its folder."""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from refusion.hub.folder import CHECKPOINT, read_config
from refusion.hub.names import local_folder, locate
from refusion.pairs.content import lack_notes
from refusion.pairs.dataset import Pairs, fingerprint, load_pairs
from refusion.pairs.files import DataError, reading_pairs
from refusion.system.allocator import keep_freed_memory
from refusion.system.devices import choose_device
from refusion.system.errors import sentence_of
from refusion.system.files import write_text
from refusion.system.processes import LostProcessError, Processes, error_line, join_processes
from refusion.tasks import Task, get_task
from refusion.training.console import StatusProgress, report_notes, report_skipped, show_scores, status_line, with_notes
from refusion.training.flags import keeps_gains, reading_from, settings_from, settled
from refusion.training.preview import preview_pairs, save_step_preview
from refusion.training.record import (
    begun_with,
    check_same_pairs,
    description,
    earlier_budgets,
    save_record,
    with_budget_of,
)
from refusion.training.run_folder import (
    SETTINGS,
    append_history,
    resume,
    save_checkpoint,
    save_models,
    tidy,
)
from refusion.training.trainer import MetaTrainer, Progress, TrainingError

HISTORY_STEPS = 10
PRINT_SECONDS = 30


def start(args: argparse.Namespace, announce: Callable[[Processes], list[str]] = lambda _: []) -> int:
    """Train with the given flags; errors are printed as sentences on stderr.

    Args:
        args: as from `make_parser`.
        announce: gives sentences to print before the training.

    Returns:
        The exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user.
    """
    console = Console(stderr=True)

    def fail(sentence: str, code: int) -> int:
        console.print(error_line(sentence), style="red", markup=False, highlight=False)
        return code

    # Until an error is printed, a launcher that stops the other processes must not end this one.
    with StopSignal() as stop:
        try:
            with repeatable(args.deterministic):
                return run(args, console, announce, stop)
        except ValueError as error:
            return fail(str(error), 2)
        except OSError as error:
            return fail(sentence_of(error), 1)
        except (TrainingError, LostProcessError) as error:
            return fail(str(error), 1)
        except KeyboardInterrupt:
            console.print("Stopped before the first update; nothing was written.")
            return 130


@contextmanager
def written_to(out: Path) -> Iterator[None]:
    """Turn system errors into sentences about the run folder."""
    try:
        yield
    except OSError as error:
        safe = " The last checkpoint is intact: make room, then continue with --resume."
        kept = safe if (out / CHECKPOINT).is_file() else ""
        raise TrainingError(f"The run folder cannot be written: {_sentence(out, error)}.{kept}") from error


def _sentence(out: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{out} is a file, or lies below one; choose another --out"
    return f"{error.strerror or error} ({error.filename or out})"


@contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Let torch refuse nondeterministic operations, if wanted."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run(
    args: argparse.Namespace, console: Console, announce: Callable[[Processes], list[str]], stop: "StopSignal"
) -> int:
    """Train with the given flags; returns the exit code."""
    base = local_folder(locate(args.start)) if args.start else None
    begun = begun_with(args.out) if args.resume else {}
    args = settled(with_budget_of(args, begun), base)
    settings = settings_from(args)
    if base is not None and args.window is None:
        settings = replace(settings, window=read_config(base).get("window") or 0)
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
    if processes.first:
        for sentence in announce(processes):
            console.print(sentence, markup=False, highlight=False)
    task = get_task(args.task)
    pairs, found = pairs_of(args, task, processes, console)
    scored = None
    if args.start:
        pairs, scored = scored_apart(args, task, pairs, console if processes.first else None)
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
        check_same_pairs(args, begun, found)
        resume(args.out, trainer)
    elif (args.out / CHECKPOINT).exists():
        raise DataError(f"{args.out.name} holds a run already; add --resume to continue it, or choose another --out.")
    complete = args.resume and trainer.complete
    if processes.first:
        earlier = earlier_budgets(args, begun, trainer.step)
        described = description(args, settings, pairs, processes, found, base, earlier)
        if complete:
            described = begun or described
        with written_to(args.out):
            args.out.mkdir(parents=True, exist_ok=True)
            tidy(args.out, trainer.step)
            write_text(args.out / SETTINGS, json.dumps(described, indent=2) + "\n")
    stop.listen()
    if processes.first:
        with written_to(args.out):
            train(trainer, args, stop, console, described)
    else:
        for _ in with_notes(trainer.train(stop), pairs, console):
            pass
    report_skipped(trainer.reader.pairs.skipped if pairs.streaming else [], console)
    processes.wait()
    stop.restore()
    processes.leave()
    if stop.received:
        if processes.first:
            console.print(f"Stopped by {stop.received} and saved; add --resume to continue.", highlight=False)
        return 130
    if not processes.first:
        return 0
    try:
        path = args.out if args.out.is_absolute() else f"./{args.out}"
        done = f"Done after {trainer.step} steps. Written to {args.out}; fuse with --model {path}."
        if complete:
            done = f"{args.out.name} was complete after {trainer.step} steps; more --steps or --minutes lengthen it."
        console.print(done, markup=False, highlight=False, soft_wrap=True)
        if scored is not None and base is not None:
            show_scores(base, args.out, scored, task, args.device)
    except KeyboardInterrupt:
        console.print("Stopped before the scores were complete; the run is.")
        return 130
    return 0


def pairs_of(args: argparse.Namespace, task: Task, processes: Processes, console: Console) -> tuple[Pairs, str | None]:
    """Load the pairs to train on, report what is noteworthy about them, and return them with their fingerprint."""
    with reading_pairs(args.data):
        pairs = load_pairs(
            args.data,
            task,
            split=args.split,
            skip_bad=args.skip_bad,
            streaming=args.streaming,
            processes=processes,
            reading=reading_from(args, task),
        )
        found = fingerprint(pairs, processes)
    if args.expected_data is not None and found != args.expected_data:
        raise DataError(
            f"The pairs in {args.data} differ from those of the run: their fingerprint begins with "
            f"{str(found)[:12]}, not {args.expected_data[:12]}. Restore the pairs, or give their place with --data."
        )
    if processes.first:
        report_skipped(pairs.skipped, console)
        report_notes([*lack_notes(pairs.lacking), *pairs.notes], console)
    return pairs, found


def scored_apart(
    args: argparse.Namespace, task: Task, pairs: Pairs, console: Console | None
) -> tuple[Pairs, Pairs | None]:
    """Split into pairs to train on and pairs to score, and print which."""
    from refusion.training.fine_tuning import also_trained_on, hold_out

    scored = None
    if args.val:
        with reading_pairs(args.val):
            scored = load_pairs(args.val, task, split=args.val_split, skip_bad=args.skip_bad, reading=pairs.reading)
        if console is not None:
            report_notes(scored.notes, console)
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
        if console is not None and not pairs.streaming and (both := also_trained_on(scored, train_on)):
            seen = f"Note: {len(both)} of the {len(scored.dataset)} pairs of --val are among the pairs to train on"
            console.print(f"{seen}, so their scores say little about others.", markup=False, highlight=False)
        return train_on, scored
    if held is not None and not len(held.dataset):
        return train_on, None
    if console is not None:
        console.print(told, markup=False, highlight=False)
    return train_on, held


class StopSignal:
    """Records Ctrl-C and SIGTERM between `listen` and `restore`, so that the current update is finished and saved."""

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return bool(self.received)

    def __enter__(self) -> "StopSignal":
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def listen(self) -> None:
        """Record these signals from now on."""
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}

    def restore(self) -> None:
        """Treat them as before; also called at the end of a `with` block."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name


def train(
    trainer: MetaTrainer, args: argparse.Namespace, stop: StopSignal, console: Console, described: dict[str, Any]
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

    progress = None
    with (
        SummaryWriter(args.out / "tensorboard", purge_step=trainer.step + 1) as writer,
        StatusProgress(*columns, console=console, speed_estimate_period=600) as bar,
    ):
        row = bar.add_task("", total=1.0)
        bar.update(row, completed=trainer.share)
        for progress in with_notes(trainer.train(stop), trainer.reader.pairs, console):
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
                save_checkpoint(args.out, trainer)
                save_models(args.out, trainer, args.task)
                save_record(args.out, described)
                saved = now
        if progress is not None and progress.step > noted:
            note(progress)
        if not stop.received:
            bar.update(row, completed=1.0)
    save_checkpoint(args.out, trainer)
    save_models(args.out, trainer, args.task)
    save_record(args.out, described)
    if preview is not None:
        save_step_preview(trainer, args.out, preview)
