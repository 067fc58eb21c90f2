"""Options that several commands share."""

from collections.abc import Iterable, Sequence
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from refusion.cli.say import say
from refusion.hub.folder import CONFIG
from refusion.hub.names import check_revision, locate
from refusion.system.files import broken_link, files_matching, is_stream, is_there
from refusion.system.lists import listed
from refusion.tasks import (
    CONTRAST,
    TASKS,
    Anchor,
    ChromaRule,
    Motion,
    OutputRange,
    Resize,
    Task,
    check_choice,
    get_task,
)

if TYPE_CHECKING:
    from refusion.images.levels import Windows

_NOTES_SHOWN = 10

# Panels of --help, in the order of their first options.
LOOK = "Look of the result"
READING = "How sources are read"
SIZES = "Size and alignment"
SERIES = "Folders, lists and videos"
RUNNING = "How it runs"

TaskOption = Annotated[
    str | None, typer.Option("--task", help=f"One of {', '.join(TASKS)}; if not given, that of --model, or ir-vis.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Name of a bundled model, folder or OWNER/NAME on the Hub. If not given, that of the task."),
]
# `refusion.inference.options.Options` checks the choices below, with a message of its own.
RangeOption = Annotated[
    OutputRange | None,
    typer.Option(
        parser=str,
        metavar="NAME",
        help=f"sources: the range that both sources span; contrast: {CONTRAST} times the contrast; robust: the full "
        "range, 0.5 % clipped at each end; stretch: the full range; network: unchanged. If not given, that of the "
        "task.",
        rich_help_panel=LOOK,
    ),
]
AnchorOption = Annotated[
    Anchor | None,
    typer.Option(
        parser=str,
        metavar="NAME",
        help="guided: built from both sources around every pixel; detail: the same, but detail on a bright surface "
        "that is brighter than both is kept, less towards black and white; full-detail: all of it; heat: "
        "the same, and what is hot in the infrared becomes brighter; choice: nearly every pixel is that of one source; "
        "bounds: clipped to lie between the sources; none. If not given, that of the task.",
        rich_help_panel=LOOK,
    ),
]
ChromaOption = Annotated[
    ChromaRule | None,
    typer.Option(
        parser=str,
        metavar="NAME",
        help="Source of the colour: a, b, choice (as luminance), or all: exposure (relative to brightness), release "
        "(as the authors' release) or saturation. If not given, that of the task.",
        rich_help_panel=LOOK,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="Device: auto (a CUDA GPU if there is one), cpu, cuda, mps or another torch device.",
        rich_help_panel=RUNNING,
    ),
]
StretchOption = Annotated[
    bool,
    typer.Option(
        "--stretch",
        help="Short for --output-range stretch --anchor none, as the authors' release does.",
        rich_help_panel=LOOK,
    ),
]
WindowOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--window",
        metavar="LOW HIGH",
        help="Stored values of black and white, for sources of more than 8 bits.",
        rich_help_panel=READING,
    ),
]
WindowAOption = Annotated[
    tuple[float, float] | None,
    typer.Option("--window-a", metavar="LOW HIGH", help="The same for the first source only.", rich_help_panel=READING),
]
WindowBOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--window-b", metavar="LOW HIGH", help="The same for the second source only.", rich_help_panel=READING
    ),
]
OwnRangeOption = Annotated[
    bool,
    typer.Option(
        "--own-range",
        help="Scale sources of more than 8 bits by the range of all but 1 % of their values; those of one camera "
        "(multi-focus, multi-exposure) together.",
        rich_help_panel=READING,
    ),
]
TemperaturesOption = Annotated[
    bool,
    typer.Option(
        "--temperatures",
        help="Read the temperatures of radiometric JPEGs, not the visible image.",
        rich_help_panel=READING,
    ),
]
NodataOption = Annotated[
    float | None,
    typer.Option(
        "--nodata",
        metavar="VALUE",
        help="Stored value that means no data, besides those that the file declares; nan for NaN and infinite values.",
        rich_help_panel=READING,
    ),
]
ResizeOption = Annotated[
    Resize | None,
    typer.Option(
        "--resize",
        parser=str,
        metavar="NAME",
        help="Resize both to the same size: smaller, larger, a or b. If not given, sizes must match.",
        rich_help_panel=SIZES,
    ),
]
AlignOption = Annotated[
    bool, typer.Option("--align", help="Move the second source onto the first; see --motion.", rich_help_panel=SIZES)
]
MatchOption = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="A B",
        help='Patterns of the names of the first and of the second sources, such as "*_ir.*" "*_vis.*"; for pairs '
        "in one folder, or in two.",
    ),
]
MotionOption = Annotated[
    Motion | None,
    typer.Option(
        "--motion",
        parser=str,
        metavar="NAME",
        help="With --align: translation, euclidean, similarity (also of another size), affine or homography. If "
        "not given, similarity for focus stacks of three or more, otherwise euclidean, or a translation if that is "
        "uncertain.",
        rich_help_panel=SIZES,
    ),
]
CropOption = Annotated[
    bool, typer.Option("--crop", help="With --align: crop to the overlap instead of filling.", rich_help_panel=SIZES)
]
DeghostOption = Annotated[
    bool,
    typer.Option(
        "--deghost/--no-deghost",
        help="In brackets of three or more, show what moves as the best exposed image does.",
        rich_help_panel=LOOK,
    ),
]

RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of a model on the Hub; main if not given.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def check_there(*paths: Path, what: str | None = None) -> None:
    """Refuse missing paths, before any long work.

    Args:
        *paths: files or folders.
        what: which of both; a file if it has a suffix, else either, if not given.

    Raises:
        ValueError: the first one that is missing, by its name.
    """
    for path in paths:
        if not path.exists():
            if path.parts and path.parts[0] in ("http:", "https:"):
                raise ValueError(f"{path.name} is given by a URL; download it, and give the file.")
            if broken := broken_link(path):
                raise ValueError(f"{path.name} {broken}.")
            kind = what or ("file" if path.suffix else "file or folder")
            raise ValueError(f"There is no {kind} {path.name} in {path.parent}; check the path.")


def check_writable(path: Path | None) -> None:
    """Refuse an output file that cannot be written, before any long work.

    Raises:
        ValueError: it is a folder, or its folder is not there or takes no new files.
    """
    if path is None or is_stream(path):
        return
    if path.is_dir():
        raise ValueError(f"{path.name} is a folder; give the name of a file to write.")
    if is_there(path.parent) and not path.parent.is_dir():
        raise ValueError(f"{path.name} cannot be written: {path.parent} is a file, not a folder; choose another.")
    if not path.parent.is_dir():
        raise ValueError(f"{path.name} cannot be written: there is no folder {path.parent}; create it first.")
    # Images are written where a symbolic link leads, and reports in its place.
    if not path.is_symlink():
        _refuse_read_only(path.parent)


def check_folder(path: Path, *, writable: bool = False) -> None:
    """Refuse an output folder that is a file, or lies below one, before any long work.

    Args:
        path: the folder; it need not exist.
        writable: also check that files can be created in it, or else in the folder that it will be created in.

    Raises:
        ValueError: the folder cannot be used.
    """
    there = next(place for place in (path, *path.absolute().parents) if is_there(place))
    if not there.is_dir():
        raise ValueError(f"The output {there.name} is a file, but a folder is needed; choose another.")
    if writable:
        _refuse_read_only(there)


def make_folder(path: Path) -> None:
    """Create an output folder and check that files can be created in it, before any long work.

    Raises:
        ValueError: one of both is impossible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _read_only(path, error) from error
    _refuse_read_only(path)


def _refuse_read_only(folder: Path) -> None:
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _read_only(folder, error) from error


def _read_only(folder: Path, error: OSError) -> ValueError:
    return ValueError(f"Nothing can be written to the folder {folder}: {error.strerror or error}; choose another.")


def check_model(name: str | None, quiet: bool = False, *, revision: str | None = None, task: str | None = None) -> None:
    """Refuse a missing model, and a revision of one that has none; if a name is ambiguous, print which model is used.

    Args:
        name: the model; that of the task if not given.
        quiet: print nothing.
        revision: branch, tag or commit on the Hub.
        task: the task; ir-vis if not given.

    Raises:
        ModelError: it is neither bundled, nor a folder, nor OWNER/NAME; or it is not on the Hub and has no revisions.
    """
    if revision is not None:
        check_revision(locate(name or get_task(task or "ir-vis").model), revision)
    if name is None:
        return
    folder = Path(locate(name))
    if quiet or not (Path(name) / CONFIG).is_file() or name != Path(name).name:
        return
    if folder == Path(name).resolve():
        say(f"Note: The model {name} is the folder of that name; ./{name} would be unambiguous.", err=True)
    else:
        say(f"Note: {name} is the model of that name; the folder is given as ./{name}.", err=True)


def note_other_task(name: str | None, of_model: Task, task: Task | None) -> None:
    """Print a note if a model is used for another task than its own, on purpose or by mistake.

    Args:
        name: name of the model; that of the task if not given.
        of_model: the task of the model.
        task: the task of --task; that of the model if not given.
    """
    if name is not None and task not in (None, of_model):
        say(
            f"Note: The model {name} is for {of_model.name}, but --task is {task.name}; leave one of them out unless "
            "both are meant.",
            err=True,
        )


def expanded(sources: list[Path]) -> list[Path]:
    """Expand patterns such as frame*.jpg that the shell left unexpanded, as those of Windows do.

    Raises:
        ValueError: no file fits.
    """
    found: list[Path] = []
    for source in sources:
        if source.exists() or not has_magic(source.name if is_there(source.parent) else str(source)):
            found.append(source)
            continue
        fitting = files_matching(source)
        if not fitting:
            raise ValueError(f"No file matches {source.name}; check the pattern and its folder.")
        found += fitting
    return found


def refuse_overwriting(output: Path, sources: Iterable[Path], what: str = "sources") -> None:
    """Refuse to write over a source.

    Args:
        output: the file to write.
        sources: the files that are read.
        what: what they are.

    Raises:
        ValueError: `output` is one of them.
    """
    if not output.exists():
        return
    for source in sources:
        if source.exists() and output.samefile(source):
            raise ValueError(f"The output {output.name} is one of the {what}; choose another name.")


def refuse_same_names(outputs: Iterable[Path]) -> None:
    """Refuse two outputs that are one file.

    Raises:
        ValueError: there are two.
    """
    seen = set()
    for output in outputs:
        place = output.resolve()
        if place in seen:
            raise ValueError(f"Two outputs would be written to {output.name}; give each a name of its own.")
        if output.is_file() or not output.exists():  # Devices and pipes take several.
            seen.add(place)


def print_listed(title: str, lines: Sequence[str], shown: int) -> None:
    """Print a list to standard error, see `refusion.system.lists.listed`."""
    for line in listed(title, lines, shown):
        say(line, err=True)


def print_notes(notes: Sequence[str]) -> None:
    """Print the first notes to standard error, and how many more there are."""
    print_listed("Notes", notes, _NOTES_SHOWN)


def asked_motion(align: bool, motion: Motion | None, crop: bool, quiet: bool = False) -> Motion | bool:
    """Combine --align and --motion; unless `quiet`, print a note if --motion or --crop is given without --align.

    Raises:
        ValueError: there is no such motion, and no --align with which `Options` would check it.
    """
    if align:
        return motion or True
    if motion is not None:
        check_choice("motion", motion, Motion)
    if not quiet and (crop or motion is not None):
        say("Note: --crop and --motion change nothing without --align.", err=True)
    return False


def asked_windows(
    window: tuple[float, float] | None,
    window_a: tuple[float, float] | None,
    window_b: tuple[float, float] | None,
    own_range: bool,
) -> "Windows | None":
    """Combine --window, --window-a, --window-b and --own-range.

    Raises:
        ValueError: --window and --own-range are given.
    """
    from refusion.images.levels import windows_from

    if window is not None and own_range:
        raise ValueError("Give either --window or --own-range.")
    return windows_from("own" if own_range else window, window_a, window_b)


def asked_finish(
    output_range: OutputRange | None, anchor: Anchor | None, stretch: bool
) -> tuple[OutputRange | None, Anchor | None]:
    """Combine --output-range, --anchor and --stretch; None means the task's default.

    Raises:
        ValueError: --stretch and another output range are given.
    """
    if not stretch:
        return output_range, anchor
    if output_range not in (None, "stretch"):
        raise ValueError(
            f"--stretch is short for --output-range stretch, but --output-range {output_range} was given too; leave "
            "one of them out."
        )
    return "stretch", anchor or "none"
