"""refusion space"""

from pathlib import Path
from typing import Annotated

import typer


def space(
    repository: Annotated[str | None, typer.Argument(help="The Space: ORG/NAME, made if it is not there.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write it into this new folder and upload nothing.")] = None,
    preload: Annotated[
        bool, typer.Option("--preload", help="Have the Space download ORG's refusion models when it is built.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
) -> None:
    """Put the demo together as a Hugging Face Space: package, bundled weights, examples; and upload it.

    Log in before with `hf auth login`, or set HF_TOKEN.
    """
    import tempfile

    from refusion.hub.space import assemble_space, upload_space

    owner = repository.partition("/")[0] if repository else None
    if to is not None:
        models = assemble_space(to, owner=owner, preload=preload)
        typer.echo(f"Written to {to} with {', '.join(models)}; start it with: cd {to} && python app.py")
        return
    if repository is None:
        raise ValueError("Give the Space to upload to, as in `refusion space ORG/NAME`, or a folder: `--to DIR`.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "space"
        assemble_space(folder, owner=owner, preload=preload)
        # None leaves it to the owner's settings on the Hub.
        typer.echo(f"{repository}: {upload_space(folder, repository, private=private or None)}")
