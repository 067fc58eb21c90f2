"""How the network runs over pictures."""

from typing import Literal

import torch
from torch import Tensor

from refusion.devices import free_memory, full_float32
from refusion.fusion import FusionModule, check_sources
from refusion.pictures import PictureError
from refusion.strips import bytes_held, fuse_in_strips
from refusion.tasks import check_choice

Engine = Literal["strips", "whole", "half"]
"""``strips``: see `refusion.strips`, in little memory at any size. ``whole``: `FusionModule.forward`. Both give the
same picture. ``half``: the same in float16 where that suffices, in half the memory; the picture differs by one grey
level of 255 at most, but for one pixel in a thousand."""

WHOLE_MAPS = 13
"""What `FusionModule.forward` needs at once, in hidden maps of its decoder's width (measured with the defaults)."""

WHOLE_PIXELS = 10_000
"""Pixels of a picture up to which the plain forward is faster than strips on a CPU."""


def choose_engine(module: FusionModule, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Engine:
    """What runs if nothing is asked for.

    On a CPU strips, which were the fastest (docs/performance.md), but for very small pictures. Elsewhere the whole
    picture, or all of a batch, at once, so that the device has much to do; strips if that would take more than half of
    the free memory.

    Args:
        module: the fusion module.
        shape: of each source, (N, 1, H, W).
        dtype: of the sources.
        device: where they are.
    """
    if device.type == "cpu":
        return "whole" if shape[2] * shape[3] <= WHOLE_PIXELS else "strips"
    return "whole" if 2 * shape.numel() * bytes_whole(module, dtype) <= free_memory(device) else "strips"


def run_network(module: FusionModule, a: Tensor, b: Tensor, engine: Engine | None = None) -> Tensor:
    """Fuse luminance without gradients.

    Args:
        module: the fusion module.
        a: first sources, (N, 1, H, W), in [0, 1]; of the module's dtype and on its device.
        b: second sources, likewise.
        engine: how; see `choose_engine` if not given.

    Returns:
        Fused luminance, (N, 1, H, W), in (0, 1).

    Raises:
        PictureError: this needs more memory than is free.
        ValueError: there is no such engine, or the shapes are wrong, see `FusionModule.forward`.
    """
    check_sources(a, b)
    engine = engine or choose_engine(module, a.shape, a.dtype, a.device)
    check_choice("engine", engine, Engine)
    if engine == "strips":
        check_memory(a.shape, bytes_held(module, a.dtype), a.device)
        with full_float32(a.device):
            return torch.cat([fuse_in_strips(module, *pair) for pair in zip(a.split(1), b.split(1), strict=True)])
    dtype = torch.float16 if engine == "half" else a.dtype
    check_memory(a.shape, bytes_whole(module, dtype), a.device)
    with torch.inference_mode(), full_float32(a.device), torch.autocast(a.device.type, dtype, engine == "half"):
        return module(a, b).to(a.dtype)


def bytes_whole(module: FusionModule, dtype: torch.dtype) -> int:
    """Memory that `FusionModule.forward` needs for each pixel of each pair."""
    hidden = module.interaction.project_out1.in_channels
    return WHOLE_MAPS * hidden * dtype.itemsize


def check_memory(shape: torch.Size, bytes_a_pixel: int, device: torch.device) -> None:
    """Refuse pictures for which there is not enough memory, before the system ends the process for it.

    Args:
        shape: of each source, (N, 1, H, W).
        bytes_a_pixel: what a pixel of a pair needs.
        device: where they are.

    Raises:
        PictureError: a sentence with what is needed and what is free.
    """
    count, _, height, width = shape
    needed, free = shape.numel() * bytes_a_pixel, free_memory(device)
    if needed > free:
        what, advice = "A picture", "close other programs, or make the pictures smaller"
        if count > 1:
            what, advice = f"A batch of {count} pairs", "make the batch smaller"
        raise PictureError(
            f"{what} of {width} x {height} pixels needs {needed / 1e9:.1f} GB of memory to be fused, but only "
            f"{free / 1e9:.1f} GB are free; {advice}."
        )
