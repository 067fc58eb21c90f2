"""refusion export"""

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[str, typer.Argument(help="Bare name, folder or OWNER/NAME on the Hub.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write: .onnx or .pt2 (torch.export).")],
) -> None:
    """Write a model as ONNX or as a torch.export program, for pairs of any size, and check it."""
    from refusion.models.export import CHECKED_SIZES, export
    from refusion.models.model import ReFusion

    difference = export(ReFusion.from_pretrained(model), output)
    sizes = ", ".join(f"{width} x {height}" for height, width in CHECKED_SIZES)
    typer.echo(f"{output.name}: differs from the model by at most {difference:.1e} at {sizes}.")
