"""Names of models, and the folders that they stand for."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refusion.hub.checksums import CHECKSUMS
from refusion.hub.errors import HubError, ModelError, NoWeightsError, UnknownModelError
from refusion.hub.folder import CONFIG, FACTS, LOADED, WEIGHTS
from refusion.system.files import expand_home
from refusion.system.resources import PACKAGE, resource_folders
from refusion.tasks import TASKS
from refusion.version import __version__

ORGANISATION = "REFUSION_HUB_ORG"
"""Environment variable: the organisation on the Hub from which bare names are served instead of the package."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""Pattern of the id of a Hub repository."""

_FILES = frozenset(
    {".ckpt", ".csv", ".json", ".jsonl", ".onnx", ".parquet", ".pt", ".pt2", ".pth", ".safetensors", ".tsv"}
)

CLIENT: dict[str, Any] = {"library_name": "refusion", "library_version": __version__}
"""Library name and version sent with requests to the Hub."""


def list_models() -> list[str]:
    """Bare names of the models that came with the package, as `ReFusion.from_pretrained` takes them."""
    return [task.model for task in TASKS.values() if has_weights(task.model)]


def bundled_folder(name: str) -> Path | None:
    """Folder of the weights that came with the package under this bare name, or None."""
    return next((f / name for f in resource_folders("hub_configs") if (f / name / WEIGHTS).is_file()), None)


def has_weights(name: str) -> bool:
    """Whether weights came with the package under this bare name."""
    return bundled_folder(name) is not None


def bare_name(folder: Path) -> str | None:
    """The bare name that a folder of bundled weights is served under, or None for any other folder."""
    folder = folder.resolve()
    known = {task.model for task in TASKS.values()}
    return folder.name if folder.parent.name == "hub_configs" and folder.name in known else None


def shown_folder(folder: Path) -> str:
    """A folder as the commands of its card name it: below the working directory by its path, else by its name alone.

    So a card that is published tells nothing of where its folder lay.
    """
    place, here = folder.resolve(), Path.cwd().resolve()
    inside = place != here and place.is_relative_to(here)
    return f"./{(place.relative_to(here) if inside else Path(place.name)).as_posix()}"


def _written_as_path(name: str) -> bool:
    return name.startswith((".", "~", "/")) or Path(name).is_absolute() or "\\" in name


def is_path(name: str) -> bool:
    """Whether a name that does not exist here must be a path, not OWNER/NAME on the Hub."""
    if _written_as_path(name) or not HUB_ID.fullmatch(name):
        return True
    # If the parent folder exists, a path inside it is meant.
    return Path(name).parent.exists() or Path(name).suffix in _FILES


def locate(name: str | Path) -> str:
    """Where a model is to be loaded from: the absolute path of a folder, or the id of a Hub repository.

    The bare name of a bundled model is always that, or one of the organisation that REFUSION_HUB_ORG names, even where
    the working directory holds a folder of that name. Any other bare name is a folder in it.

    Raises:
        TypeError: it is neither a name nor a path.
        UnknownModelError: the bare name is not known, or there is no such folder.
        NoWeightsError: the bare name is known, but no weights came along, or they are in a zip file.
    """
    if not isinstance(name, str | Path):
        raise TypeError(f"A model is given by its name or its folder, not as {type(name).__name__}.")
    if isinstance(name, Path) or _written_as_path(name):
        folder = expand_home(name)
        if folder.is_file():
            raise UnknownModelError(_is_a_file(name))
        if not folder.is_dir():
            raise UnknownModelError(f"There is no folder {str(name)!r} to load a model from.")
        return str(folder.resolve())
    if "/" in name:
        if Path(name).is_dir():
            return str(Path(name).resolve())
        if Path(name).is_file():
            raise UnknownModelError(_is_a_file(name))
        if is_path(name):
            raise UnknownModelError(f"There is no folder {name!r}, and a Hub repository is given as OWNER/NAME.")
        return name
    known = [task.model for task in TASKS.values()]
    if name not in known:
        if (Path(name) / CONFIG).is_file():
            return str(Path(name).resolve())
        if Path(name).is_file():
            raise UnknownModelError(_is_a_file(name))
        raise UnknownModelError(
            f"There is no model {name!r}. Bundled: {', '.join(known)}. A folder is given as a path (./{name}), "
            "a Hub repository as OWNER/NAME."
        )
    if organisation := os.environ.get(ORGANISATION):
        return f"{organisation}/{name}"
    bundled = bundled_folder(name)
    if bundled is None and not PACKAGE.is_dir():
        raise NoWeightsError(
            f"The weights of {name} cannot be read, since refusion is imported from a zip file or a wheel; install it "
            "with pip."
        )
    if bundled is None:
        raise NoWeightsError(f"No weights for {name} came with this version; train them with train.py.")
    return str(bundled.resolve())


def _is_a_file(name: str | Path) -> str:
    return f"{str(name)!r} is a file; a model is loaded from the folder that holds its {CONFIG} and {WEIGHTS}."


def check_revision(model_id: str, revision: str | None) -> None:
    """Refuse a revision of a model that is not on the Hub.

    Args:
        model_id: what `locate` returned.
        revision: branch, tag or commit of a repository, if given.

    Raises:
        ModelError: a revision is given for a local folder.
    """
    if revision is not None and Path(model_id).is_absolute():
        raise ModelError(
            f"The revision {revision} was asked for, but {Path(model_id).name} is a folder on this machine, which "
            f"has none; give OWNER/{Path(model_id).name}, or name the owner in {ORGANISATION}."
        )


def local_folder(
    model_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    files: Sequence[str] = (*LOADED, *FACTS, CHECKSUMS),
) -> Path:
    """A folder with the model's files, downloaded from the Hub if `model_id` is the id of a repository.

    Args:
        model_id: what `locate` returned.
        revision: branch, tag or commit of the repository; its main branch if not given.
        token: as the Hub client takes it; the stored one if not given.
        cache_dir: where downloads are kept; the client's cache if not given.
        force_download: download what is in the cache, too.
        local_files_only: open no connection.
        files: names of the files to download, those that the repository has.

    Returns:
        The folder. Where the Hub cannot be reached, what was cached of the revision before, as the client does it.

    Raises:
        UnknownModelError: there is no such repository or revision, or no access to it.
        HubError: it cannot be downloaded and is not in the cache.
        ModelError: a revision is given for a local folder.
    """
    check_revision(model_id, revision)
    if Path(model_id).is_absolute():
        return Path(model_id)
    from huggingface_hub import constants, snapshot_download

    from refusion.hub.client_errors import hub_sentences

    if force_download and (local_files_only or constants.HF_HUB_OFFLINE):
        raise HubError(f"{model_id} cannot be downloaded again offline; leave force_download out.")
    with hub_sentences(model_id, revision):
        folder = snapshot_download(
            model_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            allow_patterns=list(files),
            **CLIENT,
        )
    return Path(folder)
