"""refusion card"""

from pathlib import Path
from typing import Annotated

import typer

from refusion.cli.paths import check_folder
from refusion.cli.say import say
from refusion.system.extras import need


def card(
    folder: Annotated[Path, typer.Argument(help="A model folder, such as runs/ir-vis or hub_configs/refusion-ir-vis.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write everything that a push would upload to this folder instead."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Model name in the card's example; if not given, the folder.")
    ] = None,
) -> None:
    """Rewrite README.md and SHA256SUMS of a model folder from config.json, training.json, scores.json and history.

    Without training.json, the card says that the training is not recorded.
    """
    from refusion.hub.names import bare_name, locate, shown_folder

    located = Path(locate(folder))
    if output is not None:
        check_folder(output, writable=True)
    need("torch", "refusion card")

    from refusion.hub.folder import CARD, CONFIG, save_checksums
    from refusion.models.model import ReFusion
    from refusion.system.files import write_text

    if output is None and (located / CONFIG).is_file():
        # First, since weights that were replaced by hand do not match the old checksums.
        save_checksums(located)
    model = ReFusion.from_pretrained(located)
    if output is None:
        text = str(model.generate_model_card(name or shown_folder(located)))
        write_text(located / CARD, text)
    else:
        bare = bare_name(output)
        model.save_pretrained(output, model_card_kwargs={"name": name or bare} if name or bare else None)
    say(f"Written to {output or folder}.")
