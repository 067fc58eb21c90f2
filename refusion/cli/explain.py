"""refusion explain"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refusion.cli.model_choice import check_model, note_other_task
from refusion.cli.options import (
    NodataOption,
    OwnRangeOption,
    QuietOption,
    RevisionOption,
    TaskOption,
    TemperaturesOption,
    WindowAOption,
    WindowBOption,
    WindowOption,
    asked_windows,
)
from refusion.cli.paths import check_folder, check_there, refuse_overwriting
from refusion.cli.progress import working
from refusion.cli.say import print_notes, say
from refusion.tasks import get_task

if TYPE_CHECKING:
    from refusion.explanation.maps import Explanation

ALIKE = 0.01
"""Distance of a mean weight from 1/2 below which both sources count as trusted alike."""


def explain(
    a: Annotated[Path, typer.Argument(help="First source: infrared, functional, near focus or under-exposed.")],
    b: Annotated[Path, typer.Argument(help="Second source: visible, MRI, far focus or over-exposed.")],
    task: TaskOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the results; <stem of A>_explained in the current folder if not given."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a bundled model, folder or OWNER/NAME with the training modules. If not given, that of the "
            "task."
        ),
    ] = None,
    revision: RevisionOption = None,
    max_megapixels: Annotated[
        float, typer.Option(help="Largest image accepted, in megapixels; one takes about 15 CPU seconds and 0.3 GB.")
    ] = 1.0,
    quiet: QuietOption = False,
    window: WindowOption = None,
    window_a: WindowAOption = None,
    window_b: WindowBOption = None,
    own_range: OwnRangeOption = False,
    temperatures: TemperaturesOption = False,
    nodata: NodataOption = None,
) -> None:
    """Show where the learned loss trusts which source of one pair, and what the fused image keeps of both.

    overview.png in the folder shows everything at once; explain.json has the figures. Images of more than one
    megapixel are refused; --max-megapixels raises this limit.
    """
    check_there(a, b)
    name = model or get_task(task or "ir-vis").model
    chosen = get_task(task) if task else None
    check_model(model, quiet, revision=revision, task=task)
    folder = output or Path(f"{a.stem}_explained")
    check_folder(folder, writable=True)

    from refusion.explanation import explain, load_trained
    from refusion.explanation.pictures import FILES, OVERVIEW, Captions, save_explanation

    for file in FILES:
        refuse_overwriting(folder / file, (a, b))
    trained = load_trained(name, revision=revision)
    if not quiet:
        note_other_task(model, trained.fusion.task, chosen)
    labels = (chosen or trained.fusion.task).labels
    windows = asked_windows(window, window_a, window_b, own_range)
    with working("Explaining", quiet=quiet):
        explanation = explain(
            trained, a, b, max_megapixels=max_megapixels, window=windows, temperatures=temperatures, nodata=nodata
        )
        folder.mkdir(parents=True, exist_ok=True)
        save_explanation(folder, explanation, Captions(labels, (a.name, b.name), Path(name).resolve().name))
    if quiet:
        return
    _print_figures(explanation, labels)
    print_notes(explanation.notes)
    say(f"Written to {folder}; open {folder / OVERVIEW}.")


def _print_figures(explanation: "Explanation", labels: tuple[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from refusion.explanation.maps import error_figures, weight_figures

    weights = Table("the loss weighs", "trusted more", "mean weights", "spread", f"pixels led by {labels[0]}")
    for name, array in (("brightness (w)", explanation.intensity), ("edges (v)", explanation.gradient)):
        summed = weight_figures(array)
        means = f"{summed.mean:.3f} / {1 - summed.mean:.3f}"
        weights.add_row(name, _trusted(summed.mean, labels), means, f"{summed.spread:.3f}", f"{summed.leads:.0%}")
    errors = Table("reconstructed from fused", "mean absolute error", "PSNR")
    for label, error in zip(labels, (explanation.error_a, explanation.error_b), strict=True):
        off = error_figures(error)
        errors.add_row(label, f"{off.mean:.4f}", f"{off.psnr:.2f} dB")
    console = Console()
    console.print(weights)
    console.print(errors)


def _trusted(mean: float, labels: tuple[str, str]) -> str:
    if abs(mean - 0.5) < ALIKE:
        return "both alike"
    return labels[0] if mean > 0.5 else labels[1]
