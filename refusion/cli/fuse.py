"""refusion fuse"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from refusion.cli.fuse_folders import fuse_pair_files, jobs_of
from refusion.cli.fuse_modes import fuse_pictures, fuse_video_files, fuse_volume_files
from refusion.cli.model_choice import check_model, note_other_task
from refusion.cli.options import (
    LOOK,
    RUNNING,
    SERIES,
    AlignOption,
    AnchorOption,
    ChromaOption,
    CropOption,
    DeghostOption,
    DeviceOption,
    EngineOption,
    FillBordersOption,
    MatchOption,
    ModelOption,
    MotionOption,
    NodataOption,
    OwnRangeOption,
    QuietOption,
    RangeOption,
    ResizeOption,
    RevisionOption,
    StretchOption,
    TaskOption,
    TemperaturesOption,
    WindowAOption,
    WindowBOption,
    WindowOption,
    asked_finish,
    asked_motion,
    asked_windows,
)
from refusion.cli.paths import check_there, expanded
from refusion.cli.say import say
from refusion.system.devices import check_device
from refusion.tasks import get_task

if TYPE_CHECKING:
    from refusion.inference.folder_record import Settings
    from refusion.inference.network import Network

Mode = Literal["pairs", "videos", "volumes", "pictures"]
"""Two folders or a list; one or two videos; two volumes; a pair or a stack."""

_OTHER_LISTS = (".json", ".txt", ".xls", ".xlsx", ".ods", ".yaml", ".yml")
"""Suffixes of files that may be meant as lists of pairs, and are not read."""


def fuse(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Two images in the order of the task; three to fifty of a stack, or one TIFF that holds them; two "
            "folders; a CSV or JSONL list of pairs; two videos, or one with --side-by-side; two volumes, "
            "each a file or a folder with one DICOM series.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Output: a .png, .jpg, .tif, .bmp, .webp or .avif file; a folder; a video; or a .nii.gz, .nii, .nrrd "
            "or .mha volume.",
        ),
    ],
    task: TaskOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    match: MatchOption = None,
    output_range: RangeOption = None,
    stretch: StretchOption = False,
    anchor: AnchorOption = None,
    chroma: ChromaOption = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="8 or 16 bits per channel (16: PNG and TIFF); if not given, the depth of the sources.",
            rich_help_panel=LOOK,
        ),
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
    fill_borders: FillBordersOption = None,
    deghost: DeghostOption = True,
    suffix: Annotated[str, typer.Option(help="Format of the results in a folder.", rich_help_panel=SERIES)] = ".png",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="In folders and lists, also fuse pairs whose results exist already.",
            rich_help_panel=SERIES,
        ),
    ] = False,
    side_by_side: Annotated[
        bool,
        typer.Option(
            "--side-by-side", help="The input is one video: first source left, second right.", rich_help_panel=SERIES
        ),
    ] = False,
    engine: EngineOption = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int,
        typer.Option(
            help="Pairs of equal size from a folder or list that run at once; for GPUs.", rich_help_panel=RUNNING
        ),
    ] = 1,
    quiet: QuietOption = False,
) -> None:
    """Fuse a pair, a stack, folders or a list of pairs, videos, or volumes."""
    sources = expanded(sources)
    check_there(*sources)
    chosen = None if task is None else get_task(task)
    check_model(model, quiet, revision=revision, task=task)
    check_device(device)
    if batch_size < 1:
        raise ValueError(f"A batch has {batch_size} pairs; it must have at least 1.")

    from refusion.inference.folder_record import settings_of
    from refusion.inference.options import Options
    from refusion.models.loading import digest_of, load, task_of

    wanted_range, wanted_anchor = asked_finish(output_range, anchor, stretch)
    mode = _mode(sources, output)
    # Videos and volumes refuse both, where others may have forgotten --align.
    wanted_motion = (motion or align) if mode in ("videos", "volumes") else asked_motion(align, motion, crop, quiet)
    options = Options(
        wanted_range,
        wanted_anchor,
        chroma,
        asked_windows(window, window_a, window_b, own_range),
        resize,
        wanted_motion,
        "crop" if crop else "fill",
        fill_borders,
        deghost,
        engine=engine,
        temperatures=temperatures,
        nodata=nodata,
    )

    def opened() -> "Network":
        network = load(task, model, device, engine, revision)
        if not quiet:
            note_other_task(model, network.task, chosen)
        return network

    @cache
    def settings() -> "Settings":
        name = model or (chosen or get_task("ir-vis")).model
        return settings_of(options, chosen or task_of(name, revision), bits, digest_of(name, revision))

    if mode != "pairs" and batch_size > 1:
        raise ValueError("Batches are made of the pairs of folders or of a list; leave --batch-size out.")
    given = {
        "--match": match is not None,
        "--suffix": suffix != ".png",
        "--overwrite": overwrite,
        "--side-by-side": side_by_side,
        "--bits": bits is not None,
        "--fill-borders": fill_borders is not None,
        "--no-deghost": not deghost,
    }
    if not quiet:
        _note_idle(mode, [option for option, is_given in given.items() if is_given])
    if mode == "pairs":
        jobs = jobs_of(sources, output, suffix, match)
        fuse_pair_files(
            jobs, output, opened, options, chosen, bits, batch_size, settings, overwrite=overwrite, quiet=quiet
        )
    elif mode == "videos":
        fuse_video_files(sources, output, opened, options, chosen, side_by_side=side_by_side, quiet=quiet)
    elif mode == "volumes":
        fuse_volume_files(sources, output, opened, options, chosen, bits, quiet=quiet)
    else:
        fuse_pictures(sources, output, opened, options, chosen, bits, quiet=quiet)


def _mode(sources: list[Path], output: Path) -> Mode:
    """What the sources are fused as.

    Raises:
        ValueError: they do not belong together.
    """
    _refuse_other_lists(sources)
    kinds = {_kind(source) for source in sources}
    if kinds <= {"folder", "volume"} and _kind(output) == "volume":
        return "volumes"
    if kinds == {"folder"} or (kinds == {"list"} and len(sources) == 1):
        return "pairs"
    if len(kinds) > 1 or kinds == {"list"}:
        raise ValueError(_mismatch(sources))
    return "videos" if kinds == {"video"} else "volumes" if kinds == {"volume"} else "pictures"


def _refuse_other_lists(sources: list[Path]) -> None:
    """Refuse Parquet and lists in other formats.

    Raises:
        ValueError: there is one.
    """
    if parquet := next((source for source in sources if source.suffix.lower() == ".parquet"), None):
        raise ValueError(
            f"{parquet.name} is a Parquet file, which this command does not read; refusion fuse-dataset does, and "
            "writes Parquet. A list of pairs is .csv, .tsv or .jsonl, with the columns a, b and optionally output."
        )
    if len(sources) == 1 and sources[0].suffix.lower() in _OTHER_LISTS:
        raise ValueError(
            f"{sources[0].name} is not read: a list of pairs must be .csv, .tsv or .jsonl, with the columns a, b and "
            "optionally output."
        )


def _mismatch(sources: list[Path]) -> str:
    """A sentence on the source that does not go with the others: a folder or list, or else a volume or video."""
    odd = next((source for source in sources if _kind(source) in ("folder", "list")), None)
    odd = odd or next(source for source in sources if _kind(source) != "picture")
    kind = _kind(odd)
    other = next((source for source in sources if _kind(source) != kind), None)
    if kind in ("folder", "list"):
        what = f"{odd} is a {kind}" + (f", and {other} is not" if other else "")
        return f"{what}: give two folders, one list of pairs, or images."
    if kind == "volume":
        from refusion.images.volume import OTHER_VOLUMES

        return f"{odd} is a volume, and {other} is not read as one: give two volumes, or two images; {OTHER_VOLUMES}."
    return f"{odd} is a {kind}, and {other} is not: give two {kind}s, or two images."


def _kind(source: Path) -> str:
    from refusion.images.video import VIDEO_SUFFIXES
    from refusion.images.volume import is_volume
    from refusion.pairs.lists import LISTS

    if source.is_dir():
        return "folder"
    if is_volume(source):
        return "volume"
    suffix = source.suffix.lower()
    return "list" if suffix in LISTS else "video" if suffix in VIDEO_SUFFIXES else "picture"


def _note_idle(mode: Mode, given: list[str]) -> None:
    """Say which of the given options change nothing in this mode."""
    useful = {
        "--side-by-side": mode == "videos",
        "--bits": mode != "videos",
        "--fill-borders": mode != "volumes",
        "--no-deghost": mode == "pictures",
    }
    idle = [option for option in given if not useful.get(option, mode == "pairs")]
    if idle:
        change = "change" if len(idle) > 1 else "changes"
        say(f"Note: {' and '.join(idle)} {change} nothing here; --help says which options apply.", err=True)
