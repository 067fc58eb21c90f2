"""How the network runs over a picture."""

from typing import Literal

import psutil
import torch
from torch import Tensor

from refusion.fusion import FusionModule, check_sources
from refusion.pictures import PictureError
from refusion.strips import bytes_held, fuse_in_strips
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
        PictureError: strips of this picture need more memory than is free.
        ValueError: there is no such engine, or the shapes are wrong, see `FusionModule.forward`.
    """
    engine = engine or DEFAULT_ENGINE
    check_choice("engine", engine, Engine)
    if engine == "strips":
        check_sources(a, b)
        height, width = a.shape[2:]
        check_memory(height, width, bytes_held(module, a.dtype), a.device)
        return fuse_in_strips(module, a, b)
    with torch.inference_mode():
        return module(a, b)


def check_memory(height: int, width: int, bytes_a_pixel: int, device: torch.device) -> None:
    """Refuse a picture for which there is not enough memory, before the system ends the process for it.

    Raises:
        PictureError: a sentence with what is needed and what is free.
    """
    needed = height * width * bytes_a_pixel
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise PictureError(
            f"A picture of {width} x {height} pixels needs {needed / 1e9:.1f} GB of memory to be fused, but only "
            f"{free / 1e9:.1f} GB are free; close other programs, or make the pictures smaller."
        )
