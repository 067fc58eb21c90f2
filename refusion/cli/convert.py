"""refusion convert"""

from pathlib import Path
from typing import Annotated

import typer

from refusion.cli.options import QuietOption
from refusion.cli.paths import check_folder, check_there
from refusion.cli.say import say
from refusion.system.extras import need
from refusion.tasks import TASKS, get_task


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of the authors' release, such as ReFusion_IVIF.pth.")
    ],
    out_dir: Annotated[Path, typer.Argument(help="Folder for config.json and model.safetensors.")],
    task: Annotated[
        str | None, typer.Option(help=f"What it was trained for: {', '.join(TASKS)}; ir-vis if not given.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Convert a checkpoint of the authors' release to a folder that `--model` accepts."""
    check_there(checkpoint)
    check_folder(out_dir, writable=True)
    chosen = get_task(task or "ir-vis")
    need("torch", "refusion convert")

    from refusion.hub.folder import save_model
    from refusion.models.release import convert_checkpoint

    model = convert_checkpoint(checkpoint, chosen.name)
    out_dir.mkdir(parents=True, exist_ok=True)
    save_model(out_dir, model, model.config)
    if task is None:
        say(f"Note: {checkpoint.name} was converted as a model for ir-vis; --task names another task.", err=True)
    if not quiet:
        name = out_dir if out_dir.is_absolute() else f"./{out_dir}"
        say(f"Written to {out_dir}; use it with refusion fuse --model {name}.")
