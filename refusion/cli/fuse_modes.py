"""What `refusion fuse` does with a pair or a stack, with many pairs, with videos, and with volumes.

Wrong inputs and outputs are refused before the model is loaded, by `opened`.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from refusion.cli.options import check_folder, check_writable, make_folder, refuse_overwriting
from refusion.cli.progress import progress_bar, working
from refusion.cli.say import say
from refusion.cli.stopping import STOPPED, Stop, until_stopped
from refusion.system.files import printable
from refusion.system.lists import few_of_each_kind, were_given
from refusion.tasks import TASKS, Task

if TYPE_CHECKING:
    from refusion.inference.folder_record import Settings
    from refusion.inference.many import Outcome
    from refusion.inference.network import Network
    from refusion.inference.options import Options
    from refusion.pairs.failures import Failure
    from refusion.pairs.jobs import Jobs

_FAILURES_SHOWN = 5
"""Number of failures of one kind that are printed; a file in the folder of the results has all of them."""


def fuse_pictures(
    sources: list[Path],
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    bits: int | None,
    *,
    quiet: bool,
) -> None:
    """Fuse a pair or a stack, and print notes and what was written."""
    from refusion.images.video import VIDEO_SUFFIXES
    from refusion.images.volume import OTHER_VOLUMES, is_volume
    from refusion.images.writing import check_output

    if output.suffix.lower() in VIDEO_SUFFIXES:
        raise ValueError(
            f"{output.name} is a video, but {sources[0].name} is read as an image, and animations (GIF, WebP, PNG) are "
            "not read as videos: give videos, or an output for an image, such as .png."
        )
    if is_volume(output):
        raise ValueError(
            f"{output.name} is a volume, but {sources[0].name} is read as an image: give volumes, or an output for an "
            f"image, such as .png; {OTHER_VOLUMES}."
        )
    check_output(output, bits)
    check_writable(output)
    refuse_overwriting(output, tuple(sources))
    frames = []
    if len(sources) < 2:
        from refusion.images.frames import frames_of

        frames = frames_of(sources[0])
    if len(sources) < 2 and not frames:
        from refusion.images.reading import read_picture
        from refusion.inference.stack import STACK_TASKS

        # Errors of the only source, such as several frames, come first.
        read_picture(sources[0], window="own", nodata=math.nan)
        raise ValueError(
            f"Fusion needs at least two images, but only {sources[0].name} was given; also give its partner, or the "
            f"rest of its stack with --task {' or --task '.join(STACK_TASKS)}."
        )

    _check_windows(options, len(frames or sources))

    from refusion.inference.fuse import fuse_sources

    shown: AbstractContextManager[Callable[[int, int], None] | None]
    shown = (working if 2 in (len(sources), len(frames)) else progress_bar)("Fusing", quiet=quiet)
    with shown as report:
        network = opened()
        fused = fuse_sources(network, frames or sources, None, options, task or network.task, report)
        note = fused.save(output, bits)
    if not quiet:
        for said in (*fused.notes, *([note] if note else [])):
            say(f"Note: {said}", err=True)
        width, height = fused.size
        say(f"Written to {output}: {width} x {height} pixels.")


def _check_windows(options: "Options", count: int) -> None:
    """Refuse windows for one of two sources with a stack.

    Raises:
        ValueError: they were given.
    """
    from refusion.images.levels import is_one_window

    if count > 2 and not is_one_window(options.window):
        raise ValueError(
            f"--window-a and --window-b are for the two sources of a pair, but a stack of {count} images was given; "
            "give one window for all of them (--window LOW HIGH), or --own-range."
        )


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
    from refusion.pairs.matching import SUFFIXES

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
    from refusion.cli.series import SeriesScales
    from refusion.hub.errors import ModelError
    from refusion.images.writing import check_output
    from refusion.inference.folder_record import difference_notes, read_record, record
    from refusion.inference.folders import fuse_jobs, left_to_do
    from refusion.inference.many import fuse_pairs
    from refusion.pairs.failures import Failure, write_failures

    for job in jobs.pairs:
        check_output(job.output, bits)
    to_do, written = left_to_do(jobs.pairs, overwrite=overwrite)
    for folder in {job.output.parent for job in to_do}:
        check_folder(folder, writable=True)
    failed: list[Failure] = []
    for note in () if quiet else jobs.notes:
        say(f"Note: {note}", err=True)
    network = opened() if to_do else None
    periods = read_record(output)
    if periods and written and not quiet:
        try:
            differences = difference_notes(periods, written, settings())
        except ModelError as missing:
            # Where nothing is left to fuse, the model need not be there.
            differences = [f"The settings of the kept results were not compared with those of now: {missing}"]
        for note in differences:
            say(f"Note: {note}", err=True)
    scales, done = SeriesScales(), 0
    stop = Stop()
    if network is not None:
        fuse = partial(fuse_pairs, network, options=options, task=task or network.task, batch_size=batch_size)

        def counted(pairs: Iterable[tuple[Path, Path]]) -> "Iterator[Outcome]":
            for outcome in fuse(pairs):
                scales.add(outcome.levels)
                yield outcome

        make_folder(output)
        write_failures(output, ())
        unrecorded = record(output, periods, settings())
        if unrecorded and not quiet:
            say(f"Note: {unrecorded}", err=True)
        with until_stopped() as stop, progress_bar("Fusing", quiet=quiet) as report:
            report(0, len(to_do))
            for done, (job, error, notes) in enumerate(fuse_jobs(to_do, counted, bits=bits), 1):
                if error is not None:
                    failed.append(Failure(job.row, printable(job.name), printable(error)))
                for note in () if quiet else notes:
                    say(f"Note: {job.name}: {note}", err=True)
                report(done, len(to_do))
    skipped = len(written)
    for note in () if quiet else scales.notes():
        say(f"Note: {note}", err=True)
    if not quiet:
        fused = done - len(failed)
        kept = " What was there is kept; --overwrite fuses it again with these options." if skipped else ""
        say(f"{fused} fused, {skipped} already there, {len(failed)} failed. Written to {output}.{kept}")
    failed += [Failure(None, None, printable(sentence)) for sentence in jobs.unmatched]
    _list_failures(failed, output)
    if untried := len(to_do) - done:
        cause, advice = ("The run was stopped", "") if stop.asked else ("The disk is full", "make room, and ")
        say(
            f"{cause}, so the other {untried:,} {'pair was' if untried == 1 else 'pairs were'} not fused; {advice}give "
            "the command again.",
            err=True,
        )
    if stop.asked:
        raise typer.Exit(STOPPED)
    if failed:
        raise typer.Exit(1)


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


def fuse_video_files(
    sources: list[Path],
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    *,
    side_by_side: bool,
    quiet: bool,
) -> None:
    """Fuse two videos, or one with both sources side by side."""
    from refusion.inference.video import check_options, fuse_videos

    if (len(sources) == 1) != side_by_side or len(sources) > 2:
        raise ValueError("Give two videos, or one with --side-by-side.")
    check_options(options)
    check_writable(output)
    refuse_overwriting(output, tuple(sources))
    network = opened()
    notes: list[str] = []
    with until_stopped() as stop, progress_bar("Fusing frames", quiet=quiet) as report:
        notes = fuse_videos(network, sources, output, options, task or network.task, progress=report)
    _close(output, notes, stop, quiet=quiet)


def fuse_volume_files(
    sources: list[Path],
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    bits: int | None,
    *,
    quiet: bool,
) -> None:
    """Fuse two volumes."""
    from refusion.images.volume import check_volume_output
    from refusion.inference.volume import check_options, fuse_volumes, open_source

    if len(sources) != 2:
        raise ValueError(f"Volumes are fused in pairs, but {were_given(len(sources))}; give two.")
    check_options(options)
    check_volume_output(output, bits)
    check_writable(output)
    refuse_overwriting(output, tuple(sources))
    for source in sources:
        open_source(source, source.name or source.resolve().name)
    network = opened()
    notes: list[str] = []
    with until_stopped() as stop, progress_bar("Fusing slices", quiet=quiet) as report:
        notes = fuse_volumes(network, sources, output, options, task or network.task, bits, progress=report)
    _close(output, notes, stop, quiet=quiet)


def _close(output: Path, notes: list[str], stop: Stop, *, quiet: bool) -> None:
    """Print notes and what was written, or that the user stopped the run, with exit code 130."""
    if stop.asked:
        say(f"The run was stopped, so {output} was not written.", err=True)
        raise typer.Exit(STOPPED)
    if not quiet:
        for note in notes:
            say(f"Note: {note}", err=True)
        say(f"Written to {output}.")
