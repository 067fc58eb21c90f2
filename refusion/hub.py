"""Names to folders with weights, and strict loading from them."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from refusion.files import replacing, write_text
from refusion.tasks import TASKS

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PROPOSAL_WEIGHTS = "loss_proposal.safetensors"
RECONSTRUCTION_WEIGHTS = "reconstruction.safetensors"
DOWNLOAD_OPTIONS = ("revision", "cache_dir", "force_download", "token", "local_files_only")

# In a wheel the folder lies inside the package; in a checkout it lies beside it.
_BUNDLED = (Path(__file__).parent / "hub_configs", Path(__file__).parent.parent / "hub_configs")


class ModelError(ValueError):
    """A model cannot be found or loaded; the message is a sentence for people."""


class UnknownModelError(ModelError):
    """There is no model of that name."""


class NoWeightsError(ModelError):
    """The model is known, but its weights are not there."""


def bundled_folder(name: str) -> Path | None:
    """Folder of the weights that came with the package under this bare name, or None."""
    return next((f / name for f in _BUNDLED if (f / name / WEIGHTS).is_file()), None)


def has_weights(name: str) -> bool:
    """Whether weights came with the package under this bare name."""
    return bundled_folder(name) is not None


def locate(name: str | Path) -> str:
    """Where a model is to be loaded from: the path of a folder, or the id of a Hub repository.

    A bare name is always a bundled model, even where the working directory holds a folder of that name.

    Raises:
        UnknownModelError: the bare name is not known, or there is no such folder.
        NoWeightsError: the bare name is known, but no weights came along.
    """
    if isinstance(name, Path) or name.startswith((".", "~", "/")) or Path(name).is_absolute() or "\\" in name:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UnknownModelError(f"There is no folder {str(name)!r} to load a model from.")
        return str(folder)
    if "/" in name:
        return name if not Path(name).is_dir() else str(Path(name).resolve())
    known = [task.model for task in TASKS.values()]
    if name not in known:
        raise UnknownModelError(
            f"There is no model {name!r}. Bundled: {', '.join(known)}. A folder is given as a path (./{name}), "
            "a Hub repository as OWNER/NAME."
        )
    folder = bundled_folder(name)
    if folder is None:
        raise NoWeightsError(f"No weights for {name} came with this version; train them with train.py.")
    return str(folder)


def local_folder(model_id: str, **download: Any) -> Path:
    """A folder with the model's files, downloaded from the Hub if `model_id` is not a folder.

    Raises:
        UnknownModelError: the repository or a file in it cannot be had.
    """
    if Path(model_id).is_dir():
        return Path(model_id)
    try:
        patterns = [CONFIG, "*.safetensors"]
        return Path(snapshot_download(model_id, allow_patterns=patterns, library_name="refusion", **download))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        raise UnknownModelError(f"{model_id} cannot be loaded from the Hub: {error}") from error


def read_config(folder: Path, model_class: type) -> dict[str, Any]:
    """Constructor arguments from config.json.

    Raises:
        ModelError: the file is missing, not JSON, or holds a key that the constructor does not know.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder.name} has no {CONFIG}, so it is not a folder of this library's models.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{CONFIG} in {folder.name} is not JSON: {error}") from error
    known = [name for name in inspect.signature(model_class.__init__).parameters if name != "self"]
    unknown = sorted(config.keys() - set(known)) if isinstance(config, dict) else [CONFIG]
    if unknown:
        raise ModelError(
            f"{CONFIG} in {folder.name} has the unknown key {', '.join(unknown)}; known are {', '.join(known)}."
        )
    return config


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load a safetensors file into a module; every weight must be there, none besides.

    Raises:
        ModelError: the file is missing or damaged, or a weight is missing, unknown or of another shape.
    """
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise NoWeightsError(f"There is no {name}.")
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{name} is damaged or not a safetensors file: {error}") from error
    check_weights(name, weights, module.state_dict())
    module.load_state_dict(weights)


def save_weights(module: torch.nn.Module, path: Path) -> None:
    """Write the weights of a module as safetensors, whole or not at all."""
    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})


def save_model(folder: Path, model: torch.nn.Module, config: dict[str, Any]) -> None:
    """Write a folder that `ReFusion.from_pretrained` loads: config.json and model.safetensors."""
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_weights(model, folder / WEIGHTS)


def check_weights(name: str, weights: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
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
