"""Checks of the model of a command, before any long work."""

from pathlib import Path

from refusion.cli.say import say
from refusion.hub.folder import CONFIG
from refusion.hub.names import check_revision, locate
from refusion.tasks import Task, get_task


def check_model(name: str | None, quiet: bool = False, *, revision: str | None = None, task: str | None = None) -> None:
    """Refuse a missing model, and a revision of one that has none; if a name is ambiguous, print which model is used.

    Args:
        name: the model; that of the task if not given.
        quiet: print nothing.
        revision: branch, tag or commit on the Hub.
        task: the task; ir-vis if not given.

    Raises:
        ModelError: it is neither bundled, nor a folder, nor OWNER/NAME; or it is not on the Hub and has no revisions.
    """
    if revision is not None:
        check_revision(locate(name or get_task(task or "ir-vis").model), revision)
    if name is None:
        return
    folder = Path(locate(name))
    if quiet or not (Path(name) / CONFIG).is_file() or name != Path(name).name:
        return
    if folder == Path(name).resolve():
        say(f"Note: The model {name} is the folder of that name; ./{name} would be unambiguous.", err=True)
    else:
        say(f"Note: {name} is the model of that name; the folder is given as ./{name}.", err=True)


def note_other_task(name: str | None, of_model: Task, task: Task | None) -> None:
    """Print a note if a model is used for another task than its own, on purpose or by mistake.

    Args:
        name: name of the model; that of the task if not given.
        of_model: the task of the model.
        task: the task of --task; that of the model if not given.
    """
    if name is not None and task not in (None, of_model):
        say(
            f"Note: The model {name} is for {of_model.name}, but --task is {task.name}; leave one of them out unless "
            "both are meant.",
            err=True,
        )
