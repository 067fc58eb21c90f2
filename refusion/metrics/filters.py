"""Filters, windows and sums shared by several metrics; all on tensors (N, 1, H, W)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def mean(x: Tensor) -> Tensor:
    """Mean of each image, (N,)."""
    return x.mean(dim=(-3, -2, -1))


def total(x: Tensor) -> Tensor:
    """Sum of each image, (N,)."""
    return x.sum(dim=(-3, -2, -1))


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split 3N rows (a, b, fused) into the 2N rows of the sources and a matching 2N rows, fused twice."""
    n = len(x) // 3
    return x[: 2 * n], torch.cat((x[2 * n :], x[2 * n :]))


def add_sources(x: Tensor) -> Tensor:
    """Sum over the two sources of 2N rows (a, b)."""
    return x[: len(x) // 2] + x[len(x) // 2 :]


def correlate(x: Tensor, taps: Sequence[float], dim: int, stride: int = 1) -> Tensor:
    """Valid correlation along one dimension, as a sum of shifted views."""
    span = x.shape[dim] - len(taps) + 1
    views = [x.narrow(dim, i, span) for i in range(len(taps))]
    if stride > 1:
        views = [view[..., ::stride, :] if dim == -2 else view[..., ::stride] for view in views]
    result = views[0] * taps[0]
    for view, tap in zip(views[1:], taps[1:], strict=True):
        result.add_(view, alpha=tap)
    return result


def filter_valid(x: Tensor, taps: Sequence[float], stride: int = 1) -> Tensor:
    """Valid correlation with the outer product of `taps`; one plane at a time, to stay in the cache."""
    return torch.cat([correlate(correlate(plane, taps, -2, stride), taps, -1, stride) for plane in x.split(1)])


def filter_same(x: Tensor, taps: Sequence[float]) -> Tensor:
    """`filter_valid` with an odd number of taps and zero padding, which keeps the size."""
    side = len(taps) // 2
    return filter_valid(F.pad(x, (side, side, side, side)), taps)


def gaussian(size: int, sigma: float) -> list[float]:
    """Taps of a Gaussian, normalised to a sum of 1."""
    weights = [math.exp(-0.5 * ((i - (size - 1) / 2) / sigma) ** 2) for i in range(size)]
    return [weight / sum(weights) for weight in weights]


def sobel(x: Tensor, side: Sequence[float] = (1, 2, 1), *, edge: str = "constant") -> tuple[Tensor, Tensor]:
    """Differences along x (right minus left) and along y (lower minus upper), smoothed across by `side`.

    Args:
        x: the images.
        side: smoothing taps: (1, 2, 1) is Sobel, (1, 1, 1) is Prewitt.
        edge: padding: ``constant`` for zeros, ``replicate`` for the outermost pixels.
    """
    x = F.pad(x, (1, 1, 1, 1), mode=edge)
    across = correlate(correlate(x, side, -2), (-1, 0, 1), -1)
    return across, correlate(correlate(x, side, -1), (-1, 0, 1), -2)


def magnitude(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(x^2 + y^2), with a gradient of 0 where both are 0."""
    return root(x.square() + y.square())


def root(x: Tensor) -> Tensor:
    """sqrt(x) of numbers from 0 up, with a gradient of 0 where x is 0."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def scatter(x: Tensor, y: Tensor, taps: Sequence[float]) -> Tensor:
    """Windowed sum of (x - mean x)(y - mean y), with weights `taps` in each direction."""
    weight = sum(taps) ** 2
    return filter_valid(x * y, taps) - filter_valid(x, taps) * filter_valid(y, taps) / weight


def entropy(symbols: Tensor, count: int) -> Tensor:
    """Entropy in nats of each row of an (N, pixels) tensor of integers below `count`."""
    return torch.special.entr(frequencies(symbols, count)).sum(dim=1)


def frequencies(symbols: Tensor, count: int) -> Tensor:
    """Relative frequencies, (N, count), of an (N, pixels) tensor of integers below `count`."""
    n, pixels = symbols.shape
    offsets = count * torch.arange(n, device=symbols.device).unsqueeze(1)
    return torch.bincount((symbols + offsets).flatten(), minlength=n * count).reshape(n, count).double() / pixels


def stretch(x: Tensor, *, whole: bool = True) -> Tensor:
    """Stretch each image from its own range to 0 to 255; a constant image becomes black.

    Args:
        x: the images.
        whole: round to whole grey levels, which has no gradient.
    """
    low, high = x.amin(dim=(-3, -2, -1), keepdim=True), x.amax(dim=(-3, -2, -1), keepdim=True)
    span = high - low
    stretched = (x - low) / span.clamp_min(1e-12) * 255
    # Halves are rounded up, as in MATLAB.
    return torch.where(span > 0, (stretched + 0.5).floor() if whole else stretched, 0.0)


def divide(x: Tensor, y: Tensor, otherwise: float) -> Tensor:
    """x / y, and `otherwise` with a gradient of 0 where y is 0."""
    defined = y != 0
    return torch.where(defined, x / torch.where(defined, y, 1.0), otherwise)


def filter_spectrum(x: Tensor, transfer: Callable[[Tensor], Tensor], scale: float) -> Tensor:
    """Filter in the frequency domain, without padding.

    Args:
        x: the images.
        transfer: gain at each radial frequency.
        scale: factor of the radial frequencies, in cycles per image, before `transfer`.
    """
    height, width = x.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / (height * scale), dtype=x.dtype, device=x.device)
    columns = torch.fft.rfftfreq(width, 1 / (width * scale), dtype=x.dtype, device=x.device)
    gain = transfer((rows.unsqueeze(1).square() + columns.square()).sqrt())
    return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=(height, width))
