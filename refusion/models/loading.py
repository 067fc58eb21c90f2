"""Load a model by name, with or without torch."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from refusion.hub.checksums import read_verified
from refusion.hub.errors import ModelError
from refusion.hub.folder import CONFIG, WEIGHTS, read_config
from refusion.hub.names import bundled_folder, check_revision, local_folder, locate
from refusion.inference.engines.bfloat16 import check_bfloat16
from refusion.inference.network import Network
from refusion.models.bundled import BundledModel, is_bundled, load_bundled
from refusion.system.devices import choose_device, runs_on_cpu
from refusion.system.extras import need
from refusion.tasks import Engine, Task, get_task

if TYPE_CHECKING:
    from refusion.models.model import ReFusion

Model: TypeAlias = Network | str | Path
"""A loaded model, or a name or folder as for `ReFusion.from_pretrained`."""


def load(
    task: str | None,
    model: Model | None,
    device: str | None = None,
    engine: Engine | None = None,
    revision: str | None = None,
) -> Network:
    """Load the given model, by default that of the task, or that for ir-vis.

    A bundled model that runs on a CPU is loaded without torch.

    Args:
        task: name of the task.
        model: a loaded model, bare name, folder or OWNER/NAME.
        device: see `refusion.system.devices.choose_device`. By default, a loaded model stays on its device, and others
            use a GPU if there is one.
        engine: see `refusion.tasks.Engine`.
        revision: branch, tag or commit of a model on the Hub.

    Raises:
        ModelError: the model cannot be loaded, or is not on the Hub and has no revisions.
        MissingExtraError: torch or OpenVINO is needed, but not installed.
        ValueError: there is no such task or device, or the engine does not run on this machine.
    """
    chosen = get_task(task or "ir-vis")
    wanted = chosen.model if model is None else model
    _check_revision(wanted, revision)
    if engine == "half" and runs_on_cpu(device):
        check_bfloat16()
    if engine in (None, "onnx", "half") and runs_on_cpu(device):
        if isinstance(wanted, BundledModel):
            return wanted
        if isinstance(wanted, str) and is_bundled(wanted):
            return load_bundled(wanted)
    if device is None and not isinstance(wanted, str | Path | BundledModel):
        return wanted
    if isinstance(wanted, str | Path):
        locate(wanted)
        asked = f"The model {wanted}" if not is_bundled(wanted) else f"The device {device}"
        need("torch", asked if engine in (None, "onnx", "half") else f"The engine {engine}")
    return load_module(wanted, device, revision)


def task_of(model: str | Path, revision: str | None = None) -> Task:
    """The task of a model, from its config.json; a model on the Hub is downloaded.

    Args:
        model: bare name, folder or OWNER/NAME.
        revision: see `load`.

    Raises:
        ModelError: see `load`.
        ValueError: there is no such task.
    """
    return get_task(read_config(local_folder(locate(model), revision=revision))["task"])


def digest_of(model: str | Path, revision: str | None = None) -> str:
    """SHA-256 of the configuration and weights of a model; a model on the Hub is downloaded.

    Args:
        model: bare name, folder or OWNER/NAME.
        revision: see `load`.

    Raises:
        ModelError: see `load`.
    """
    folder = local_folder(locate(model), revision=revision)
    return hashlib.sha256(b"".join(read_verified(folder / name) for name in (CONFIG, WEIGHTS))).hexdigest()


def load_module(model: Model, device: str | None = None, revision: str | None = None) -> "ReFusion":
    """Load a model as a torch module.

    Args:
        model: a loaded model, bare name, folder or OWNER/NAME.
        device: see `load`.
        revision: see `load`.

    Raises:
        ModelError: see `load`.
        ValueError: there is no such device.
    """
    from refusion.models.model import ReFusion

    _check_revision(model, revision)
    if isinstance(model, ReFusion):
        return model if device is None else model.to(choose_device(device))
    name = model.name if isinstance(model, BundledModel) else model
    if not isinstance(name, str | Path):
        raise TypeError(f"A model is a ReFusion, a name or a folder, not {type(model).__name__}.")
    return ReFusion.from_pretrained(name, revision=revision, map_location=choose_device(device))


def _check_revision(model: Model, revision: str | None) -> None:
    if revision is None:
        return
    if isinstance(model, str | Path):
        check_revision(locate(model), revision)
    else:
        raise ModelError(f"The revision {revision} was asked for, but the model is loaded; give its name instead.")


def load_for_workers(
    task: str | None, model: Model | None, revision: str | None = None
) -> "tuple[ReFusion | str, Task, str]":
    """Prepare a model for worker processes: a bundled one as its name, which each process loads.

    Args:
        task: see `load`.
        model: see `load`.
        revision: see `load`.

    Returns:
        The model or its name; the task; and a digest of configuration and weights.

    Raises:
        ModelError: the model cannot be loaded.
        ValueError: there is no such task.
    """
    wanted = get_task(task or "ir-vis").model if model is None else model
    _check_revision(wanted, revision)
    wanted = wanted.name if isinstance(wanted, BundledModel) else wanted
    if isinstance(wanted, str) and is_bundled(wanted):
        folder = bundled_folder(wanted)
        assert folder is not None
        config = read_verified(folder / CONFIG)
        return wanted, get_task(task or json.loads(config)["task"]), digest_of(wanted)
    import torch

    loaded = load_module(wanted, "cpu" if isinstance(wanted, str | Path) else None, revision)
    digest = hashlib.sha256(json.dumps(loaded.config, sort_keys=True).encode())
    for name, value in sorted(loaded.state_dict().items()):
        # As bytes, because NumPy has no bfloat16.
        digest.update(name.encode() + value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return loaded, get_task(task) if task else loaded.task, digest.hexdigest()
