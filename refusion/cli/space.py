"""refusion space"""

from pathlib import Path
from typing import Annotated

import typer

from refusion.cli.say import say
from refusion.system.extras import need

_NO_PLACE = "Give the Space to upload to, as in `refusion space ORG/NAME`, or a folder: `--to DIR`."


def space(
    repository: Annotated[str | None, typer.Argument(help="The Space: ORG/NAME, created if missing.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write to this new folder and upload nothing.")] = None,
    preload: Annotated[
        bool, typer.Option("--preload", help="Have the Space download ORG's refusion models when it is built.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
    static: Annotated[
        bool,
        typer.Option("--static", help="Assemble the page that fuses in the visitor's browser instead of the demo."),
    ] = False,
) -> None:
    """Assemble the demo as a Hugging Face Space (package, bundled weights, examples) and upload it.

    Log in before with `hf auth login`, or set HF_TOKEN.
    """
    if static:
        _static(repository, to, preload=preload, private=private)
        return
    need("torch", "refusion space")

    import tempfile

    from refusion.hub.space import assemble_space, upload_space

    owner = repository.partition("/")[0] if repository else None
    if to is not None:
        models = assemble_space(to, owner=owner, preload=preload)
        say(f"Written to {to} with {', '.join(models)}; start it with: cd {to} && python app.py")
        return
    if repository is None:
        raise ValueError(_NO_PLACE)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "space"
        assemble_space(folder, owner=owner, preload=preload)
        # None means the owner's default on the Hub.
        say(f"{repository}: {upload_space(folder, repository, private=private or None)}")


def _static(repository: str | None, to: Path | None, *, preload: bool, private: bool) -> None:
    import tempfile

    from refusion.demo.static_page import assemble_static_page

    if preload:
        raise ValueError("A static Space holds its models itself; leave --preload out.")
    if to is not None:
        models = assemble_static_page(to)
        say(f"Written to {to} with {', '.join(models)}; start it with: cd {to} && python -m http.server")
        return
    if repository is None:
        raise ValueError(_NO_PLACE)
    need("torch", "Uploading a Space")

    from refusion.hub.space import upload_space

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "space"
        assemble_static_page(folder)
        say(f"{repository}: {upload_space(folder, repository, static=True, private=private or None)}")
