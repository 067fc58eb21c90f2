"""Evaluate a fusion module with windowed attention part by part: the result of `FusionModule.forward`.

Nothing depends on the whole image then: a range of rows, with a halo of the rows that its pixels depend on, gives the
same pixels as the whole image. This is for GPUs, and for float64; `refusion.inference.engines.onnx_tiles` needs less
memory and recomputes less.
"""

import torch
from torch import Tensor

from refusion.modules.fusion import FusionModule
from refusion.modules.windows import CELLS, cell_of


def reach(module: FusionModule, cell: int) -> int:
    """Size of the halo of a part, in rows (and columns): the whole cells on which its pixels depend.

    Args:
        module: the fusion module.
        cell: side of the cells of its attention.
    """
    rows = 2  # the last two convolutions
    for _ in range(len(module.decoder) + 1 + len(module.encoder1)):
        # The feed-forward or the gates; then the interpolated cells, the cells around them, their queries and keys.
        rows = -(-(rows + 1) // cell) * cell + (1 + CELLS // 2) * cell + 1
    return -(-(rows + 1) // cell) * cell


def fuse_in_parts(module: FusionModule, a: Tensor, b: Tensor, rows: int) -> Tensor:
    """Fuse luminance, as `FusionModule.forward` does, without gradients.

    Args:
        module: the fusion module; its attention has a window.
        a: first sources, (N, 1, H, W), in [0, 1].
        b: second sources, likewise.
        rows: rows of a part without its halo, rounded up to whole cells.

    Returns:
        Fused luminance, (N, 1, H, W), in (0, 1).

    Raises:
        ValueError: the attention is over the whole image.
    """
    cell = cell_of(module.window)
    if cell is None:
        raise ValueError("The attention of this module is over the whole image, which has no parts.")
    height, around = a.shape[2], reach(module, cell)
    step = -(-rows // cell) * cell
    fused = torch.empty_like(a)
    with torch.inference_mode():
        for first in range(0, height, step):
            last = min(first + step, height)
            top, bottom = max(0, first - around), min(height, last + around)
            part = module(a[:, :, top:bottom], b[:, :, top:bottom])
            fused[:, :, first:last] = part[:, :, first - top : last - top]
    return fused
