"""Structural similarity for multi-exposure fusion.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from refusion.metrics.conventions import REFUSION, Conventions
from refusion.metrics.filters import gaussian, mean, scatter
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images

MEF_SSIM_MIN_SIZE = 44
"""Shortest side: 3 scales with windows of 11 x 11."""


def _patch_similarity(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """MEF-SSIM at one scale, (N,).

    The desired patch is a linear combination of the sources' patches, each without its mean, so its moments are
    combinations of moments of the sources.
    """
    side, eps, c = 11, 2.0**-52, (0.03 * 255) ** 2
    box, window = [1.0] * side, gaussian(side, 1.5)
    energy_a, energy_b = scatter(a, a, box).clamp_min(0), scatter(b, b, box).clamp_min(0)
    energy_ab = scatter(a, b, box)
    contrast_a, contrast_b = energy_a.sqrt() + 0.001, energy_b.sqrt() + 0.001

    joint = (energy_a + energy_b + 2 * energy_ab).clamp_min(0).sqrt()
    consistency = ((joint + eps) / (energy_a.sqrt() + energy_b.sqrt() + eps)).clamp_max(1 - eps)
    power = (consistency * (math.pi / 2)).tan().clamp_max(10)
    share_a, share_b = (contrast_a / side) ** power + eps, (contrast_b / side) ** power + eps
    weight_a = share_a / (share_a + share_b) / contrast_a
    weight_b = share_b / (share_a + share_b) / contrast_b

    separate = weight_a.square() * energy_a + weight_b.square() * energy_b
    norm = (separate + 2 * weight_a * weight_b * energy_ab).clamp_min(0).sqrt()
    scale = torch.maximum(contrast_a, contrast_b) / norm
    scale = scale.masked_fill(norm <= 1e-6 * separate.sqrt(), 0)
    weight_a, weight_b = scale * weight_a, scale * weight_b

    covariance = weight_a * scatter(a, fused, window) + weight_b * scatter(b, fused, window)
    desired = (
        weight_a.square() * scatter(a, a, window)
        + weight_b.square() * scatter(b, b, window)
        + 2 * weight_a * weight_b * scatter(a, b, window)
    )
    return mean((2 * covariance + c) / (desired + scatter(fused, fused, window) + c))


def halve(x: Tensor) -> Tensor:
    """Downsample by the mean of 2 x 2 pixels; an odd last row or column is repeated."""
    odd_height, odd_width = x.shape[-2] % 2, x.shape[-1] % 2
    return F.avg_pool2d(F.pad(x, (0, odd_width, 0, odd_height), mode="replicate"), 2)


def mef_ssim(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Structural similarity for multi-exposure fusion, by structural patch decomposition; higher is better, 0 to 1.

    (2 cov(d, f) + c) / (var(d) + var(f) + c), with the desired patch d and c = (0.03 * 255)^2.
    11 x 11 windows (uniform for the desired patch, Gaussian of sigma 1.5 for the comparison) and 3 scales, as
    in the authors' release. It compares contrast and structure, never the mean intensity; a negative
    similarity of a scale counts as 0. Needs 44 x 44 pixels.

    Source: Ma, Zeng, Wang, IEEE Transactions on Image Processing 2015.
    """
    a, b, fused = read_images(conventions, data_range, min_size=MEF_SSIM_MIN_SIZE, a=a, b=b, fused=fused)
    quality = torch.ones(len(a), dtype=a.dtype, device=a.device)
    weights = (0.0448, 0.2856, 0.3001)
    for scale, weight in enumerate(weights):
        if scale:
            a, b, fused = (halve(x) for x in (a, b, fused))
        quality *= _patch_similarity(a, b, fused).clamp_min(0) ** (weight / sum(weights))
    return quality
