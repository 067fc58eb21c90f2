"""Mutual information of features in small windows.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import sobel
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images
from refusion.tasks import check_choice

Feature = Literal["pixels", "gradient", "gradient-x", "edge", "dct"]
"""Feature map compared in windows: grey levels, the magnitude of central differences or the difference along rows,
Sobel edges, or the discrete cosine transform of the whole image."""

SIDE = 3
"""Side of the windows."""

_CHUNK = 1 << 12
"""Number of windows per step, so that intermediate results stay in the cache."""


def fmi(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
    feature: Feature | None = None,
) -> Tensor:
    """Feature mutual information in windows of 3 x 3, normalised; higher is better, 0 to 1.

    Each window of features, column by column and normalised to a sum of 1, is treated as a distribution over its nine
    positions; the joint distribution of a source and the fused image is interpolated, by their correlation, between
    independence and the Frechet bound for its sign. 2 I(x, f) / (H(x) + H(f)), 1 where the windows are equal, is
    averaged over both sources and all windows. Needs 3 x 3 pixels.

    The default feature is ``gradient``, with formulas ``toolkit`` ``edge``. The gradient of the authors' release is
    ``gradient-x``; MEFB uses its edges, thinned as in GNU Octave (a pixel stronger than both neighbours in a row or in
    a column; MATLAB thins a little differently). With formulas ``toolkit``, a constant fused window counts as one of
    ones for the second source wherever the window of the first source differs: MEFB overwrites it.

    Source: Haghighat, Aghagolzadeh, Seyedarabi, Computers and Electrical Engineering 2011; Haghighat, Razian, AICT
    2014. Not compared with values of MEFB, whose code does not run in GNU Octave.
    """
    conventions = get_conventions(conventions)
    toolkit = conventions.formulas == "toolkit"
    chosen = feature or ("edge" if toolkit else "gradient")
    check_choice("feature", chosen, Feature)
    images = read_images(conventions, data_range, min_size=SIDE, a=a, b=b, fused=fused)
    windows = torch.stack([_windows(_FEATURES[chosen](image.detach())) for image in images])
    places = None
    if chosen == "edge":
        # There are few distinct windows of edges.
        windows, places = _unique(windows)
    scores = torch.cat([_similarities(chunk, toolkit) for chunk in windows.split(_CHUNK, dim=2)])
    return (scores if places is None else scores[places]).reshape(len(images[0]), -1).mean(dim=1)


def _windows(x: Tensor) -> Tensor:
    """All windows of images (N, 1, H, W), each column by column, (9, N (H - 2) (W - 2))."""
    height, width = (length - SIDE + 1 for length in x.shape[-2:])
    shifts = [(row, column) for column in range(SIDE) for row in range(SIDE)]
    return torch.stack([x[..., row : row + height, column : column + width].flatten() for row, column in shifts])


def _unique(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct columns of a (3, 9, M) tensor of zeros and ones, and the index of each column among them."""
    bits = 2 ** torch.arange(windows[..., 0].numel(), device=windows.device)
    codes, places = (windows.flatten(0, 1).long() * bits.unsqueeze(1)).sum(dim=0).unique(return_inverse=True)
    columns = (codes // bits.unsqueeze(1)) % 2
    return columns.to(windows.dtype).reshape(*windows.shape[:2], -1), places


def _similarities(windows: Tensor, toolkit: bool) -> Tensor:
    """Mean over both sources of the similarity of windows (3, 9, M) of a, b and the fused image, (M,)."""
    a, b, fused = windows
    same_a, same_b = (a == fused).all(dim=0), (b == fused).all(dim=0)
    if toolkit:
        same_b = torch.where(same_a, same_b, (b == _to_unit_range(fused)).all(dim=0))
    result = _Distribution(fused)
    scores = [
        torch.where(same, 1.0, _shared_information(_Distribution(source), result))
        for source, same in ((a, same_a), (b, same_b))
    ]
    return (scores[0] + scores[1]) / 2


def _to_unit_range(x: Tensor) -> Tensor:
    """Scale each window from its own range to 0 to 1; a constant window becomes ones."""
    low, high = x.amin(dim=0), x.amax(dim=0)
    return torch.where(high > low, (x - low) / (high - low), 1.0)


class _Distribution:
    """Windows (9, M) as distributions over their positions, 1 to 9."""

    def __init__(self, windows: Tensor) -> None:
        windows = _to_unit_range(windows)
        self.shares = windows / windows.sum(dim=0)
        self.ends = self.shares.cumsum(dim=0)
        self.starts = self.ends - self.shares
        places = _places(windows)
        self.mean = places @ self.shares
        self.deviation = (places.square() @ self.shares - self.mean.square()).clamp_min(0).sqrt()
        self.away = self.shares - 1 / len(windows)
        self.square = self.away.square().sum(dim=0)
        self.entropy = _entropy(self.shares)


def _shared_information(x: _Distribution, f: _Distribution) -> Tensor:
    """Normalised mutual information, the joint distribution between independence and a Frechet bound, (M,)."""
    scale = (x.square * f.square).sqrt()
    # For constant windows, the scale is only rounding error.
    correlation = torch.where(scale > 1e-15, (x.away * f.away).sum(dim=0) / scale, 0.0)
    # At the bounds, each position covers an interval of probability, and the joint probability of two positions is
    # the overlap of their intervals; at the lower bound, the intervals of the source start from the other end.
    positive = correlation >= 0
    starts, ends = torch.where(positive, x.starts, 1 - x.ends), torch.where(positive, x.ends, 1 - x.starts)
    bound = torch.minimum(f.ends.unsqueeze(1), ends).sub_(torch.maximum(f.starts.unsqueeze(1), starts)).clamp_min_(0)
    places = _places(ends)
    covariance = places @ (places @ bound.reshape(len(places), -1)).reshape(len(places), -1) - x.mean * f.mean
    extreme = covariance / (x.deviation * f.deviation)
    share = torch.where((correlation != 0) & extreme.isfinite(), correlation / extreme, 0.0)
    joint = bound.mul_(share).add_(f.shares.unsqueeze(1) * ((1 - share) * x.shares))
    alone = x.entropy + f.entropy
    return torch.where(alone > 0, 2 * (alone - _entropy(joint.flatten(0, 1))) / alone, 0.0)


def _entropy(shares: Tensor) -> Tensor:
    """Entropy in nats along the first dimension; for negative joint shares, the logarithm of the absolute value."""
    # Single precision suffices for the logarithms, which take most of the time.
    shares = shares.float()
    return -(shares.abs().add_(1e-37).log_().mul_(shares)).sum(dim=0).double()


def _places(like: Tensor) -> Tensor:
    return torch.arange(1, len(like) + 1, dtype=like.dtype, device=like.device)


def _gradient(x: Tensor) -> Tensor:
    gy, gx = torch.gradient(x, dim=(-2, -1))
    return (gx.square() + gy.square()).sqrt()


def _edge(x: Tensor) -> Tensor:
    """Sobel edges: above twice the root mean square, and a maximum along the row or the column; zeros and ones."""
    gx, gy = sobel(x / 255 / 8, edge="replicate")
    strength = gx.square() + gy.square()
    strength = strength.masked_fill(strength <= 4 * strength.mean(dim=(-2, -1), keepdim=True), 0)
    found = torch.zeros_like(strength, dtype=torch.bool)
    for dim in (-1, -2):
        nothing = torch.zeros_like(strength.narrow(dim, 0, 1))
        padded = torch.cat((nothing, strength, nothing), dim)
        length = strength.shape[dim]
        found |= (strength > padded.narrow(dim, 0, length)) & (strength > padded.narrow(dim, 2, length))
    return found.to(x.dtype)


def _dct(x: Tensor) -> Tensor:
    """The orthonormal discrete cosine transform (type II) along rows and columns."""
    height, width = (_cosines(length, x) for length in x.shape[-2:])
    return height @ x @ width.mT


def _cosines(length: int, like: Tensor) -> Tensor:
    places = torch.arange(length, dtype=like.dtype, device=like.device)
    cosines = ((2 * places + 1) * places.unsqueeze(1) * (math.pi / (2 * length))).cos() * math.sqrt(2 / length)
    cosines[0] /= math.sqrt(2)
    return cosines


_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "pixels": lambda x: x,
    "gradient": _gradient,
    "gradient-x": lambda x: torch.gradient(x, dim=-1)[0],
    "edge": _edge,
    "dct": _dct,
}
