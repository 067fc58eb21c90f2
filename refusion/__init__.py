"""Image fusion with a learnable loss (ReFusion, IJCV 2024).

`refusion.fuse("ir.png", "visible.png")` fuses a pair. Importing this package loads no weights and opens no connection;
torch is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from refusion.system.extras import need
from refusion.tasks import TASKS, Task
from refusion.version import __version__

if TYPE_CHECKING:
    from refusion.api import fuse, fuse_many, fuse_stack, fuse_videos, fuse_volumes
    from refusion.bulk.run import fuse_dataset
    from refusion.explanation.maps import explain
    from refusion.hub.errors import HubError, ModelError, NoWeightsError, UnknownModelError
    from refusion.hub.names import list_models
    from refusion.images.picture import PictureError
    from refusion.inference.finishing import Fused
    from refusion.models.model import ReFusion
    from refusion.pairs.errors import DataError

_PUBLIC = {
    "ReFusion": "refusion.models.model",
    "fuse": "refusion.api",
    "fuse_many": "refusion.api",
    "fuse_stack": "refusion.api",
    "fuse_videos": "refusion.api",
    "fuse_volumes": "refusion.api",
    "fuse_dataset": "refusion.bulk.run",
    "explain": "refusion.explanation.maps",
    "list_models": "refusion.hub.names",
    "PictureError": "refusion.images.picture",
    "DataError": "refusion.pairs.errors",
    "ModelError": "refusion.hub.errors",
    "HubError": "refusion.hub.errors",
    "NoWeightsError": "refusion.hub.errors",
    "UnknownModelError": "refusion.hub.errors",
}
"""Names shown by completion, and the module that defines each; it is imported on first access."""

_EXTRAS = {"ReFusion": "torch", "fuse_dataset": "bulk"}

_OTHERS = {"Fused": "refusion.inference.finishing"}

__all__ = [
    "TASKS",
    "DataError",
    "Fused",
    "HubError",
    "ModelError",
    "NoWeightsError",
    "PictureError",
    "ReFusion",
    "Task",
    "UnknownModelError",
    "__version__",
    "explain",
    "fuse",
    "fuse_dataset",
    "fuse_many",
    "fuse_stack",
    "fuse_videos",
    "fuse_volumes",
    "list_models",
]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name) or _OTHERS.get(name)
    if module is None:
        raise AttributeError(f"module 'refusion' has no attribute {name!r}")
    if name in _EXTRAS:
        need(_EXTRAS[name], f"refusion.{name}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
