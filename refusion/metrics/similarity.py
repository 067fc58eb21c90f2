"""Metrics of structural similarity in windows.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import add_sources, divide, filter_valid, gaussian, magnitude, mean, sobel, split, total
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images

BLOCK = 8
"""Side of the window of the universal quality index."""

_TINY = 2e-16
"""Value of both constants of SSIM in Qy and Qc of the toolkits."""


def ssim(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Structural similarity of the fused image to each source; higher is better.

    Summed over both sources unless the conventions say otherwise: -2 to 2. (2 mx my + c1) (2 sxy + c2) /
    ((mx^2 + my^2 + c1) (sx^2 + sy^2 + c2)) over windows inside the image only. With ``uniform-7`` it is what
    scikit-image's ``structural_similarity(x, y, data_range=255)`` computes, with ``gaussian-11`` as in the paper and
    VIFB. Needs 7 x 7 or 11 x 11 pixels.

    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 2004.
    """
    conventions = get_conventions(conventions)
    uniform = conventions.ssim_window == "uniform-7"
    window = [1 / 7] * 7 if uniform else gaussian(11, 1.5)
    images = read_images(conventions, data_range, min_size=len(window), a=a, b=b, fused=fused)
    moments = _Moments(torch.cat(images), window, 49 / 48 if uniform else 1.0)
    c1, c2 = (0.01 * conventions.ssim_range) ** 2, (0.03 * conventions.ssim_range) ** 2
    similarity = add_sources(mean(moments.similarity(c1, c2)))
    return similarity / 2 if conventions.sources == "mean" else similarity


def qw(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Piella's weighted fusion quality index; higher is better, -1 to 1.

    sum c (l Q(a, f) + (1 - l) Q(b, f)) over windows of 8 x 8, Q the universal quality index, l = s(a) / (s(a) + s(b))
    with variances s, and c = max(s(a), s(b)) divided by its sum. 0 where neither source has any contrast.
    Needs 11 x 11 pixels.

    Source: Piella, Heijmans, ICIP 2003, equation (5). MEFB (formulas ``toolkit``) uses SSIM (Gaussian window of 11 x
    11) instead of Q, and compares Prewitt gradients instead of the images.
    """
    conventions = get_conventions(conventions)
    toolkit = conventions.formulas == "toolkit"
    images = torch.cat(read_images(conventions, data_range, min_size=11, a=a, b=b, fused=fused))
    if toolkit:
        gx, gy = sobel(images, (1, 1, 1))
        moments = _Moments(magnitude(gx, gy), gaussian(11, 1.5))
        quality = moments.similarity((0.01 * 255) ** 2, (0.03 * 255) ** 2)
    else:
        moments = _Moments(images, [1 / BLOCK] * BLOCK)
        quality = moments.universal_quality()
    n = len(quality) // 2
    contrast_a, contrast_b = moments.source[:n], moments.source[n:]
    both = contrast_a + contrast_b
    share = divide(contrast_a, both, 0.5)
    weight = torch.maximum(contrast_a, contrast_b)
    weighted, whole = total(weight * (share * quality[:n] + (1 - share) * quality[n:])), total(weight)
    return divide(weighted, whole, 0.0)


def qy(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Yang's similarity: both sources where they are alike, the more similar one elsewhere; higher is better, -1 to 1.

    l SSIM(a, f) + (1 - l) SSIM(b, f) where SSIM(a, b) >= 0.75, with l = s(a) / (s(a) + s(b)) and variances s;
    max(SSIM(a, f), SSIM(b, f)) elsewhere. Gaussian window of 7 x 7 (sigma 1.5). Needs 11 x 11 pixels.

    Source: Yang, Zhang, Wang, Liu, Information Fusion 2008. MEFB (formulas ``toolkit``) uses 2e-16 for the constants of
    SSIM: where an image is constant it divides rounding errors by rounding errors, so that a flat sky determines its
    value, down to -44 on one pair. The values here are the same, with the order of operations of GNU Octave; those of
    MATLAB, whose filter adds in another order, differ.
    """
    conventions = get_conventions(conventions)
    a, b, fused = read_images(conventions, data_range, min_size=11, a=a, b=b, fused=fused)
    toolkit = conventions.formulas == "toolkit"
    sources, with_a, with_b = (_compare(x, y, toolkit) for x, y in ((a, b), (a, fused), (b, fused)))
    to_a, to_b = with_a.similarity, with_b.similarity
    both = sources.variance_x + sources.variance_y
    share = sources.variance_x / both
    if not toolkit:
        share = torch.where(both > 0, share, 0.5)
    alike = (sources.similarity >= 0.75).double()
    quality = (share * to_a + (1 - share) * to_b) * alike + torch.fmax(to_a, to_b) * (1 - alike)
    return quality.nanmean(dim=(-3, -2, -1))


def qc(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Cvejic's similarity: the universal quality index to both sources, by their covariance; higher is better, -1 to 1.

    Mean of l Q(a, f) + (1 - l) Q(b, f) over windows of 8 x 8, l = cov(a, f) / (cov(a, f) + cov(b, f)) within 0 to 1.
    Needs 11 x 11 pixels.

    Source: Cvejic, Loza, Bull, Canagarajah, International Journal of Signal Processing 2005. MEFB (formulas
    ``toolkit``) uses a Gaussian window of 7 x 7, sets the value itself to 0 or 1 where l is below 0 or above 1, and
    divides rounding errors where an image is constant, as its Qy does.
    """
    conventions = get_conventions(conventions)
    a, b, fused = read_images(conventions, data_range, min_size=11, a=a, b=b, fused=fused)
    if conventions.formulas == "toolkit":
        with_a, with_b = _compare(a, fused, True), _compare(b, fused, True)
        share = with_a.covariance / (with_a.covariance + with_b.covariance)
        quality = share * with_a.similarity + (1 - share) * with_b.similarity
        quality = quality.masked_fill(share < 0, 0.0).masked_fill(share > 1, 1.0)
        return quality.nanmean(dim=(-3, -2, -1))
    moments = _Moments(torch.cat((a, b, fused)), [1 / BLOCK] * BLOCK)
    (to_a, to_b), (shared_a, shared_b) = (x.chunk(2) for x in (moments.universal_quality(), moments.covariance))
    both = shared_a + shared_b
    share = divide(shared_a, both, 0.5).clamp(0, 1)
    return mean(share * to_a + (1 - share) * to_b)


class _Moments:
    """Means, variances and covariances of the sources and the fused image in windows, (2N, 1, H', W').

    Args:
        images: 3N rows (a, b, fused).
        taps: the window, of sum 1 in each direction.
        correction: factor of variances and covariances.
    """

    def __init__(self, images: Tensor, taps: list[float], correction: float = 1.0) -> None:
        average = filter_valid(images, taps)
        squares = (filter_valid(images.square(), taps) - average.square()) * correction
        self.source_mean, self.result_mean = split(average)
        # In constant windows, rounding errors take the place of 0.
        self.source, self.result = (x.masked_fill(x < 1e-9, 0) for x in split(squares))
        product = filter_valid(torch.mul(*split(images)), taps) - self.source_mean * self.result_mean
        self.covariance = (product * correction).masked_fill((self.source == 0) | (self.result == 0), 0)

    def similarity(self, c1: float, c2: float) -> Tensor:
        """SSIM with its two constants."""
        means, squares = self._means()
        return (2 * means + c1) / (squares + c1) * (2 * self.covariance + c2) / (self.source + self.result + c2)

    def universal_quality(self) -> Tensor:
        """SSIM without constants (Wang, Bovik, IEEE Signal Processing Letters 2002); undefined terms are 1."""
        means, squares = self._means()
        contrast = self.source + self.result
        brightness = divide(2 * means, squares, 1.0)
        return brightness * divide(2 * self.covariance, contrast, 1.0)

    def _means(self) -> tuple[Tensor, Tensor]:
        return self.source_mean * self.result_mean, self.source_mean.square() + self.result_mean.square()


class _Comparison(NamedTuple):
    """Two images compared in Gaussian windows of 7 x 7."""

    similarity: Tensor
    variance_x: Tensor
    variance_y: Tensor
    covariance: Tensor


def _compare(x: Tensor, y: Tensor, toolkit: bool) -> _Comparison:
    if toolkit:
        filtered, c1, c2 = _filter_as_octave, _TINY, _TINY
    else:
        filtered, c1, c2 = partial(filter_valid, taps=gaussian(7, 1.5)), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = filtered(x), filtered(y)
    squared_x, squared_y, product = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    variance_x, variance_y = filtered(x * x) - squared_x, filtered(y * y) - squared_y
    covariance = filtered(x * y) - product
    if not toolkit:
        variance_x, variance_y = (v.masked_fill(v < 1e-9, 0) for v in (variance_x, variance_y))
    above = (2 * product + c1) * (2 * covariance + c2)
    similarity = above / ((squared_x + squared_y + c1) * (variance_x + variance_y + c2))
    return _Comparison(similarity, variance_x, variance_y, covariance)


def _filter_as_octave(x: Tensor) -> Tensor:
    """Filter with a Gaussian window of 7 x 7, bit-identical to `filter2` of GNU Octave 7.

    Octave adds the products one by one from the last column of the window to the first, bottom to top, each rounded.
    """
    side = range(-3, 4)
    window = np.array([[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in side] for i in side])
    window /= sum(window.ravel().tolist())
    window /= sum(window.ravel().tolist())
    height, width = (length - 6 for length in x.shape[-2:])
    result = torch.zeros_like(x[..., :height, :width])
    for column in range(6, -1, -1):
        for row in range(6, -1, -1):
            # Multiplied first, since `alpha` of `add_` rounds only once.
            result.add_(x[..., row : row + height, column : column + width] * float(window[row, column]))
    return result
