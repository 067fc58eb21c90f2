"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from refusion.tasks import TASKS

TaskOption = Annotated[str, typer.Option("--task", help=f"One of {', '.join(TASKS)}.")]
RangeOption = Annotated[
    str, typer.Option(help="sources: the range that both sources span; stretch: the full range; network: as it comes.")
]
StretchOption = Annotated[
    bool, typer.Option("--stretch", help="Short for --output-range stretch, which the authors' release does.")
]


def refuse_overwriting(output: Path, sources: tuple[Path, ...]) -> None:
    """Refuse to write over a source.

    Raises:
        ValueError: `output` is one of the sources.
    """
    for source in sources:
        if output.exists() and source.exists() and output.samefile(source):
            raise ValueError(f"The output {output.name} is one of the sources; choose another name.")
