"""Metrics on histograms of grey levels: entropies and mutual information.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math

import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.filters import add_sources, entropy, frequencies, split, stretch
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images

LEVELS = 256
TSALLIS_ORDER = 1.85


def en(fused: ImageLike, conventions: Conventions | str = REFUSION, *, data_range: float = GREY_LEVELS) -> Tensor:
    """Entropy of the grey levels, -sum p log2 p, in bits; higher is better, 0 to 8.

    Source: Roberts, van Aardt, Ahmed, Journal of Applied Remote Sensing 2008.
    """
    (fused,) = read_images(conventions, data_range, fused=fused)
    return entropy(_symbols(fused), LEVELS) / math.log(2)


def mi(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Mutual information of the fused image with each source, H(x) + H(f) - H(x, f); higher is better.

    Over 256 grey levels; in nats and summed over both sources unless the conventions say otherwise: 0 to 11.1.

    Source: Qu, Zhang, Yan, Electronics Letters 2002. VIFB stretches each image to the full range first, which does
    not change the mutual information of whole grey levels.
    """
    conventions = get_conventions(conventions)
    x, f = split(torch.cat([_symbols(image) for image in read_images(conventions, data_range, a=a, b=b, fused=fused)]))
    shared = (entropy(x, LEVELS) + entropy(f, LEVELS) - _joint_entropy(x, f)).clamp_min(0)
    shared = add_sources(shared) / (2 if conventions.sources == "mean" else 1)
    return shared / (math.log(2) if conventions.logarithm == "bits" else 1)


def nmi(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Normalised mutual information, also Q_MI: 2 (I(a, f) / (H(a) + H(f)) + I(b, f) / (H(b) + H(f))).

    Higher is better; 0 to 2. A source and a fused image that are both constant share nothing: 0.

    Source: Hossny, Nahavandi, Creighton, Electronics Letters 2008.
    """
    x, f = split(torch.cat([_symbols(image) for image in read_images(conventions, data_range, a=a, b=b, fused=fused)]))
    alone = entropy(x, LEVELS) + entropy(f, LEVELS)
    shared = (alone - _joint_entropy(x, f)).clamp_min(0)
    return add_sources(torch.where(alone > 0, 2 * shared / alone, 0.0))


def te(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Tsallis mutual information I(a, f) + I(b, f) of order q = 1.85; higher is better, 0 to 260.

    I(x, f) = (1 - sum p(x, f)^q / (p(x) p(f))^(q - 1)) / (1 - q).

    Source: Cvejic, Canagarajah, Bull, Electronics Letters 2006. MEFB stretches the images to the full range,
    takes p(x) at the grey level of f and p(f) at that of x, and omits terms in which one of them is 0; its
    values (formulas ``toolkit``) have no upper bound.
    """
    conventions = get_conventions(conventions)
    images = read_images(conventions, data_range, a=a, b=b, fused=fused)
    if conventions.formulas == "toolkit":
        images = [stretch(image) for image in images]
    x, f = split(torch.cat([_symbols(image) for image in images]))
    joint = frequencies(LEVELS * x + f, LEVELS**2).reshape(-1, LEVELS, LEVELS)
    independent = joint.sum(dim=2, keepdim=True) * joint.sum(dim=1, keepdim=True)
    if conventions.formulas == "toolkit":
        independent = independent.mT
    terms = joint**TSALLIS_ORDER / independent.clamp_min(1e-300) ** (TSALLIS_ORDER - 1)
    terms = terms.masked_fill(independent == 0, 0)
    return add_sources((1 - terms.sum(dim=(1, 2))) / (1 - TSALLIS_ORDER))


def qncie(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Nonlinear correlation information entropy of the three images; higher is better, 0.802 to 1.

    1 + sum (e / 3) log256(e / 3) over the eigenvalues e of the matrix of mutual informations of a, b and f in units of
    log 256, with ones on its diagonal.

    Source: Wang, Shen, Zhang, Physica D 2005; Wang, Shen, Jin, in Image Fusion: Algorithms and Applications, 2008.
    """
    a, b, fused = (_symbols(image) for image in read_images(conventions, data_range, a=a, b=b, fused=fused))
    matrix = torch.eye(3, dtype=torch.float64, device=a.device).repeat(len(a), 1, 1)
    images = (a, b, fused)
    alone = [entropy(image, LEVELS) for image in images]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        shared = (alone[i] + alone[j] - _joint_entropy(images[i], images[j])) / math.log(LEVELS)
        matrix[:, i, j] = matrix[:, j, i] = shared
    parts = torch.linalg.eigvalsh(matrix).clamp_min(0) / 3
    return 1 - torch.special.entr(parts).sum(dim=1) / math.log(LEVELS)


def cross_entropy(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Divergence of the fused image's grey levels from each source's, sum p(x) log2(p(x) / p(f)), in bits; mean of two.

    Lower is better. As in the toolkits, grey levels missing in one of the two images are omitted (their terms would be
    unbounded), so the value can be negative.

    Source: Bulanon, Burks, Alchanatis, Biosystems Engineering 2009.
    """
    images = read_images(conventions, data_range, a=a, b=b, fused=fused)
    x, f = split(frequencies(torch.cat([_symbols(image) for image in images]), LEVELS))
    both = (x > 0) & (f > 0)
    ratio = torch.where(both, x, 1.0) / torch.where(both, f, 1.0)
    return add_sources((x * ratio.log2()).sum(dim=1)) / 2


def _symbols(image: Tensor) -> Tensor:
    """Whole grey levels, (N, pixels)."""
    return image.detach().flatten(1).round().long()


def _joint_entropy(x: Tensor, f: Tensor) -> Tensor:
    return entropy(LEVELS * x + f, LEVELS**2)
