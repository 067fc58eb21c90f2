"""Model folders: their files, and strict loading from them. torch is imported only where weights are touched."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refusion.hub.checksums import CHECKSUMS, read_verified, write_checksums
from refusion.hub.errors import ModelError, NoWeightsError
from refusion.system.files import write_bytes, write_text
from refusion.tasks import TASKS

if TYPE_CHECKING:
    import torch

CARD = "README.md"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PROPOSAL_WEIGHTS = "loss_proposal.safetensors"
RECONSTRUCTION_WEIGHTS = "reconstruction.safetensors"
TRAINING = "training.json"
SCORES = "scores.json"
TUNING_SCORES = "fine-tuning.json"
"""Scores of a fine-tuned model and of the one that it started from."""
HISTORY = "history.jsonl"
CHECKPOINT = "checkpoint.pt"
"""The state of a training run, beside its models."""

LOADED = (CONFIG, WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS)
"""Files a model is loaded from; they have checksums."""

FACTS = (TRAINING, SCORES, HISTORY)
"""Files the card is made from, besides config.json."""

CONFIG_TYPES: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "channels": (int,),
    "heads": (int,),
    "expansion": (int,),
    "blocks": (int,),
    "padding_mode": (str,),
    "window": (int, type(None)),
}
"""Keys of config.json and their types: the arguments of `refusion.ReFusion`."""

PUBLISHED = (CARD, *LOADED, *FACTS, CHECKSUMS)
"""Everything that a model repository of this library holds."""


def display_name(folder: Path) -> str:
    """Display name of a model folder: OWNER/NAME if it lies in the Hub's cache, else its own name."""
    folder = folder.resolve()
    repository = folder.parents[1].name if len(folder.parents) > 1 else ""
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return folder.name


def read_config(folder: Path, further: Collection[str] = ()) -> dict[str, Any]:
    """Arguments of `refusion.ReFusion` from config.json.

    Args:
        folder: the model folder.
        further: keys that are accepted with any value, the arguments of a subclass.

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
    except RecursionError as error:
        raise ModelError(f"{CONFIG} in {name} is nested too deeply; it holds the constructor arguments.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{CONFIG} in {name} is not an object with the constructor arguments.")
    if unknown := sorted(config.keys() - CONFIG_TYPES.keys() - set(further)):
        raise ModelError(
            f"{CONFIG} in {name} has the unknown key {', '.join(unknown)}; known are {', '.join(CONFIG_TYPES)}. A "
            "model of a subclass with arguments of its own is loaded with from_pretrained of that subclass."
        )
    if "task" not in config:
        raise ModelError(f"{CONFIG} in {name} lacks the key task, one of {', '.join(TASKS)}.")
    for key, value in config.items():
        if key in further:
            continue
        accepted = CONFIG_TYPES[key]
        if type(value) not in accepted:
            told = " or ".join("null" if kind is type(None) else kind.__name__ for kind in accepted)
            raise ModelError(f"{key} in {CONFIG} of {name} is {value!r}; it must be of type {told}.")
    return config


def check_training_weights(folder: Path) -> None:
    """Check that a folder has the weights of the loss proposal module and of the reconstruction module.

    Raises:
        NoWeightsError: one of them is missing.
    """
    missing = [name for name in (PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise NoWeightsError(
            f"The model {folder.name} has no {' and no '.join(missing)}, without which there is no learned loss to "
            "explain or to train with. Checkpoints converted from the authors' release have only the fusion module, "
            "and runs with a fixed loss no loss proposal module; choose a model that train.py made with a learned loss."
        )


def load_weights(module: "torch.nn.Module", path: Path) -> None:
    """Load a safetensors file into a module; every weight must be there, none besides.

    Raises:
        ModelError: see `read_weights`.
    """
    module.load_state_dict(read_weights(module, path))


def read_weights(module: "torch.nn.Module", path: Path) -> "dict[str, torch.Tensor]":
    """The weights in a safetensors file, which must be exactly those of a module; it may be on the device ``meta``.

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
    weights = {**getattr(module, "ADDED_STATE", {}), **weights}
    check_weights(name, weights, module.state_dict())
    return weights


def save_weights(module: "torch.nn.Module", path: Path) -> None:
    """Write the weights of a module as safetensors, whole or not at all; old checksums are removed."""
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
    """Write the checksums of all files that the model is made from."""
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
