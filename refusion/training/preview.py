"""Pictures to watch a training by."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossWeights
from refusion.system.files import replacing

GAP = 4


@torch.no_grad()
def save_preview(path: Path, fusion: FusionModule, weights: LossWeights, a: Tensor, b: Tensor) -> None:
    """Write a PNG with one row a pair: a, b, fused, w of a, v of a (white: a is trusted, black: b).

    Args:
        path: where to write.
        fusion: the fusion module.
        weights: weights of the fusion loss for these pairs.
        a: first sources, (N, 1, H, W), luminance in [0, 1].
        b: second sources, the same shape.
    """
    columns = torch.cat((a, b, fusion(a, b), weights.intensity[:, :1], weights.gradient[:, :1]), dim=1)
    tiles = np.pad(columns.float().cpu().numpy(), ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=1)
    rows = [np.concatenate(list(row), axis=1) for row in tiles]
    picture = Image.fromarray(np.rint(np.concatenate(rows) * 255).astype(np.uint8))
    with replacing(path) as temporary:
        picture.save(temporary)
