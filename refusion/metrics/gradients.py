"""Metrics of gradients and edges.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math

import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import add_sources, divide, magnitude, mean, root, sobel, split, total
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images


def sf(fused: ImageLike, conventions: Conventions | str = REFUSION, *, data_range: float = GREY_LEVELS) -> Tensor:
    """Spatial frequency: root of the summed mean squares of row and column differences; higher is better, 0 to 361.

    Needs 2 x 2 pixels. The means are over the number of differences; the toolkits (formulas ``toolkit``) divide by the
    number of pixels, which is a little more.

    Source: Eskicioglu, Fisher, IEEE Transactions on Communications 1995.
    """
    conventions = get_conventions(conventions)
    (fused,) = read_images(conventions, data_range, min_size=2, fused=fused)
    rows, columns = fused.diff(dim=-2).square(), fused.diff(dim=-1).square()
    if conventions.formulas == "toolkit":
        return root((total(rows) + total(columns)) / fused[0].numel())
    return root(mean(rows) + mean(columns))


def ag(fused: ImageLike, conventions: Conventions | str = REFUSION, *, data_range: float = GREY_LEVELS) -> Tensor:
    """Average gradient: mean of sqrt((gx^2 + gy^2) / 2), central differences; higher is better, 0 to 255.

    Differences are one-sided at the border. Needs 2 x 2 pixels. The toolkits (formulas ``toolkit``) divide the sum over
    all H W pixels by (H - 1)(W - 1).

    Source: Cui, Feng, Xu, Li, Chen, Optics Communications 2015.
    """
    conventions = get_conventions(conventions)
    (fused,) = read_images(conventions, data_range, min_size=2, fused=fused)
    gy, gx = torch.gradient(fused, dim=(-2, -1))
    strength = magnitude(gx, gy) / math.sqrt(2)
    if conventions.formulas == "toolkit":
        return total(strength) / ((fused.shape[-2] - 1) * (fused.shape[-1] - 1))
    return mean(strength)


def edge_intensity(
    fused: ImageLike, conventions: Conventions | str = REFUSION, *, data_range: float = GREY_LEVELS
) -> Tensor:
    """Mean magnitude of the Sobel gradient, with replicated borders; higher is better, 0 to 1443.

    Source: Rajalingam, Priya, International Journal of Engineering Science Invention 2018.
    """
    (fused,) = read_images(conventions, data_range, fused=fused)
    gx, gy = sobel(fused, edge="replicate")
    return mean(magnitude(gx, gy))


def qabf(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Edge strength and orientation transferred from both sources to the fused image; higher is better, 0 to 1.

    sum (q_a g_a + q_b g_b) / sum (g_a + g_b) with gradients g and q = Tg / (1 + exp(kg (r - Dg))) Ta / (1 + exp(ka (t -
    Da))), r the ratio of gradients and t the alignment of orientations. Sobel with zero padding; (Tg, kg, Dg) =
    (0.9994, -15, 0.5), (Ta, ka, Da) = (0.9879, -22, 0.8), so that equal images reach about 0.975. As in the published
    evaluators, a vertical gradient has orientation +pi/2 whatever its sign, and the ratio of two exactly equal
    strengths is that strength. Black sources give 0.

    Source: Xydeas, Petrovic, Electronics Letters 2000.
    """
    gx, gy = sobel(torch.cat(read_images(conventions, data_range, a=a, b=b, fused=fused)))
    source, result = split(magnitude(gx, gy))
    low, high = torch.minimum(source, result), torch.maximum(source, result)
    ratio = torch.where(low == high, low, low / torch.where(high > 0, high, 1.0))
    vertical = gx == 0
    x, y = split(torch.where(vertical, math.pi / 2, -(gy / torch.where(vertical, 1.0, gx)).atan()))
    alignment = 1 - (x - y).abs() / (math.pi / 2)
    kept = 0.9994 * torch.sigmoid(15 * (ratio - 0.5)) * 0.9879 * torch.sigmoid(22 * (alignment - 0.8))
    kept, whole = add_sources(total(kept * source)), add_sources(total(source))
    return divide(kept, whole, 0.0)
