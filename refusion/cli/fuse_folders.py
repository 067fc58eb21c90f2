"""What `refusion fuse` does with the pairs of two folders or of a list.

Wrong inputs and outputs are refused before the model is loaded, by `opened`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from refusion.cli.paths import check_folder, make_folder
from refusion.cli.progress import progress_bar
from refusion.cli.say import say
from refusion.cli.stopping import STOPPED, until_stopped
from refusion.system.files import printable
from refusion.system.lists import few_of_each_kind
from refusion.tasks import TASKS, Task

if TYPE_CHECKING:
    from refusion.inference.folder_record import Period, Settings
    from refusion.inference.many import Outcome
    from refusion.inference.network import Network
    from refusion.inference.options import Options
    from refusion.pairs.failures import Failure
    from refusion.pairs.jobs import Job, Jobs

_FAILURES_SHOWN = 5
"""Number of failures of one kind that are printed; a file in the folder of the results has all of them."""


@dataclass
class _Run:
    """What came of a run.

    Attributes:
        done: number of pairs that were fused or failed.
        failed: the pairs that failed.
        stopped: whether the user stopped it.
        notes: notes on all pairs together, as sentences.
    """

    done: int = 0
    failed: "list[Failure]" = field(default_factory=list)
    stopped: bool = False
    notes: list[str] = field(default_factory=list)


def jobs_of(sources: list[Path], output: Path, suffix: str, match: tuple[str, str] | None) -> "Jobs":
    """The pairs of two folders, of one folder with two patterns, or of a list."""
    from refusion.pairs.jobs import match_folders, read_list

    suffix = suffix if suffix.startswith(".") else f".{suffix}"
    if not sources[0].is_dir():
        _check_results(output)
        return read_list(sources[0], output, suffix)
    if len(sources) > 2:
        raise ValueError(f"Give two folders, or one folder and --match; {len(sources)} were given.")
    if len(sources) == 1 and match is None:
        folder = sources[0]
        for each in TASKS.values():
            a, b = (folder / name for name in each.folders)
            if a.is_dir() and b.is_dir():
                raise ValueError(f"{folder} is one folder. To fuse the pairs in it, give its two sub-folders: {a} {b}.")
        raise ValueError(
            f"{folder} is one folder. To fuse all images in it as one stack, name them ({folder / '*.png'}, with "
            "--task multi-focus or multi-exposure); to fuse pairs in it, give the pattern of the first sources and "
            'that of the second, as in --match "*_ir.*" "*_vis.*".'
        )
    _check_results(output)
    advice = ', or by --match with two patterns such as "*_ir.*" "*_vis.*"'
    return match_folders(sources[0], sources[-1], output, suffix, match or ("*", "*"), advice)


def _check_results(output: Path) -> None:
    """Check the folder of the results."""
    from refusion.images.video import VIDEO_SUFFIXES
    from refusion.pairs.suffixes import SUFFIXES

    if output.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES and not output.exists():
        raise ValueError(
            f"{output.name} is the name of a file, but the results of folders and lists are written to a folder; give "
            f"the name of one, such as {output.stem}."
        )
    check_folder(output)


def fuse_pair_files(
    jobs: "Jobs",
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    bits: int | None,
    batch_size: int,
    settings: "Callable[[], Settings]",
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Fuse those of many pairs that have no result yet; failed and unmatched ones are listed, with exit code 1.

    The list is printed, with a few for each reason, and written whole to the folder of the results.

    Where the user stops the run, what was done and what failed is said, with exit code 130.

    `settings` returns those of `refusion.inference.folder_record.settings_of`.
    """
    from refusion.images.writing import check_output
    from refusion.inference.folder_record import read_record, record
    from refusion.inference.folders import left_to_do
    from refusion.inference.many import fuse_pairs
    from refusion.pairs.failures import Failure, write_failures

    for job in jobs.pairs:
        check_output(job.output, bits)
    to_do, written = left_to_do(jobs.pairs, overwrite=overwrite)
    for folder in {job.output.parent for job in to_do}:
        check_folder(folder, writable=True)
    _say_notes(jobs.notes, quiet=quiet)
    network = opened() if to_do else None
    periods = read_record(output)
    if periods and written and not quiet:
        _say_notes(_differences(periods, written, settings), quiet=quiet)
    run = _Run()
    if network is not None:
        make_folder(output)
        write_failures(output, ())
        unrecorded = record(output, periods, settings())
        _say_notes([unrecorded] if unrecorded else [], quiet=quiet)
        fuse = partial(fuse_pairs, network, options=options, task=task or network.task, batch_size=batch_size)
        run = _fuse_to_do(to_do, fuse, bits, quiet=quiet)
    _say_notes(run.notes, quiet=quiet)
    if not quiet:
        fused, skipped = run.done - len(run.failed), len(written)
        kept = " What was there is kept; --overwrite fuses it again with these options." if skipped else ""
        say(f"{fused} fused, {skipped} already there, {len(run.failed)} failed. Written to {output}.{kept}")
    failed = [*run.failed, *(Failure(None, None, printable(sentence)) for sentence in jobs.unmatched)]
    _list_failures(failed, output)
    if untried := len(to_do) - run.done:
        _say_untried(untried, stopped=run.stopped)
    if run.stopped:
        raise typer.Exit(STOPPED)
    if failed:
        raise typer.Exit(1)


def _fuse_to_do(
    to_do: "list[Job]",
    fuse: "Callable[[Iterable[tuple[Path, Path]]], Iterator[Outcome]]",
    bits: int | None,
    *,
    quiet: bool,
) -> _Run:
    """Fuse the pairs, with a progress bar and the notes on each, until all are done, or the user stops the run."""
    from refusion.cli.series import SeriesScales
    from refusion.inference.folders import fuse_jobs
    from refusion.pairs.failures import Failure

    run, scales = _Run(), SeriesScales()

    def counted(pairs: Iterable[tuple[Path, Path]]) -> "Iterator[Outcome]":
        for outcome in fuse(pairs):
            scales.add(outcome.levels)
            yield outcome

    with until_stopped() as stop, progress_bar("Fusing", quiet=quiet) as report:
        report(0, len(to_do))
        for done, (job, error, notes) in enumerate(fuse_jobs(to_do, counted, bits=bits), 1):
            run.done = done
            if error is not None:
                run.failed.append(Failure(job.row, printable(job.name), printable(error)))
            _say_notes((f"{job.name}: {note}" for note in notes), quiet=quiet)
            report(done, len(to_do))
    run.stopped, run.notes = stop.asked, scales.notes()
    return run


def _say_notes(notes: Iterable[str], *, quiet: bool) -> None:
    for note in () if quiet else notes:
        say(f"Note: {note}", err=True)


def _differences(periods: "list[Period]", written: list[float], settings: "Callable[[], Settings]") -> list[str]:
    """Notes on how the settings of the results that are kept differ from those of now."""
    from refusion.hub.errors import ModelError
    from refusion.inference.folder_record import difference_notes

    try:
        return difference_notes(periods, written, settings())
    except ModelError as missing:
        # Where nothing is left to fuse, the model need not be there.
        return [f"The settings of the kept results were not compared with those of now: {missing}"]


def _say_untried(count: int, *, stopped: bool) -> None:
    """Say why pairs were not tried: the user stopped the run, or the disk is full."""
    cause, advice = ("The run was stopped", "") if stopped else ("The disk is full", "make room, and ")
    say(
        f"{cause}, so the other {count:,} {'pair was' if count == 1 else 'pairs were'} not fused; {advice}give the "
        "command again.",
        err=True,
    )


def _list_failures(failures: "list[Failure]", output: Path) -> None:
    """Write all failures to the folder of the results, and print a few for each reason."""
    from refusion.pairs.failures import write_failures

    try:
        written = write_failures(output, failures)
    except OSError as error:
        written = None
        say(f"Note: the list of failures cannot be written to {output}: {error.strerror or error}.", err=True)
    if failures:
        say(f"Not fused{f', all in {written}' if written else ''}:", err=True)
    entries = (("left out" if one.id is None else "", one.id or "", one.error) for one in failures)
    for line in few_of_each_kind(entries, _FAILURES_SHOWN):
        say(f"  {line}", err=True)
