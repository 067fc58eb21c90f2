"""Preview images of a training run."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossWeights
from refusion.system.files import replacing
from refusion.training.trainer import MetaTrainer

PREVIEW_PAIRS = 3
PREVIEW_SIDE = 192
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


def preview_pairs(trainer: MetaTrainer) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Centre crops of a few pairs, the same for every preview; None if the data set is streamed."""
    if trainer.reader.pairs.streaming:
        return None
    count = len(trainer.reader)
    indices = sorted({i * count // PREVIEW_PAIRS for i in range(PREVIEW_PAIRS)})
    middles = [[middle(x, PREVIEW_SIDE) for x in trainer.reader[i]] for i in indices]
    side = min(x.shape[-1] for pair in middles for x in pair), min(x.shape[-2] for pair in middles for x in pair)
    a, b = (torch.stack([pair[k][:, : side[1], : side[0]] for pair in middles]) for k in (0, 1))
    return a.to(trainer.device), b.to(trainer.device)


def middle(luminance: np.ndarray, side: int) -> torch.Tensor:
    """Centre crop of an image, at most `side` high and wide, as a tensor (1, h, w)."""
    top, left = (max(0, (length - side) // 2) for length in luminance.shape)
    return torch.from_numpy(luminance[top : top + side, left : left + side].copy()).unsqueeze(0)


def save_step_preview(trainer: MetaTrainer, folder: Path, pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Write the preview of the current step."""
    path = folder / "previews" / f"step-{trainer.step:06d}.png"
    save_preview(path, trainer.fused_module(), trainer.propose(*pairs), *pairs)
