"""Visual information fidelity: to each source (VIF), and for fusion (VIFF).

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import add_sources, divide, filter_valid, gaussian, split, total
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images

VIF_MIN_SIZE = 41
"""Shortest side: 4 scales, the last with a window of 3 x 3."""

_EPS = 1e-10


def vif(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Visual information fidelity (pixel domain, 4 scales, noise variance 2) to each source; higher is better, 0 up.

    sum log(1 + g^2 s / (v + 2)) / sum log(1 + s / 2) over windows of variance s, with the gain g = cov(x, f) / s and
    v = var(f) - g cov(x, f). Summed over both sources unless the conventions say otherwise. The fidelity to a source
    without any detail, such as a constant one, is defined as 1. Needs 41 x 41 pixels.

    Source: Sheikh, Bovik, IEEE Transactions on Image Processing 2006. The VIF of MEFB (formulas ``toolkit``) is
    another metric, `viff`.
    """
    conventions = get_conventions(conventions)
    if conventions.formulas == "toolkit":
        return viff(a, b, fused, conventions, data_range=data_range)
    images = torch.cat(read_images(conventions, data_range, min_size=VIF_MIN_SIZE, a=a, b=b, fused=fused))
    kept = whole = torch.zeros(())
    for _, with_noise, without in _scales(images, 2.0):
        kept, whole = kept + total(with_noise), whole + total(without)
    fidelity = add_sources(divide(kept, whole, 1.0))
    return fidelity / 2 if conventions.sources == "mean" else fidelity


def viff(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Visual information fidelity for fusion; higher is better, 0 up.

    At each position of each of 4 scales, only the source with the smaller gain g = cov(x, f) / var(x) counts; the
    fidelity of each scale, with noise of variance 0.005 * 255^2, is weighted by (1, 0, 0.15, 1) / 2.15. Needs 41 x 41
    pixels.

    Source: Han, Cai, Cao, Xu, Information Fusion 2013.
    """
    images = torch.cat(read_images(conventions, data_range, min_size=VIF_MIN_SIZE, a=a, b=b, fused=fused))
    fidelity = torch.zeros(())
    for weight, (gain, with_noise, without) in zip((1, 0, 0.15, 1), _scales(images, 0.005 * 255**2), strict=True):
        n = len(gain) // 2
        first = gain[:n] < gain[n:]
        kept, whole = (torch.where(first, x[:n], x[n:]) + 1e-7 for x in (with_noise, without))
        fidelity = fidelity + weight / 2.15 * total(kept) / total(whole)
    return fidelity


def _scales(images: Tensor, noise: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each scale: gains, and information of the sources with and without distortion by the fusion, (2N, ...)."""
    # The result does not depend on the means; removing them loses less precision.
    planes = images - images.mean(dim=(-2, -1), keepdim=True)
    for size in (17, 9, 5, 3):
        window = gaussian(size, size / 5)
        if size < 17:
            planes = filter_valid(planes, window, stride=2)
        mean = filter_valid(planes, window)
        source, result = split(filter_valid(planes.square(), window) - mean.square())
        covariance = filter_valid(torch.mul(*split(planes)), window) - torch.mul(*split(mean))
        flat = source < _EPS
        gain = (covariance / source.masked_fill(flat, 1)).masked_fill(flat | (result < _EPS), 0).clamp_min(0)
        source = source.masked_fill(flat, 0)
        lost = result - gain * covariance
        yield gain, torch.log1p(gain.square() * source / (lost + noise)), torch.log1p(source / noise)
