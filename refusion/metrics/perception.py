"""Metrics built on models of contrast vision.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import add_sources, divide, filter_same, filter_spectrum, mean, sobel, split, stretch
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images

REGION = 16
"""Side of the regions of Qcv, in pixels."""


def qcb(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Chen and Blum's preservation of masked contrast; higher is better, 0 to 1.

    Images are stretched to the full range and filtered with the contrast sensitivity exp(-(r / 15.387)^2) -
    0.7622 exp(-(r / 1.3456)^2), r the frequency in cycles per image, divided by 15. Contrast |g2 * x / g4 * x - 1|
    with Gaussians of sigma 2 and 4 is masked, c^3 / (c^2 + 0.0001); the contrast kept of a source is the
    smaller of its own and the fused one over the larger, and sources are weighted by their squared masked contrast.

    Source: Chen, Blum, Image and Vision Computing 2009, equations (5) to (15). Both toolkits compute the same.
    """
    images = _stretched(a, b, fused, conventions, data_range)
    seen = filter_spectrum(
        images, lambda r: (-((r / 15.3870) ** 2)).exp() - 0.7622 * (-((r / 1.3456) ** 2)).exp(), 1 / 15
    )
    narrow, wide = (filter_same(seen, _taps(sigma)) for sigma in (2, 4))
    contrast = (divide(narrow, wide, 1.0) - 1).abs()
    masked = contrast**3 / (contrast.square() + 0.0001)
    source, result = split(masked)
    kept = divide(torch.minimum(source, result), torch.maximum(source, result), 1.0)
    weight = source.square()
    whole = add_sources(weight).repeat(2, 1, 1, 1)
    return add_sources(mean(divide(weight, whole, 0.5) * kept))


def qcv(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Chen and Varshney's visible distortion, weighted by salience; lower is better, 0 up.

    Images are stretched to the full range. In regions of 16 x 16 (zero padding), the differences of the fused image
    from each source, filtered with the contrast sensitivity 2.6 (0.0192 + 0.144 r) exp(-(0.144 r)^1.1), r the frequency
    in cycles per image, divided by 4, are squared and averaged, and weighted by the sum of the fifth powers of the
    source's Sobel gradients.

    Source: Chen, Varshney, Information Fusion 2007, equations (1) to (7). Both toolkits compute the same. (Mannos and
    Sakrison, after whom the sensitivity is named, have 0.114 where the toolkits have 0.144.)
    """
    source, result = split(_stretched(a, b, fused, conventions, data_range))
    gx, gy = sobel(source)
    salience = _regions((gx.square() + gy.square()) ** 2.5)
    seen = filter_spectrum(source - result, lambda r: 2.6 * (0.0192 + 0.144 * r) * (-((0.144 * r) ** 1.1)).exp(), 1 / 4)
    distortion = _regions(seen.square())
    whole = add_sources(salience.sum(dim=(-3, -2, -1)))
    weighted = divide(add_sources((salience * distortion).sum(dim=(-3, -2, -1))), whole, 0.0)
    return torch.where(whole > 0, weighted, add_sources(mean(distortion)) / 2)


def _stretched(
    a: ImageLike, b: ImageLike, fused: ImageLike, conventions: Conventions | str, data_range: float
) -> Tensor:
    """The three images one after the other, (3N, 1, H, W), each stretched to 0 to 255."""
    conventions = get_conventions(conventions)
    images = torch.cat(read_images(conventions, data_range, a=a, b=b, fused=fused))
    return stretch(images, whole=conventions.rounding != "none")


def _taps(sigma: float) -> list[float]:
    """31 taps of a Gaussian, not normalised, as in the toolkits."""
    return [math.exp(-(i**2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2) for i in range(-15, 16)]


def _regions(x: Tensor) -> Tensor:
    """Mean of each region, with zero padding."""
    height, width = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, -width % REGION, 0, -height % REGION)), REGION)
