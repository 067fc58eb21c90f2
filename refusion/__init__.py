"""Image fusion with a learnable loss (ReFusion, IJCV 2024).

`ReFusion.from_pretrained("refusion-ir-vis").fuse("ir.png", "visible.png")` fuses a pair. Importing this package
loads no weights and opens no connection; torch is imported when `ReFusion` is first asked for.
"""

from typing import TYPE_CHECKING, Any

from refusion.tasks import TASKS, Task
from refusion.version import __version__

if TYPE_CHECKING:
    from refusion.api import Fused, fuse
    from refusion.bulk.run import fuse_dataset
    from refusion.inference.pair import fuse_many
    from refusion.models.model import ReFusion

__all__ = ["TASKS", "Fused", "ReFusion", "Task", "__version__", "fuse", "fuse_dataset", "fuse_many"]


def __getattr__(name: str) -> Any:
    if name == "ReFusion":
        from refusion.models.model import ReFusion

        return ReFusion
    if name in ("Fused", "fuse"):
        from refusion import api

        return getattr(api, name)
    if name == "fuse_many":
        from refusion.inference.pair import fuse_many

        return fuse_many
    if name == "fuse_dataset":
        from refusion.bulk.run import fuse_dataset

        return fuse_dataset
    raise AttributeError(f"module 'refusion' has no attribute {name!r}")
