"""Load a model by name, with or without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from refusion.inference.network import Network
from refusion.models.bundled import BundledModel, is_bundled, load_bundled
from refusion.system.devices import choose_device, runs_on_cpu
from refusion.tasks import Engine, get_task

if TYPE_CHECKING:
    from refusion.models.model import ReFusion

Model: TypeAlias = Network | str | Path
"""A loaded model, or what `ReFusion.from_pretrained` takes."""


def load(task: str | None, model: Model | None, device: str | None = None, engine: Engine | None = None) -> Network:
    """The model that is asked for, or the task's own, or that for ir-vis.

    A bundled model that is to run on a CPU is loaded without torch.

    Args:
        task: name of the task.
        model: a loaded model, bare name, folder or OWNER/NAME.
        device: where to, see `refusion.system.devices.choose_device`. If not given, a loaded model stays where it is,
            and others get a GPU if there is one.
        engine: how it is to run, see `refusion.tasks.Engine`.

    Raises:
        ModelError: it cannot be loaded.
        ValueError: there is no such task or device.
    """
    chosen = get_task(task or "ir-vis")
    wanted = chosen.model if model is None else model
    if engine in (None, "onnx") and runs_on_cpu(device):
        if isinstance(wanted, BundledModel):
            return wanted
        if isinstance(wanted, str) and is_bundled(wanted):
            return load_bundled(wanted)
    return load_module(wanted, device)


def load_module(model: Model, device: str | None = None) -> "ReFusion":
    """The same in torch.

    Args:
        model: a loaded model, bare name, folder or OWNER/NAME.
        device: see `load`.

    Raises:
        ModelError: it cannot be loaded.
        ValueError: there is no such device.
    """
    from refusion.models.model import ReFusion

    if isinstance(model, ReFusion):
        return model if device is None else model.to(choose_device(device))
    name = model.name if isinstance(model, BundledModel) else model
    if not isinstance(name, str | Path):
        raise TypeError(f"A model is a ReFusion, a name or a folder, not {type(model).__name__}.")
    return ReFusion.from_pretrained(name, map_location=choose_device(device))
