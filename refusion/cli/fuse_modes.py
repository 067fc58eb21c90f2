"""What `refusion fuse` does with a pair or a stack, with videos, and with volumes.

Wrong inputs and outputs are refused before the model is loaded, by `opened`.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from refusion.cli.paths import check_writable, refuse_overwriting
from refusion.cli.progress import progress_bar, working
from refusion.cli.say import say
from refusion.cli.stopping import STOPPED, Stop, until_stopped
from refusion.system.lists import were_given
from refusion.tasks import Task

if TYPE_CHECKING:
    from refusion.inference.network import Network
    from refusion.inference.options import Options


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
    from refusion.images.windows import is_one_window

    if count > 2 and not is_one_window(options.window):
        raise ValueError(
            f"--window-a and --window-b are for the two sources of a pair, but a stack of {count} images was given; "
            "give one window for all of them (--window LOW HIGH), or --own-range."
        )


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
