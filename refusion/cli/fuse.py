"""refusion fuse"""

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    asked_for,
    asked_placement,
    asked_windows,
    check_folder,
    check_model,
    check_there,
    check_writable,
    expanded,
    make_folder,
    refuse_overwriting,
)
from refusion.cli.progress import progress_bar, working
from refusion.system.devices import check_device
from refusion.tasks import TASKS, ChromaRule, Engine, check_choice, get_task

if TYPE_CHECKING:
    from refusion.pairs.files import Jobs

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
        str | None,
        typer.Option(
            help="How the network runs: onnx, strips, whole or half (float16); chosen automatically if not given."
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
    if task is not None:
        get_task(task)
    check_model(model, quiet, revision=revision, task=task)
    check_device(device)
    if engine is not None:
        check_choice("engine", engine, Engine)
    if chroma is not None:
        check_choice("chroma rule", chroma, ChromaRule)
    if batch_size < 1:
        raise ValueError(f"A batch has {batch_size} pairs; it must have at least 1.")
    wanted_range, wanted_anchor = asked_for(output_range, anchor, stretch)
    wanted: dict[str, Any] = {
        "task": task,
        "model": model,
        "revision": revision,
        "output_range": wanted_range,
        "anchor": wanted_anchor,
        "chroma": chroma,
        "window": asked_windows(window, window_a, window_b, own_range),
        "temperatures": temperatures,
        "nodata": nodata,
        "engine": engine,
        "device": device,
        **asked_placement(resize, align, motion, crop),
    }
    kinds = {_kind(source) for source in sources}
    of_folders = {"--match": match is not None, "--suffix": suffix != ".png", "--overwrite": overwrite}
    idle = [] if kinds & {"folder", "list"} else [option for option, given in of_folders.items() if given]
    if side_by_side and kinds != {"video"}:
        idle.append("--side-by-side")
    if bits is not None and kinds == {"video"}:
        idle.append("--bits")
    if idle:
        change = "change" if len(idle) > 1 else "changes"
        typer.echo(f"Note: {' and '.join(idle)} {change} nothing here; --help says which options apply.", err=True)
    if kinds == {"folder"} or (kinds == {"list"} and len(sources) == 1):
        wanted["batch_size"] = batch_size
        _fuse_pairs(_jobs(sources, output, suffix, match), output, wanted, bits, overwrite=overwrite, quiet=quiet)
    elif batch_size > 1:
        raise ValueError("Batches are made of the pairs of folders or of a list; leave --batch-size out.")
    elif "folder" in kinds or "list" in kinds:
        odd = next(source for source in sources if _kind(source) in ("folder", "list"))
        other = next((source for source in sources if _kind(source) != _kind(odd)), None)
        what = f"{odd} is a {_kind(odd)}" + (f", and {other} is not" if other else "")
        raise ValueError(f"{what}: give two folders, one list of pairs, or images.")
    elif kinds == {"video", "picture"}:
        image, video = (next(str(one) for one in sources if _kind(one) == kind) for kind in ("picture", "video"))
        raise ValueError(f"{video} is a video, and {image} is not: give two videos, or two images.")
    elif kinds == {"video"}:
        if own_range or window_a or window_b:
            raise ValueError("Videos do not take --own-range, --window-a and --window-b; leave them out.")
        _fuse_videos(sources, output, wanted, side_by_side=side_by_side, quiet=quiet)
    else:
        _fuse_pictures(sources, output, wanted, bits, quiet=quiet)


def _kind(source: Path) -> str:
    from refusion.images.video import VIDEO_SUFFIXES
    from refusion.pairs.files import LISTS

    if source.is_dir():
        return "folder"
    suffix = source.suffix.lower()
    return "list" if suffix in LISTS else "video" if suffix in VIDEO_SUFFIXES else "picture"


def _fuse_pictures(sources: list[Path], output: Path, wanted: dict[str, Any], bits: int | None, *, quiet: bool) -> None:
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

    from refusion.api import fuse

    if len(sources) == 2:
        with working("Fusing", quiet=quiet):
            fused = fuse(sources, **wanted)
            note = fused.save(output, bits)
    else:
        with progress_bar("Fusing", quiet=quiet) as report:
            fused = fuse(sources, **wanted, progress=report)
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
    jobs: "Jobs", output: Path, wanted: dict[str, Any], bits: int | None, *, overwrite: bool, quiet: bool
) -> None:
    from refusion.api import fuse_many
    from refusion.images.writing import check_output
    from refusion.inference.folders import fuse_jobs, left_to_do
    from refusion.models.loading import load

    for job in jobs.pairs:
        check_output(job.output, bits)
    to_do = left_to_do(jobs.pairs, overwrite=overwrite)
    for folder in {job.output.parent for job in to_do}:
        check_folder(folder)
    failed: list[str] = []
    for note in jobs.notes:
        typer.echo(f"Note: {note}", err=True)
    if to_do:
        wanted["model"] = load(
            wanted["task"], wanted["model"], wanted.pop("device"), wanted["engine"], wanted.pop("revision")
        )
        make_folder(output)
        with progress_bar("Fusing", quiet=quiet) as report:
            report(0, len(to_do))
            for done, (job, error, notes) in enumerate(fuse_jobs(to_do, partial(fuse_many, **wanted), bits=bits), 1):
                if error is not None:
                    failed.append(f"{job.name}: {error}")
                for note in () if quiet else notes:
                    typer.echo(f"Note: {note}", err=True)
                report(done, len(to_do))
    skipped = len(jobs.pairs) - len(to_do)
    if not quiet:
        fused = len(to_do) - len(failed)
        typer.echo(f"{fused} fused, {skipped} already there, {len(failed)} failed. Written to {output}.")
    _list("Failed", failed)
    _list("Left out", jobs.unmatched)
    if failed or jobs.unmatched:
        raise typer.Exit(1)


def _list(title: str, lines: list[str]) -> None:
    if not lines:
        return
    typer.echo(f"{title}:", err=True)
    for line in lines[:_FEW_LISTED]:
        typer.echo(f"  {line}", err=True)
    if len(lines) > _FEW_LISTED:
        typer.echo(f"  and {len(lines) - _FEW_LISTED} more", err=True)


def _fuse_videos(sources: list[Path], output: Path, wanted: dict[str, Any], *, side_by_side: bool, quiet: bool) -> None:
    if (len(sources) == 1) != side_by_side or len(sources) > 2:
        raise ValueError("Give two videos, or one with --side-by-side.")
    for option in ("align", "window", "temperatures", "nodata"):
        given = wanted.pop(option)
        # A no-data value of 0 is given, too.
        if given is not None and given is not False:
            raise ValueError(f"Videos do not take --{option}; leave it out.")
    del wanted["align_border"]
    check_writable(output)
    refuse_overwriting(output, tuple(sources))

    from refusion.api import fuse_videos

    with progress_bar("Fusing frames", quiet=quiet) as report:
        notes = fuse_videos(sources, output, **wanted, progress=report)
    if not quiet:
        for note in notes:
            typer.echo(f"Note: {note}", err=True)
        typer.echo(f"Written to {output}.")
