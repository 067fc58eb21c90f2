"""Options that several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

from refusion.cli.say import say
from refusion.tasks import (
    CONTRAST,
    TASKS,
    Anchor,
    ChromaRule,
    Engine,
    Motion,
    OutputRange,
    Resize,
    check_choice,
)

if TYPE_CHECKING:
    from refusion.images.windows import Windows

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
EngineOption = Annotated[
    Engine | None,
    typer.Option(
        parser=str,
        metavar="NAME",
        help="How the network runs: onnx, strips, whole or half (16 bits); chosen automatically if not given.",
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
FillBordersOption = Annotated[
    bool | None,
    typer.Option(
        "--fill-borders/--no-fill-borders",
        help="Fill a blank border of one source of a pair or video, as registration leaves it, from the other. If not "
        "given, black ones, and white ones of focus and exposure pairs.",
        rich_help_panel=SIZES,
    ),
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
    from refusion.images.windows import windows_from

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
