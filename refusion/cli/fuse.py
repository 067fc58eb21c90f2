"""refusion fuse"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from refusion.cli.options import (
    AlignOption,
    AnchorOption,
    ChromaOption,
    CropOption,
    DeviceOption,
    ModelOption,
    MotionOption,
    NodataOption,
    OwnRangeOption,
    QuietOption,
    RangeOption,
    ResizeOption,
    RevisionOption,
    StretchOption,
    TemperaturesOption,
    WindowAOption,
    WindowBOption,
    WindowOption,
    asked_finish,
    asked_motion,
    asked_windows,
    check_folder,
    check_model,
    check_there,
    check_writable,
    expanded,
    make_folder,
    print_listed,
    refuse_overwriting,
)
from refusion.cli.progress import progress_bar, working
from refusion.system.devices import check_device
from refusion.tasks import TASKS, Engine, Task, get_task

if TYPE_CHECKING:
    from refusion.inference.network import Network
    from refusion.inference.options import Options
    from refusion.pairs.files import Jobs

Mode = Literal["pairs", "videos", "pictures"]
"""Two folders or a list; one or two videos; a pair or a stack."""

_FEW_LISTED = 20


def fuse(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Two images in the order of the task; three to fifty of a stack; two folders; a CSV or JSONL list "
            "of pairs; two videos, or one with --side-by-side.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Output: a .png, .jpg, .tif, .bmp, .webp or .avif file; a folder; or a video."
        ),
    ],
    task: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(TASKS)}; if not given, that of --model, or ir-vis.")
    ] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    output_range: RangeOption = None,
    stretch: StretchOption = False,
    anchor: AnchorOption = None,
    engine: Annotated[
        Engine | None,
        typer.Option(
            parser=str,
            metavar="NAME",
            help="How the network runs: onnx, strips, whole or half (float16); chosen automatically if not given.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int, typer.Option(help="Pairs of equal size from a folder or list that run at once; for GPUs.")
    ] = 1,
    chroma: ChromaOption = None,
    bits: Annotated[
        int | None,
        typer.Option(help="8 or 16 bits per channel (16: PNG and TIFF); if not given, the depth of the sources."),
    ] = None,
    window: WindowOption = None,
    window_a: WindowAOption = None,
    window_b: WindowBOption = None,
    own_range: OwnRangeOption = False,
    temperatures: TemperaturesOption = False,
    nodata: NodataOption = None,
    resize: ResizeOption = None,
    align: AlignOption = False,
    motion: MotionOption = None,
    crop: CropOption = False,
    match: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Patterns of the file names, such as '*_ir.*' '*_vis.*'."),
    ] = None,
    suffix: Annotated[str, typer.Option(help="Format of the results in a folder.")] = ".png",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Fuse pairs of folders again whose results exist.")
    ] = False,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="The input is one video: first source left, second right.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Fuse a pair, a stack, folders or a list of pairs, or videos."""
    sources = expanded(sources)
    check_there(*sources)
    chosen = None if task is None else get_task(task)
    check_model(model, quiet, revision=revision, task=task)
    check_device(device)
    if batch_size < 1:
        raise ValueError(f"A batch has {batch_size} pairs; it must have at least 1.")

    from refusion.inference.options import Options
    from refusion.models.loading import load

    wanted_range, wanted_anchor = asked_finish(output_range, anchor, stretch)
    options = Options(
        wanted_range,
        wanted_anchor,
        chroma,
        asked_windows(window, window_a, window_b, own_range),
        resize,
        asked_motion(align, motion, crop),
        "crop" if crop else "fill",
        engine=engine,
        temperatures=temperatures,
        nodata=nodata,
    )
    opened = partial(load, task, model, device, engine, revision)
    mode = _mode(sources)
    if mode != "pairs" and batch_size > 1:
        raise ValueError("Batches are made of the pairs of folders or of a list; leave --batch-size out.")
    given = {
        "--match": match is not None,
        "--suffix": suffix != ".png",
        "--overwrite": overwrite,
        "--side-by-side": side_by_side,
        "--bits": bits is not None,
    }
    _note_idle(mode, [option for option, is_given in given.items() if is_given])
    if mode == "pairs":
        jobs = _jobs(sources, output, suffix, match)
        _fuse_pairs(jobs, output, opened, options, chosen, bits, batch_size, overwrite=overwrite, quiet=quiet)
    elif mode == "videos":
        _fuse_videos(sources, output, opened, options, chosen, side_by_side=side_by_side, quiet=quiet)
    else:
        _fuse_pictures(sources, output, opened, options, chosen, bits, quiet=quiet)


def _mode(sources: list[Path]) -> Mode:
    """What the sources are fused as.

    Raises:
        ValueError: they do not belong together.
    """
    kinds = {_kind(source) for source in sources}
    if kinds == {"folder"} or (kinds == {"list"} and len(sources) == 1):
        return "pairs"
    odd = next((source for source in sources if _kind(source) in ("folder", "list")), None)
    if odd is not None:
        other = next((source for source in sources if _kind(source) != _kind(odd)), None)
        what = f"{odd} is a {_kind(odd)}" + (f", and {other} is not" if other else "")
        raise ValueError(f"{what}: give two folders, one list of pairs, or images.")
    if len(kinds) > 1:
        image, video = (next(source for source in sources if _kind(source) == kind) for kind in ("picture", "video"))
        raise ValueError(f"{video} is a video, and {image} is not: give two videos, or two images.")
    return "videos" if kinds == {"video"} else "pictures"


def _kind(source: Path) -> str:
    from refusion.images.video import VIDEO_SUFFIXES
    from refusion.pairs.files import LISTS

    if source.is_dir():
        return "folder"
    suffix = source.suffix.lower()
    return "list" if suffix in LISTS else "video" if suffix in VIDEO_SUFFIXES else "picture"


def _note_idle(mode: Mode, given: list[str]) -> None:
    """Say which of the given options change nothing in this mode."""
    useful = {"--side-by-side": mode == "videos", "--bits": mode != "videos"}
    idle = [option for option in given if not useful.get(option, mode == "pairs")]
    if idle:
        change = "change" if len(idle) > 1 else "changes"
        typer.echo(f"Note: {' and '.join(idle)} {change} nothing here; --help says which options apply.", err=True)


def _fuse_pictures(
    sources: list[Path],
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    bits: int | None,
    *,
    quiet: bool,
) -> None:
    from refusion.images.writing import check_output

    check_output(output, bits)
    check_writable(output)
    refuse_overwriting(output, tuple(sources))
    if len(sources) < 2:
        from refusion.images.reading import read_picture
        from refusion.inference.stack import STACK_TASKS

        # Errors of the only source, such as several frames, come first.
        read_picture(sources[0], window="own", nodata=math.nan)
        raise ValueError(
            f"Fusion needs at least two images, but only {sources[0].name} was given; also give its partner, or the "
            f"rest of its stack with --task {' or --task '.join(STACK_TASKS)}."
        )

    from refusion.inference.fuse import fuse_sources

    shown: AbstractContextManager[Callable[[int, int], None] | None]
    shown = (working if len(sources) == 2 else progress_bar)("Fusing", quiet=quiet)
    with shown as report:
        network = opened()
        fused = fuse_sources(network, sources, None, options, task or network.task, report)
        note = fused.save(output, bits)
    if not quiet:
        for said in (*fused.notes, *([note] if note else [])):
            typer.echo(f"Note: {said}", err=True)
        width, height = fused.size
        typer.echo(f"Written to {output}: {width} x {height} pixels.")


def _jobs(sources: list[Path], output: Path, suffix: str, match: tuple[str, str] | None) -> "Jobs":
    from refusion.pairs.files import match_folders, read_list

    suffix = suffix if suffix.startswith(".") else f".{suffix}"
    if not sources[0].is_dir():
        check_folder(output)
        return read_list(sources[0], output, suffix)
    if len(sources) > 2:
        raise ValueError(f"Give two folders, or one folder and --match; {len(sources)} were given.")
    if len(sources) == 1 and match is None:
        folder = sources[0].name
        raise ValueError(
            f"{folder} is one folder. To fuse all images in it as one stack, name them ('{folder}/*.png', with --task "
            "multi-focus or multi-exposure); to fuse pairs in it, tell the sources apart with --match '*_ir.*' "
            "'*_vis.*'."
        )
    check_folder(output)
    advice = ", or by --match with two patterns such as '*_ir.*' '*_vis.*'"
    return match_folders(sources[0], sources[-1], output, suffix, match or ("*", "*"), advice)


def _fuse_pairs(
    jobs: "Jobs",
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    bits: int | None,
    batch_size: int,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    from refusion.images.writing import check_output
    from refusion.inference.folders import fuse_jobs, left_to_do
    from refusion.inference.many import fuse_pairs

    for job in jobs.pairs:
        check_output(job.output, bits)
    to_do = left_to_do(jobs.pairs, overwrite=overwrite)
    for folder in {job.output.parent for job in to_do}:
        check_folder(folder)
    failed: list[str] = []
    for note in jobs.notes:
        typer.echo(f"Note: {note}", err=True)
    if to_do:
        network = opened()
        fuse = partial(fuse_pairs, network, options=options, task=task or network.task, batch_size=batch_size)
        make_folder(output)
        with progress_bar("Fusing", quiet=quiet) as report:
            report(0, len(to_do))
            for done, (job, error, notes) in enumerate(fuse_jobs(to_do, fuse, bits=bits), 1):
                if error is not None:
                    failed.append(f"{job.name}: {error}")
                for note in () if quiet else notes:
                    typer.echo(f"Note: {note}", err=True)
                report(done, len(to_do))
    skipped = len(jobs.pairs) - len(to_do)
    if not quiet:
        fused = len(to_do) - len(failed)
        typer.echo(f"{fused} fused, {skipped} already there, {len(failed)} failed. Written to {output}.")
    print_listed("Failed", failed, _FEW_LISTED)
    print_listed("Left out", jobs.unmatched, _FEW_LISTED)
    if failed or jobs.unmatched:
        raise typer.Exit(1)


def _fuse_videos(
    sources: list[Path],
    output: Path,
    opened: "Callable[[], Network]",
    options: "Options",
    task: Task | None,
    *,
    side_by_side: bool,
    quiet: bool,
) -> None:
    from refusion.inference.video import check_options, fuse_videos

    if (len(sources) == 1) != side_by_side or len(sources) > 2:
        raise ValueError("Give two videos, or one with --side-by-side.")
    check_options(options)
    check_writable(output)
    refuse_overwriting(output, tuple(sources))
    network = opened()
    with progress_bar("Fusing frames", quiet=quiet) as report:
        notes = fuse_videos(network, sources, output, options, task or network.task, progress=report)
    if not quiet:
        for note in notes:
            typer.echo(f"Note: {note}", err=True)
        typer.echo(f"Written to {output}.")
