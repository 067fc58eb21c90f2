"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, cast

import typer

from refusion.tasks import TASKS, Anchor, OutputRange, Task, check_choice

TaskOption = Annotated[str, typer.Option("--task", help=f"One of {', '.join(TASKS)}.")]
RangeOption = Annotated[
    str | None,
    typer.Option(
        help="sources: the range that both sources span; contrast: 1.16 times the contrast; robust: the full range, "
        "0.5 % clipped at each end; stretch: the full range; network: as it comes. The task's own if not given."
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


def chosen_range(output_range: str | None, stretch: bool, task: Task) -> OutputRange:
    """The output range that the options ask for, or the task's own.

    Raises:
        ValueError: there is no such output range.
    """
    chosen = "stretch" if stretch else output_range or task.output_range
    check_choice("output range", chosen, OutputRange)
    return cast(OutputRange, chosen)


def chosen_anchor(anchor: str | None, stretch: bool, task: Task) -> Anchor:
    """The anchor that the options ask for, or the task's own; none with --stretch, as the authors' release does.

    Raises:
        ValueError: there is no such anchor.
    """
    chosen = anchor or ("none" if stretch else task.anchor)
    check_choice("anchor", chosen, Anchor)
    return cast(Anchor, chosen)
