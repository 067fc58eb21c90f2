"""Fusion metrics on 8-bit luminance, batched, on the device of the pictures.

Every metric takes pictures of shape (N, 1, H, W) or (H, W), torch tensors or numpy arrays, with values 0 to
255, and returns a float64 tensor of shape (N,). Values are rounded to integers first, so that a picture
scores the same before and after it is saved with 8 bits. All arithmetic is float64 (a device without it,
such as Apple's MPS, needs ``.cpu()`` first) and outside autograd.

The definitions are those that the published evaluators share: MI, VIF and SSIM are sums over the two
sources, CC is their mean.

Every metric raises ValueError, with all shapes in the sentence, if the pictures differ in size or type
(array or tensor, integer or float, device), if one is neither (H, W) nor (N, 1, H, W), is too small for the
metric, or holds values that are not finite or not within 0 to 255.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Picture = Tensor | np.ndarray

# Smallest height and width: 4 scales of VIF (the last with a 3 x 3 window), 3 scales of MEF-SSIM (11 x 11).
VIF_MIN_SIZE = 41
MEF_SSIM_MIN_SIZE = 44


def _describe(name: str, picture: object) -> str:
    if not isinstance(picture, Tensor | np.ndarray):
        return f"{name} is a {type(picture).__name__}"
    kind = f"{picture.device} tensor" if isinstance(picture, Tensor) else "numpy array"
    return f"{name} is a {picture.dtype} {kind} of shape {tuple(picture.shape)}"


def _kind(picture: Picture) -> tuple[object, ...]:
    """What must be equal for pictures to go together: array or tensor, integer or float, device."""
    if isinstance(picture, Tensor):
        return "tensor", picture.is_floating_point(), picture.device
    return "array", picture.dtype.kind == "f"


def _is_real(picture: object) -> bool:
    if isinstance(picture, Tensor):
        return picture.dtype != torch.bool and not picture.is_complex()
    return isinstance(picture, np.ndarray) and picture.dtype.kind in "uif"


def _promote(min_size: int = 1, **given: Picture) -> list[Tensor]:
    """Return the pictures as rounded float64 (N, 1, H, W) tensors, or raise ValueError (see the module)."""
    given_text = "; ".join(_describe(name, picture) for name, picture in given.items())
    if not all(_is_real(picture) for picture in given.values()):
        raise ValueError(f"{given_text}: pictures are real numpy arrays or torch tensors.")
    shapes = [tuple(picture.shape) for picture in given.values()]
    shapes = [(1, 1, *shape) if len(shape) == 2 else shape for shape in shapes]
    if any(len(shape) != 4 or shape[1] != 1 or 0 in shape for shape in shapes):
        raise ValueError(f"{given_text}: pictures are luminance of shape (H, W) or (N, 1, H, W), not empty.")
    if len(set(shapes)) > 1:
        raise ValueError(f"{given_text}: sources and fused picture must have the same shape.")
    if len({_kind(picture) for picture in given.values()}) > 1:
        raise ValueError(
            f"{given_text}: give all of them as arrays or all as tensors on one device, "
            "and all as integers or all as floats."
        )
    if min(shapes[0][-2:]) < min_size:
        raise ValueError(f"{given_text}: this metric needs at least {min_size} x {min_size} pixels.")
    pictures = []
    for name, picture in given.items():
        if isinstance(picture, np.ndarray):
            picture = torch.from_numpy(np.array(picture, dtype=np.float64))
        picture = picture.detach().to(torch.float64).reshape(shapes[0])
        low, high = (bound.item() for bound in picture.aminmax())
        if not (low >= 0 and high <= 255):
            raise ValueError(
                f"{given_text}: {name} reaches from {low:g} to {high:g}; values must be finite, in 0 to 255."
            )
        pictures.append(picture.round())
    return pictures


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(-3, -2, -1))


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(-3, -2, -1))


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """From 3N rows (a, b, fused): the 2N rows of the sources and, beside them, fused twice."""
    n = len(x) // 3
    return x[: 2 * n], torch.cat((x[2 * n :], x[2 * n :]))


def _add_sources(x: Tensor) -> Tensor:
    """Sum over the two sources of 2N rows (a, b)."""
    return x[: len(x) // 2] + x[len(x) // 2 :]


def _correlate(x: Tensor, taps: Sequence[float], dim: int, stride: int = 1) -> Tensor:
    """Valid correlation along one dimension, as a sum of shifted views."""
    span = x.shape[dim] - len(taps) + 1
    views = [x.narrow(dim, i, span) for i in range(len(taps))]
    if stride > 1:
        views = [view[..., ::stride, :] if dim == -2 else view[..., ::stride] for view in views]
    result = views[0] * taps[0]
    for view, tap in zip(views[1:], taps[1:], strict=True):
        result.add_(view, alpha=tap)
    return result


def _filter(x: Tensor, taps: Sequence[float], stride: int = 1) -> Tensor:
    """Valid correlation with the outer product of `taps`; one plane at a time, which stays in the cache."""
    return torch.cat([_correlate(_correlate(plane, taps, -2, stride), taps, -1, stride) for plane in x.split(1)])


def _gaussian(size: int, sigma: float) -> list[float]:
    weights = [math.exp(-0.5 * ((i - (size - 1) / 2) / sigma) ** 2) for i in range(size)]
    return [weight / sum(weights) for weight in weights]


def _entropy(symbols: Tensor, count: int) -> Tensor:
    """Entropy in nats of each row of an (N, pixels) tensor of integers below `count`."""
    n, pixels = symbols.shape
    offsets = count * torch.arange(n, device=symbols.device).unsqueeze(1)
    histogram = torch.bincount((symbols + offsets).flatten(), minlength=n * count).reshape(n, count)
    return torch.special.entr(histogram.double() / pixels).sum(dim=1)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation over each picture; 0 where one of the two is constant."""
    x = x - x.mean(dim=(-2, -1), keepdim=True)
    y = y - y.mean(dim=(-2, -1), keepdim=True)
    scale = (_sum(x * x) * _sum(y * y)).sqrt()
    return torch.where(scale > 0, _sum(x * y) / scale, 0.0)


def en(fused: Picture) -> Tensor:
    """Entropy of the grey levels, in bits over 256 bins; 0 to 8.

    Source: Roberts, van Aardt, Ahmed, Journal of Applied Remote Sensing 2008.
    Shapes and errors: see the module.
    """
    (fused,) = _promote(fused=fused)
    return _entropy(fused.flatten(1).long(), 256) / math.log(2)


def sd(fused: Picture) -> Tensor:
    """Population standard deviation; 0 to 127.5.

    Source: Rao, Measurement Science and Technology 1997.
    Shapes and errors: see the module.
    """
    (fused,) = _promote(fused=fused)
    return fused.flatten(1).std(dim=1, correction=0)


def sf(fused: Picture) -> Tensor:
    """Spatial frequency: root of the summed mean squared first differences of rows and columns; 0 to 361.

    Needs 2 x 2 pixels.
    Source: Eskicioglu, Fisher, IEEE Transactions on Communications 1995.
    Shapes and errors: see the module.
    """
    (fused,) = _promote(2, fused=fused)
    return (_mean(fused.diff(dim=-2).square()) + _mean(fused.diff(dim=-1).square())).sqrt()


def ag(fused: Picture) -> Tensor:
    """Average gradient: mean of sqrt((gx^2 + gy^2) / 2), central differences; 0 to 255.

    Differences are one-sided at the border. Needs 2 x 2 pixels.
    Source: Cui, Feng, Xu, Li, Chen, Optics Communications 2015.
    Shapes and errors: see the module.
    """
    (fused,) = _promote(2, fused=fused)
    gy, gx = torch.gradient(fused, dim=(-2, -1))
    return _mean(((gx.square() + gy.square()) / 2).sqrt())


def mi(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Mutual information of the fused picture with each source, summed, in nats over 256 bins; 0 to 11.1.

    Source: Qu, Zhang, Yan, Electronics Letters 2002.
    Shapes and errors: see the module.
    """
    sources, result = _split(torch.cat(_promote(a=a, b=b, fused=fused)).flatten(1).long())
    joint = _entropy(256 * sources + result, 256 * 256)
    return _add_sources(_entropy(sources, 256) + _entropy(result, 256) - joint).clamp_min(0)


def cc(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Mean of the correlations of the fused picture with each source; -1 to 1.

    A correlation with a constant picture is defined as 0.
    Source: Deshmukh, Bhosale, International Journal of Image Processing 2010.
    Shapes and errors: see the module.
    """
    a, b, fused = _promote(a=a, b=b, fused=fused)
    return (_correlation(a, fused) + _correlation(b, fused)) / 2


def scd(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Sum of the correlations of differences, corr(a, fused - b) + corr(b, fused - a); -2 to 2.

    A correlation with a constant picture or difference is defined as 0.
    Source: Aslantas, Bendes, AEU International Journal of Electronics and Communications 2015.
    Shapes and errors: see the module.
    """
    a, b, fused = _promote(a=a, b=b, fused=fused)
    return _correlation(a, fused - b) + _correlation(b, fused - a)


def vif(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Visual information fidelity (pixel domain, 4 scales, sigma_n^2 = 2) to each source, summed; 0 and up.

    The fidelity to a source without any detail, such as a constant one, is defined as 1.
    Needs 41 x 41 pixels.
    Source: Sheikh, Bovik, IEEE Transactions on Image Processing 2006.
    Shapes and errors: see the module.
    """
    noise, eps = 2.0, 1e-10
    planes = torch.cat(_promote(VIF_MIN_SIZE, a=a, b=b, fused=fused))
    planes = planes - planes.mean(dim=(-2, -1), keepdim=True)
    kept = total = torch.zeros(())
    for size in (17, 9, 5, 3):
        window = _gaussian(size, size / 5)
        if size < 17:
            planes = _filter(planes, window, stride=2)
        mean = _filter(planes, window)
        source, result = _split((_filter(planes.square(), window) - mean.square()).clamp_min(0))
        covariance = _filter(torch.mul(*_split(planes)), window) - torch.mul(*_split(mean))
        gain = (covariance / (source + eps)).masked_fill((source < eps) | (result < eps), 0)
        lost = torch.where(gain < 0, result, result - gain * covariance).clamp_min(eps)
        gain = gain.clamp_min(0)
        source = source.masked_fill(source < eps, 0)
        kept = kept + _sum(torch.log1p(gain.square() * source / (lost + noise)))
        total = total + _sum(torch.log1p(source / noise))
    return _add_sources(torch.where(total > 0, kept / total, 1.0))


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and orientation of the Sobel gradient of each pixel, zeros outside the picture."""
    x = F.pad(x, (1, 1, 1, 1))
    gx = _correlate(_correlate(x, (1, 2, 1), -2), (1, 0, -1), -1)
    gy = _correlate(_correlate(x, (1, 2, 1), -1), (-1, 0, 1), -2)
    return (gx.square() + gy.square()).sqrt(), torch.where(gx == 0, math.pi / 2, (gy / gx).atan())


def qabf(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Edge strength and orientation that both sources hand on to the fused picture; 0 to 1.

    Sobel with zeros outside; (Tg, kg, Dg) = (0.9994, -15, 0.5), (Ta, ka, Da) = (0.9879, -22, 0.8), so that
    equal pictures reach about 0.975. As in the published evaluators, a vertical gradient has orientation
    +pi/2 whatever its sign, and the ratio of two exactly equal strengths is that strength. Black sources
    give 0.
    Source: Xydeas, Petrovic, Electronics Letters 2000.
    Shapes and errors: see the module.
    """
    strength, orientation = _edges(torch.cat(_promote(a=a, b=b, fused=fused)))
    source, result = _split(strength)
    low, high = torch.minimum(source, result), torch.maximum(source, result)
    ratio = torch.where(low == high, low, low / high)
    source_angle, result_angle = _split(orientation)
    alignment = 1 - (source_angle - result_angle).abs() / (math.pi / 2)
    kept = 0.9994 * torch.sigmoid(15 * (ratio - 0.5)) * 0.9879 * torch.sigmoid(22 * (alignment - 0.8))
    kept, total = _add_sources(_sum(kept * source)), _add_sources(_sum(source))
    return torch.where(total > 0, kept / total, 0.0)


def ssim(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Structural similarity of the fused picture to each source, summed; -2 to 2.

    7 x 7 uniform window, sample covariance, windows inside the picture only, data range 255: what
    scikit-image's ``structural_similarity(x, y, data_range=255)`` computes. Needs 7 x 7 pixels.
    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 2004.
    Shapes and errors: see the module.
    """
    c1, c2, window, pixels = (0.01 * 255) ** 2, (0.03 * 255) ** 2, [1.0] * 7, 49
    planes = torch.cat(_promote(len(window), a=a, b=b, fused=fused))
    mean = _filter(planes, window) / pixels
    source_mean, result_mean = _split(mean)
    source, result = _split((_filter(planes.square(), window) - pixels * mean.square()) / (pixels - 1))
    product = source_mean * result_mean
    covariance = (_filter(torch.mul(*_split(planes)), window) - pixels * product) / (pixels - 1)
    luminance = (2 * product + c1) / (source_mean.square() + result_mean.square() + c1)
    structure = (2 * covariance + c2) / (source + result + c2)
    return _add_sources(_mean(luminance * structure))


def _scatter(x: Tensor, y: Tensor, window: Sequence[float]) -> Tensor:
    """Windowed sum of (x - mean x)(y - mean y), with weights `window` in each direction."""
    total = sum(window) ** 2
    return _filter(x * y, window) - _filter(x, window) * _filter(y, window) / total


def _patch_similarity(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """MEF-SSIM at one scale, (N,).

    The desired patch is a combination of the sources' patches, each without its mean, so all its moments are
    combinations of moments of the sources.
    """
    side, eps, c = 11, 2.0**-52, (0.03 * 255) ** 2
    box, window = [1.0] * side, _gaussian(side, 1.5)
    energy_a, energy_b = _scatter(a, a, box).clamp_min(0), _scatter(b, b, box).clamp_min(0)
    energy_ab = _scatter(a, b, box)
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

    covariance = weight_a * _scatter(a, fused, window) + weight_b * _scatter(b, fused, window)
    desired = (
        weight_a.square() * _scatter(a, a, window)
        + weight_b.square() * _scatter(b, b, window)
        + 2 * weight_a * weight_b * _scatter(a, b, window)
    )
    return _mean((2 * covariance + c) / (desired + _scatter(fused, fused, window) + c))


def _halve(x: Tensor) -> Tensor:
    """Mean of 2 x 2 pixels; an odd last row or column is repeated."""
    odd_height, odd_width = x.shape[-2] % 2, x.shape[-1] % 2
    return F.avg_pool2d(F.pad(x, (0, odd_width, 0, odd_height), mode="replicate"), 2)


def mef_ssim(a: Picture, b: Picture, fused: Picture) -> Tensor:
    """Structural similarity for multi-exposure fusion, by structural patch decomposition; 0 to 1.

    11 x 11 windows (uniform for the desired patch, Gaussian of sigma 1.5 for the comparison) and 3 scales, as
    in the authors' release. It compares contrast and structure, never the mean intensity; a negative
    similarity of a scale counts as 0. Needs 44 x 44 pixels.
    Source: Ma, Zeng, Wang, IEEE Transactions on Image Processing 2015.
    Shapes and errors: see the module.
    """
    a, b, fused = _promote(MEF_SSIM_MIN_SIZE, a=a, b=b, fused=fused)
    quality = torch.ones(len(a), dtype=a.dtype, device=a.device)
    weights = (0.0448, 0.2856, 0.3001)
    for scale, weight in enumerate(weights):
        if scale:
            a, b, fused = (_halve(x) for x in (a, b, fused))
        quality *= _patch_similarity(a, b, fused).clamp_min(0) ** (weight / sum(weights))
    return quality


@dataclass(frozen=True)
class Metric:
    """One fusion metric.

    Attributes:
        name: what tables call it.
        function: takes (a, b, fused) if `needs_sources`, else (fused); returns (N,).
        needs_sources: whether the two sources are compared with the fused picture.
        higher_is_better: direction that papers read as better.
        range: smallest and largest value it can take.
        source: paper.
    """

    name: str
    function: Callable[..., Tensor]
    needs_sources: bool
    higher_is_better: bool
    range: tuple[float, float]
    source: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("EN", en, False, True, (0, 8), "Roberts et al., Journal of Applied Remote Sensing 2008"),
        Metric("SD", sd, False, True, (0, 127.5), "Rao, Measurement Science and Technology 1997"),
        Metric("SF", sf, False, True, (0, 255 * math.sqrt(2)), "Eskicioglu, Fisher, IEEE TCOM 1995"),
        Metric("AG", ag, False, True, (0, 255), "Cui et al., Optics Communications 2015"),
        Metric("MI", mi, True, True, (0, 2 * math.log(256)), "Qu, Zhang, Yan, Electronics Letters 2002"),
        Metric("CC", cc, True, True, (-1, 1), "Deshmukh, Bhosale, IJIP 2010"),
        Metric("SCD", scd, True, True, (-2, 2), "Aslantas, Bendes, AEU 2015"),
        Metric("VIF", vif, True, True, (0, math.inf), "Sheikh, Bovik, IEEE TIP 2006"),
        Metric("Qabf", qabf, True, True, (0, 1), "Xydeas, Petrovic, Electronics Letters 2000"),
        Metric("SSIM", ssim, True, True, (-2, 2), "Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004"),
        Metric("MEF-SSIM", mef_ssim, True, True, (0, 1), "Ma, Zeng, Wang, IEEE TIP 2015"),
    )
}

DEFAULT_METRICS = tuple(name for name in METRICS if name != "MEF-SSIM")


def score(a: Picture, b: Picture, fused: Picture, names: Iterable[str] = DEFAULT_METRICS) -> dict[str, float]:
    """Score one fused picture against its two sources.

    Args:
        a: source A, (H, W) or (1, 1, H, W), 0 to 255.
        b: source B, like `a`.
        fused: fused picture, like `a`.
        names: keys of `METRICS`; all but MEF-SSIM, which is made for multi-exposure fusion, by default.

    Returns:
        One number per name, in the order of `names`.

    Raises:
        ValueError: a name is unknown, there is more than one pair, or the pictures do not fit (see above).
    """
    names = list(names)
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"There is no metric {', '.join(unknown)}; the metrics are {', '.join(METRICS)}.")
    a, b, fused = _promote(a=a, b=b, fused=fused)
    if len(fused) > 1:
        raise ValueError(
            f"{_describe('fused', fused)}: score() takes one pair; call the metrics themselves for a batch."
        )
    scores = {}
    for name in names:
        metric = METRICS[name]
        pictures = (a, b, fused) if metric.needs_sources else (fused,)
        scores[name] = metric.function(*pictures).item()
    return scores
