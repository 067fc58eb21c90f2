"""Metrics on grey levels: deviation, error and correlation.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import add_sources, divide, mean, root, split, total
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images


def sd(fused: ImageLike, conventions: Conventions | str = REFUSION, *, data_range: float = GREY_LEVELS) -> Tensor:
    """Population standard deviation, in grey levels; higher is better, 0 to 127.5.

    Source: Rao, Measurement Science and Technology 1997.
    """
    (fused,) = read_images(conventions, data_range, fused=fused)
    return fused.flatten(1).std(dim=1, correction=0)


def variance(fused: ImageLike, conventions: Conventions | str = REFUSION, *, data_range: float = GREY_LEVELS) -> Tensor:
    """Population variance, in squared grey levels; higher is better, 0 to 16256.

    Source: Rao, Measurement Science and Technology 1997. The variance of VIFB (formulas ``toolkit``) is its square
    root, the standard deviation.
    """
    conventions = get_conventions(conventions)
    deviation = sd(fused, conventions, data_range=data_range)
    return deviation if conventions.formulas == "toolkit" else deviation.square()


def rmse(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Root of the mean squared difference from each source, in grey levels, mean of two; lower is better, 0 to 255.

    Source: Jagalingam, Hegde, Aquatic Procedia 2015. VIFB (formulas ``toolkit``) divides the root of the summed squares
    by the number of pixels, so that its value decreases with image size.
    """
    return add_sources(_differences(a, b, fused, conventions, data_range)) / 2


def psnr(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(255^2 / MSE), MSE the mean over both sources, in dB; higher is better, 0 up.

    Infinite where all three images are equal.

    Source: Jagalingam, Hegde, Aquatic Procedia 2015. VIFB and MEFB (formulas ``toolkit``) use the root of the summed
    squares divided by the number of pixels as MSE, which gives about twice as many dB.
    """
    conventions = get_conventions(conventions)
    differences = _differences(a, b, fused, conventions, data_range)
    squares = differences if conventions.formulas == "toolkit" else differences.square()
    return 10 * torch.log10(255**2 / (add_sources(squares) / 2))


def cc(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Mean of the correlations of the fused image with each source; higher is better, -1 to 1.

    A correlation with a constant image is defined as 0.

    Source: Deshmukh, Bhosale, International Journal of Image Processing 2010.
    """
    a, b, fused = read_images(conventions, data_range, a=a, b=b, fused=fused)
    return (_correlation(a, fused) + _correlation(b, fused)) / 2


def scd(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Sum of the correlations of differences, corr(a, f - b) + corr(b, f - a); higher is better, -2 to 2.

    A correlation with a constant image or difference is defined as 0.

    Source: Aslantas, Bendes, AEU International Journal of Electronics and Communications 2015.
    """
    a, b, fused = read_images(conventions, data_range, a=a, b=b, fused=fused)
    return _correlation(a, fused - b) + _correlation(b, fused - a)


def _differences(
    a: ImageLike, b: ImageLike, fused: ImageLike, conventions: Conventions | str, data_range: float
) -> Tensor:
    """RMSE of the fused image from each source, (2N,), or the variant of the toolkits."""
    conventions = get_conventions(conventions)
    x, f = split(torch.cat(read_images(conventions, data_range, a=a, b=b, fused=fused)))
    squares = (x - f).square()
    if conventions.formulas == "toolkit":
        return root(total(squares)) / squares[0].numel()
    return root(mean(squares))


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation over each image; 0 where one of the two is constant."""
    x = x - x.mean(dim=(-2, -1), keepdim=True)
    y = y - y.mean(dim=(-2, -1), keepdim=True)
    return divide(total(x * y), root(total(x * x) * total(y * y)), 0.0)
