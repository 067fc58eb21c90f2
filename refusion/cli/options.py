"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, cast

import typer

from refusion.tasks import CONTRAST, TASKS, Anchor, OutputRange, check_choice

TaskOption = Annotated[str, typer.Option("--task", help=f"One of {', '.join(TASKS)}.")]
RangeOption = Annotated[
    str | None,
    typer.Option(
        help=f"sources: the range that both sources span; contrast: {CONTRAST} times the contrast; robust: the full "
        "range, 0.5 % clipped at each end; stretch: the full range; network: unchanged. The task's own if not given."
    ),
]
AnchorOption = Annotated[
    str | None,
    typer.Option(
        help="guided: the picture is made of its two sources around every pixel; choice: nearly every pixel is one of "
        "them; bounds: it lies between them; none. The task's own if not given."
    ),
]
StretchOption = Annotated[
    bool,
    typer.Option("--stretch", help="Short for --output-range stretch --anchor none, as the authors' release does."),
]


def refuse_overwriting(output: Path, sources: tuple[Path, ...]) -> None:
    """Refuse to write over a source.

    Raises:
        ValueError: `output` is one of the sources.
    """
    for source in sources:
        if output.exists() and source.exists() and output.samefile(source):
            raise ValueError(f"The output {output.name} is one of the sources; choose another name.")


def asked_for(output_range: str | None, anchor: str | None, stretch: bool) -> tuple[OutputRange | None, Anchor | None]:
    """What --output-range, --anchor and --stretch ask for together; None stands for the task's own.

    Raises:
        ValueError: there is no such output range or anchor.
    """
    if stretch:
        output_range, anchor = "stretch", anchor or "none"
    if output_range is not None:
        check_choice("output range", output_range, OutputRange)
    if anchor is not None:
        check_choice("anchor", anchor, Anchor)
    return cast(OutputRange | None, output_range), cast(Anchor | None, anchor)
