"""refusion push"""

from typing import Annotated

import typer

from refusion.cli.model_choice import check_model
from refusion.cli.say import say
from refusion.system.extras import need
from refusion.tasks import TASKS


def push(
    model: Annotated[
        str | None,
        typer.Argument(help="What to push: a folder (runs/ir-vis), the name of a bundled model, or OWNER/NAME."),
    ] = None,
    repository: Annotated[str | None, typer.Argument(help="Repository: OWNER/NAME, created if missing.")] = None,
    all_to: Annotated[
        str | None,
        typer.Option("--all", metavar="OWNER", help="Push every bundled model to this owner, with a collection."),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Tag for the commit, such as v1; existing tags are not moved.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="First line of the commit.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Publish a model on the Hub: weights, configuration, and a new card, as one commit.

    Log in before with `hf auth login`, or set HF_TOKEN.
    """
    if all_to is not None and (model or repository):
        raise ValueError("Give either what to push and where to, or --all OWNER, not both.")
    if repository is not None and repository.startswith((".", "/", "~")):
        raise ValueError(
            f"{repository} is a folder, but a push goes to the Hub, to OWNER/NAME; `refusion card {model} -o "
            f"{repository}` writes the same files to a folder."
        )
    check_model(model)
    need("torch", "refusion push")
    if all_to is not None:
        _push_all(all_to, tag, message, private)
    elif model and repository:
        _push_one(model, repository, tag, message, private)
    else:
        raise ValueError(
            "Give a model and a repository, as in `refusion push runs/ir-vis OWNER/NAME`, or `--all OWNER`."
        )


def _push_one(name: str, repository: str, tag: str | None, message: str | None, private: bool) -> None:
    from refusion.models.model import ReFusion

    loaded = ReFusion.from_pretrained(name)
    # None means the owner's default on the Hub.
    address = loaded.push_to_hub(repository, tag=tag, commit_message=message, private=private or None)
    say(f"{repository}{f' {tag}' if tag else ''}: {address}")


def _push_all(owner: str, tag: str | None, message: str | None, private: bool) -> None:
    from refusion.hub.names import bundled_folder
    from refusion.hub.push import push_collection

    folders = {task.model: bundled_folder(task.model) for task in TASKS.values()}
    pushed = []
    for name, folder in folders.items():
        if folder is None:
            say(f"{name}: not pushed, because this version comes without its weights.")
            continue
        _push_one(str(folder), f"{owner}/{name}", tag, message, private)
        pushed.append(f"{owner}/{name}")
    say(f"Collection: {push_collection(owner, pushed, private=private)}")
