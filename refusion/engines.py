"""How the network runs over a picture."""

from typing import Literal

import torch
from torch import Tensor

from refusion.fusion import FusionModule
from refusion.strips import fuse_in_strips
from refusion.tasks import check_choice

Engine = Literal["strips", "whole"]
"""``strips``: see `refusion.strips`, in little memory at any size. ``whole``: `FusionModule.forward`. Both give
the same picture."""

DEFAULT_ENGINE: Engine = "strips"
"""What runs if nothing is asked for: it was the fastest on CPU, see docs/performance.md."""


def run_network(module: FusionModule, a: Tensor, b: Tensor, engine: Engine | None = None) -> Tensor:
    """Fuse luminance without gradients.

    Args:
        module: the fusion module.
        a: first source, (1, 1, H, W), in [0, 1]; of the module's dtype and on its device.
        b: second source, likewise.
        engine: how; `DEFAULT_ENGINE` if not given.

    Returns:
        Fused luminance, (1, 1, H, W), in (0, 1).

    Raises:
        ValueError: there is no such engine, or the shapes are wrong, see `FusionModule.forward`.
    """
    engine = engine or DEFAULT_ENGINE
    check_choice("engine", engine, Engine)
    if engine == "strips":
        return fuse_in_strips(module, a, b)
    with torch.inference_mode():
        return module(a, b)
