"""refusion models"""

import math
import os
from pathlib import Path

from refusion.cli.say import say


def models() -> None:
    """List the models that can be given by name: tasks, sizes, licences, and where they come from."""
    from rich.console import Console
    from rich.table import Table

    from refusion.hub.card_texts import LICENCES
    from refusion.hub.folder import WEIGHTS
    from refusion.hub.names import ORGANISATION, bundled_folder
    from refusion.tasks import TASKS

    organisation = os.environ.get(ORGANISATION)
    table = Table("name", "task", "parameters", "size", "licence", "from")
    for task in TASKS.values():
        folder = bundled_folder(task.model)
        parameters = size = "\N{EN DASH}"
        if folder is not None:
            parameters, size = f"{_parameters(folder / WEIGHTS):,}", _megabytes(folder / WEIGHTS)
        if organisation:
            source = f"the Hub: {organisation}/{task.model}"
        else:
            source = "this package" if folder else "not trained yet"
        licence = LICENCES.get(task.licence, task.licence)
        table.add_row(task.model, task.name, parameters, size, licence, source)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    if organisation:
        say(f"{ORGANISATION} is set; sizes are those of the weights in this package.")


def _parameters(path: Path) -> int:
    """Number of parameters, from the header of a safetensors file alone.

    Raises:
        ModelError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    from refusion.hub.errors import ModelError

    try:
        with safe_open(path, "np") as file:
            names = file.keys()
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise ModelError(f"{path.parent.name}/{path.name} is damaged or not a safetensors file.") from error


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.2f} MB"
