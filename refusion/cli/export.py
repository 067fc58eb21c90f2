"""refusion export"""

from pathlib import Path
from typing import Annotated

import typer

from refusion.cli.model_choice import check_model
from refusion.cli.options import QuietOption, RevisionOption
from refusion.cli.paths import check_writable
from refusion.cli.progress import working
from refusion.cli.say import say
from refusion.system.extras import need


def export(
    model: Annotated[str, typer.Argument(help="Name of a bundled model, folder or OWNER/NAME on the Hub.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .onnx, or .pt2 (torch.export).")],
    revision: RevisionOption = None,
    opset: Annotated[
        int | None,
        typer.Option(help="ONNX operator set, 17 to 20; 20 if not given. Older runtimes need an older one."),
    ] = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="WIDTH HEIGHT",
            help="Fix the image size of an ONNX model, for runtimes that need it; if not given, any size is accepted.",
        ),
    ] = None,
    finished: Annotated[
        bool, typer.Option("--finished", help="With anchor, output range and colour: RGB in, RGB out (.onnx).")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Export a model to ONNX or as a torch.export program, for pairs of any size or of one, and check it.

    An ONNX model takes one pair at a time (a batch of 1): run it once for each pair. A .pt2 program takes batches.
    """
    from refusion.models.export_formats import check_export

    check_model(model, quiet, revision=revision)
    check_export(output)
    check_writable(output)
    need("torch", "refusion export")
    if finished:
        if opset is not None or size is not None:
            raise ValueError("A finished model has operators of version 20 and any size; leave --opset and --size out.")
        _finished(model, revision, output, quiet)
        return
    from refusion.models.export import checked_sizes, export
    from refusion.models.model import ReFusion

    sides = (size[1], size[0]) if size else None
    with working("Exporting", quiet=quiet):
        difference = export(ReFusion.from_pretrained(model, revision=revision), output, opset=opset, size=sides)
    if quiet:
        return
    sizes = ", ".join(f"{width} x {height}" for height, width in checked_sizes(sides))
    say(f"Written to {output}: differs from the model by at most {difference:.1e} at {sizes}.")


def _finished(model: str, revision: str | None, output: Path, quiet: bool) -> None:
    from refusion.models.export import CHECKED_SIZES
    from refusion.models.finished import export_finished
    from refusion.models.model import ReFusion

    with working("Exporting", quiet=quiet):
        share = export_finished(ReFusion.from_pretrained(model, revision=revision), output)
    if quiet:
        return
    sizes = ", ".join(f"{width} x {height}" for height, width in CHECKED_SIZES)
    say(f"Written to {output}: within one grey level of the model on {1 - share:.2%} of the pixels at {sizes}.")
