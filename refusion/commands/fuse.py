"""refusion fuse"""

from pathlib import Path
from typing import Annotated

import typer

from refusion.commands.options import (
    AnchorOption,
    RangeOption,
    StretchOption,
    TaskOption,
    chosen_anchor,
    chosen_range,
    refuse_overwriting,
)
from refusion.tasks import get_task


def fuse(
    a: Annotated[Path, typer.Argument(help="First source: infrared, functional, near focus or under-exposed.")],
    b: Annotated[Path, typer.Argument(help="Second source: visible, MRI, far focus or over-exposed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write: .png, .jpg, .tif, .bmp or .webp.")],
    task: TaskOption = "ir-vis",
    model: Annotated[
        str | None, typer.Option(help="Bare name, folder or OWNER/NAME on the Hub; the task's own if not given.")
    ] = None,
    output_range: RangeOption = None,
    stretch: StretchOption = False,
    anchor: AnchorOption = None,
    engine: Annotated[
        str | None, typer.Option(help="How the network runs: strips or whole; the fastest if not given.")
    ] = None,
) -> None:
    """Fuse one pair of pictures."""
    chosen = get_task(task)
    wanted_range, wanted_anchor = chosen_range(output_range, stretch, chosen), chosen_anchor(anchor, stretch, chosen)
    refuse_overwriting(output, (a, b))

    from refusion.images import save_image
    from refusion.model import ReFusion

    loaded = ReFusion.from_pretrained(model or chosen.model)
    fused = loaded.fuse(a, b, output_range=wanted_range, anchor=wanted_anchor, chroma=chosen.chroma, engine=engine)
    save_image(fused, output)
