"""Names to folders with weights, and strict loading from them. torch is imported only where weights are touched."""

import inspect
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from refusion.hub.checksums import CHECKSUMS, read_verified, write_checksums
from refusion.hub.errors import HubError, ModelError, NoWeightsError, UnknownModelError
from refusion.system.files import write_bytes, write_text
from refusion.system.resources import resource_folders
from refusion.tasks import TASKS
from refusion.version import __version__

if TYPE_CHECKING:
    import torch

CARD = "README.md"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PROPOSAL_WEIGHTS = "loss_proposal.safetensors"
RECONSTRUCTION_WEIGHTS = "reconstruction.safetensors"
TRAINING = "training.json"
SCORES = "scores.json"
HISTORY = "history.jsonl"

LOADED = (CONFIG, WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS)
"""What a model is made from; these files have checksums."""

FACTS = (TRAINING, SCORES, HISTORY)
"""What the card is made from, besides config.json."""

PUBLISHED = (CARD, *LOADED, *FACTS, CHECKSUMS)
"""Everything that a model repository of this library holds."""

ORGANISATION = "REFUSION_HUB_ORG"
"""Environment variable: the organisation on the Hub from which bare names are served instead of the package."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""What the id of a Hub repository looks like."""

LIBRARY: dict[str, Any] = {"library_name": "refusion", "library_version": __version__}
"""What requests to the Hub say of their sender."""


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


def display_name(folder: Path) -> str:
    """What to call a model folder in front of people: OWNER/NAME if it lies in the Hub's cache, else its own name."""
    folder = folder.resolve()
    repository = folder.parents[1].name if len(folder.parents) > 1 else ""
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return folder.name


def locate(name: str | Path) -> str:
    """Where a model is to be loaded from: the absolute path of a folder, or the id of a Hub repository.

    A bare name is always a bundled model, or one of the organisation that REFUSION_HUB_ORG names, even where the
    working directory holds a folder of that name.

    Raises:
        UnknownModelError: the bare name is not known, or there is no such folder.
        NoWeightsError: the bare name is known, but no weights came along.
    """
    if isinstance(name, Path) or name.startswith((".", "~", "/")) or Path(name).is_absolute() or "\\" in name:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UnknownModelError(f"There is no folder {str(name)!r} to load a model from.")
        return str(folder.resolve())
    if "/" in name:
        if Path(name).is_dir():
            return str(Path(name).resolve())
        if not HUB_ID.fullmatch(name):
            raise UnknownModelError(f"There is no folder {name!r}, and a Hub repository is given as OWNER/NAME.")
        return name
    known = [task.model for task in TASKS.values()]
    if name not in known:
        raise UnknownModelError(
            f"There is no model {name!r}. Bundled: {', '.join(known)}. A folder is given as a path (./{name}), "
            "a Hub repository as OWNER/NAME."
        )
    if organisation := os.environ.get(ORGANISATION):
        return f"{organisation}/{name}"
    bundled = bundled_folder(name)
    if bundled is None:
        raise NoWeightsError(f"No weights for {name} came with this version; train them with train.py.")
    return str(bundled.resolve())


def local_folder(
    model_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """A folder with the model's files, downloaded from the Hub if `model_id` is the id of a repository.

    Args:
        model_id: what `locate` returned.
        revision: branch, tag or commit of the repository; its main branch if not given.
        token: as the Hub client takes it; the stored one if not given.
        cache_dir: where downloads are kept; the client's cache if not given.
        force_download: download what is in the cache, too.
        local_files_only: open no connection.

    Returns:
        The folder. Where the Hub cannot be reached, what was cached of the revision before, as the client does it.

    Raises:
        UnknownModelError: there is no such repository or revision, or it may not be seen.
        HubError: it cannot be downloaded and is not in the cache.
        ModelError: a revision of a folder was asked for.
    """
    from huggingface_hub import constants, snapshot_download

    from refusion.hub.client_errors import hub_sentences

    if Path(model_id).is_absolute():
        if revision is not None:
            raise ModelError(
                f"The revision {revision} was asked for, but {Path(model_id).name} is a folder on this machine, which "
                f"has none; give OWNER/{Path(model_id).name}, or name the owner in {ORGANISATION}."
            )
        return Path(model_id)
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
            allow_patterns=[*LOADED, *FACTS, CHECKSUMS],
            **LIBRARY,
        )
    return Path(folder)


def read_config(folder: Path, model_class: type) -> dict[str, Any]:
    """Constructor arguments from config.json.

    Raises:
        ModelError: the file is missing, damaged or not JSON, lacks the task, or holds a key or a type that the
            constructor does not know.
    """
    path, name = folder / CONFIG, display_name(folder)
    if not path.is_file():
        raise ModelError(f"{name} has no {CONFIG}, so it is not a folder of this library's models.")
    try:
        config = json.loads(read_verified(path))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    except ValueError as error:
        raise ModelError(f"{CONFIG} in {name} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{CONFIG} in {name} is not an object with the constructor arguments.")
    init = model_class.__init__  # type: ignore[misc]  # Not the class: the mixin's __new__ hides the arguments.
    known = {k: p.annotation for k, p in inspect.signature(init).parameters.items() if k != "self"}
    if unknown := sorted(config.keys() - known.keys()):
        raise ModelError(f"{CONFIG} in {name} has the unknown key {', '.join(unknown)}; known are {', '.join(known)}.")
    if "task" not in config:
        raise ModelError(f"{CONFIG} in {name} lacks the key task, one of {', '.join(TASKS)}.")
    for key, value in config.items():
        accepted = get_args(known[key]) or (known[key],)
        if type(value) not in accepted:
            told = " or ".join("null" if kind is type(None) else kind.__name__ for kind in accepted)
            raise ModelError(f"{key} in {CONFIG} of {name} is {value!r}; it must be of type {told}.")
    return config


def load_weights(module: "torch.nn.Module", path: Path) -> None:
    """Load a safetensors file into a module; every weight must be there, none besides.

    Raises:
        ModelError: the file is missing or damaged, or a weight is missing, unknown or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = display_name(path.parent)
    name = f"{folder}/{path.name}"
    if not path.is_file():
        raise NoWeightsError(f"There is no {name}.")
    try:
        weights = load(read_verified(path))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error
    except SafetensorError as error:
        raise ModelError(f"{name} is damaged or not a safetensors file: {error}") from error
    check_weights(name, weights, module.state_dict())
    module.load_state_dict(weights)


def save_weights(module: "torch.nn.Module", path: Path) -> None:
    """Write the weights of a module as safetensors, whole or not at all; checksums of before are dropped."""
    from safetensors.torch import save

    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    (path.parent / CHECKSUMS).unlink(missing_ok=True)
    write_bytes(path, save(weights, metadata={"format": "pt"}))


def save_model(folder: Path, model: "torch.nn.Module", config: dict[str, Any]) -> None:
    """Write a folder that `ReFusion.from_pretrained` loads: config.json and model.safetensors."""
    (folder / CHECKSUMS).unlink(missing_ok=True)
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_weights(model, folder / WEIGHTS)


def save_checksums(folder: Path) -> None:
    """Note the checksums of all files that the model is made from."""
    write_checksums(folder, LOADED)


def check_weights(name: str, weights: "dict[str, torch.Tensor]", wanted: "dict[str, torch.Tensor]") -> None:
    """Compare names and shapes of weights with those a module has.

    Raises:
        ModelError: they differ; the message names the first differing key.
    """
    for key in sorted(wanted.keys() | weights.keys()):
        if key not in weights:
            raise ModelError(f"{name} lacks the weight {key}.")
        if key not in wanted:
            raise ModelError(f"{name} holds the weight {key}, which this model does not have.")
        if weights[key].shape != wanted[key].shape:
            raise ModelError(
                f"The weight {key} in {name} has shape {tuple(weights[key].shape)}; this model has "
                f"{tuple(wanted[key].shape)}."
            )
