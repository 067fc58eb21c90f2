"""refusion convert"""

from pathlib import Path
from typing import Annotated

import typer

from refusion.cli.options import TaskOption
from refusion.tasks import get_task


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of the authors' release, such as ReFusion_IVIF.pth.")
    ],
    out_dir: Annotated[Path, typer.Argument(help="Folder to write config.json and model.safetensors into.")],
    task: TaskOption = "ir-vis",
) -> None:
    """Turn a checkpoint of the authors' release into a folder that `--model` accepts."""
    chosen = get_task(task)

    from refusion.hub.folder import save_model
    from refusion.models.release import convert_checkpoint

    model = convert_checkpoint(checkpoint, chosen.name)
    out_dir.mkdir(parents=True, exist_ok=True)
    save_model(out_dir, model, model.config)
