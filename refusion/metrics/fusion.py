"""Fusion metrics, computed in batches on the device of the images.

Every metric takes images of shape (N, 1, H, W) or (H, W), torch tensors or NumPy arrays with grey levels 0 to 255, or
Pillow images (of colour images their BT.601 luminance), and returns a float64 tensor of shape (N,). With
``data_range=1`` arrays and tensors of 0 to 1 are scaled first; without it they raise ValueError. Values are rounded to
whole grey levels, so that an image scores the same before and after it is saved with 8 bits. All arithmetic is
float64 (a device without it, such as Apple's MPS, needs ``.cpu()`` first) and outside autograd, unless the
conventions say ``rounding="none"``.

Where published evaluators differ, `refusion.metrics.conventions.Conventions` selects the variant; it is the argument
``conventions`` of every metric, which also takes the name of a preset, such as ``"vifb"``: sums or means over the two
sources, bits or nats, windows, and the formulas of papers or of toolkits. By default MI, VIF and SSIM are sums over the
two sources, CC is their mean, and formulas are those of the papers.

Every metric raises ValueError, with all shapes in the message, if the images differ in size or type
(array or tensor, integer or float, device), if one is neither (H, W) nor (N, 1, H, W), is too small for the
metric, or holds values that are not finite or not within 0 to 255; and if there are no such conventions.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.exposure import MEF_SSIM_MIN_SIZE, mef_ssim
from refusion.metrics.features import SIDE, fmi
from refusion.metrics.fidelity import VIF_MIN_SIZE, vif, viff
from refusion.metrics.gradients import ag, edge_intensity, qabf, sf
from refusion.metrics.grey import to_rgb
from refusion.metrics.information import cross_entropy, en, mi, nmi, qncie, te
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, plain_image, read_images
from refusion.metrics.intensity import cc, psnr, rmse, scd, sd, variance
from refusion.metrics.perception import qcb, qcv
from refusion.metrics.phase import qp
from refusion.metrics.similarity import qc, qw, qy, ssim


@dataclass(frozen=True)
class Metric:
    """One fusion metric.

    Attributes:
        name: name in tables.
        function: takes (a, b, fused) if `needs_sources`, else (fused), and conventions; returns (N,).
        needs_sources: whether the two sources are compared with the fused image.
        higher_is_better: whether papers consider higher values better.
        range: smallest and largest possible value, with the formulas of the papers.
        source: paper.
        min_size: shortest accepted side of an image, in pixels.
    """

    name: str
    function: Callable[..., Tensor]
    needs_sources: bool
    higher_is_better: bool
    range: tuple[float, float]
    source: str
    min_size: int = 1


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("EN", en, False, True, (0, 8), "Roberts et al., Journal of Applied Remote Sensing 2008"),
        Metric("SD", sd, False, True, (0, 127.5), "Rao, Measurement Science and Technology 1997"),
        Metric("SF", sf, False, True, (0, 255 * math.sqrt(2)), "Eskicioglu, Fisher, IEEE TCOM 1995", 2),
        Metric("AG", ag, False, True, (0, 255), "Cui et al., Optics Communications 2015", 2),
        Metric("MI", mi, True, True, (0, 2 * math.log(256)), "Qu, Zhang, Yan, Electronics Letters 2002"),
        Metric("CC", cc, True, True, (-1, 1), "Deshmukh, Bhosale, IJIP 2010"),
        Metric("SCD", scd, True, True, (-2, 2), "Aslantas, Bendes, AEU 2015"),
        Metric("VIF", vif, True, True, (0, math.inf), "Sheikh, Bovik, IEEE TIP 2006", VIF_MIN_SIZE),
        Metric("Qabf", qabf, True, True, (0, 1), "Xydeas, Petrovic, Electronics Letters 2000"),
        Metric("SSIM", ssim, True, True, (-2, 2), "Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004", 7),
        Metric("MEF-SSIM", mef_ssim, True, True, (0, 1), "Ma, Zeng, Wang, IEEE TIP 2015", MEF_SSIM_MIN_SIZE),
        Metric("VIFF", viff, True, True, (0, math.inf), "Han et al., Information Fusion 2013", VIF_MIN_SIZE),
        Metric("NMI", nmi, True, True, (0, 2), "Hossny, Nahavandi, Creighton, Electronics Letters 2008"),
        Metric("TE", te, True, True, (0, 260), "Cvejic, Canagarajah, Bull, Electronics Letters 2006"),
        Metric("Qncie", qncie, True, True, (1 - math.log(3, 256), 1), "Wang, Shen, Zhang, Physica D 2005"),
        Metric("FMI", fmi, True, True, (0, 1), "Haghighat, Aghagolzadeh, Seyedarabi, CEE 2011", SIDE),
        Metric("CE", cross_entropy, True, False, (-math.inf, math.inf), "Bulanon et al., Biosystems Engineering 2009"),
        Metric("EI", edge_intensity, False, True, (0, 1020 * math.sqrt(2)), "Rajalingam, Priya, IJESI 2018"),
        Metric("PSNR", psnr, True, True, (0, math.inf), "Jagalingam, Hegde, Aquatic Procedia 2015"),
        Metric("RMSE", rmse, True, False, (0, 255), "Jagalingam, Hegde, Aquatic Procedia 2015"),
        Metric("variance", variance, False, True, (0, 127.5**2), "Rao, Measurement Science and Technology 1997"),
        Metric("Qcb", qcb, True, True, (0, 1), "Chen, Blum, Image and Vision Computing 2009"),
        Metric("Qcv", qcv, True, False, (0, math.inf), "Chen, Varshney, Information Fusion 2007"),
        Metric("Qp", qp, True, True, (-1, 1), "Zhao, Laganiere, Liu, IJICIC 2007"),
        Metric("Qw", qw, True, True, (-1, 1), "Piella, Heijmans, ICIP 2003", 11),
        Metric("Qy", qy, True, True, (-1, 1), "Yang, Zhang, Wang, Liu, Information Fusion 2008", 11),
        Metric("Qc", qc, True, True, (-1, 1), "Cvejic et al., Int. Journal of Signal Processing 2005", 11),
    )
}

DEFAULT_METRICS = ("EN", "SD", "SF", "AG", "MI", "CC", "SCD", "VIF", "Qabf", "SSIM")
"""Metrics that are scored by default."""

METRIC_SETS: dict[str, tuple[str, ...]] = {
    "default": DEFAULT_METRICS,
    "vifb": ("AG", "CE", "EI", "EN", "MI", "PSNR", "Qabf", "Qcb", "Qcv", "RMSE", "SF", "SSIM", "variance"),
    "mefb": (
        *("CE", "FMI", "NMI", "PSNR", "Qncie", "TE", "AG", "EI", "Qabf", "Qp", "SD", "SF"),
        *("MEF-SSIM", "Qc", "Qw", "Qy", "EN", "Qcb", "Qcv", "VIF"),
    ),
    "all": tuple(METRICS),
}
"""Sets of metrics by name: the default, those of the two toolkits, and all."""


SAME_FOR_TOOLKITS = {"variance": "SD", "VIFF": "VIF"}
"""Metrics that equal another one with the formulas of the toolkits."""


def choose(names: Iterable[str], known: Iterable[str] = METRICS) -> tuple[str, ...]:
    """Return the keys that names stand for: in upper or lower case, or the name of a set; each once.

    Args:
        names: the names.
        known: the keys.

    Raises:
        ValueError: there is no such name; the message lists the accepted ones.
    """
    known = list(known)
    keys = {key.lower(): (key,) for key in known} | METRIC_SETS
    chosen: list[str] = []
    for name in names:
        if name.lower() not in keys:
            raise ValueError(
                f"There is no metric {name!r}; choose {', '.join(known)}, or one of the sets {', '.join(METRIC_SETS)}."
            )
        chosen.extend(keys[name.lower()])
    return tuple(dict.fromkeys(chosen))


def score(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    names: str | Iterable[str] = DEFAULT_METRICS,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> dict[str, float]:
    """Score one fused image against its two sources.

    Args:
        a: source A, (H, W) or (1, 1, H, W), 0 to 255, a Pillow image or a result of `refusion.fuse`.
        b: source B, like `a`.
        fused: fused image, like `a`.
        names: keys of `METRICS` or of `METRIC_SETS`, in upper or lower case; by default those that most papers report.
        conventions: how they are computed, a set or its name. With ``colour="channels"``, values for Pillow images in
            colour are means over red, green and blue.
        data_range: the value of white in arrays and tensors.

    Returns:
        One value per metric, by its key of `METRICS`, in the order of `names`.

    Raises:
        ValueError: a metric or a preset is unknown, there is more than one pair, or the images do not fit (see above).
    """
    conventions = get_conventions(conventions)
    names = choose([names] if isinstance(names, str) else names)
    if len(checked := read_images(conventions, data_range, a=a, b=b, fused=fused)[2]) > 1:
        raise ValueError(f"score() takes one pair, not {len(checked)}; call the metrics themselves for a batch.")
    a, b, fused = (plain_image(image) for image in (a, b, fused))
    planes = _planes(a, b, fused, conventions)
    scores = {}
    for name in names:
        metric = METRICS[name]
        # MEFB also computes MEF-SSIM on the luminance.
        chosen = [(a, b, fused)] if name == "MEF-SSIM" else planes
        shown = [images if metric.needs_sources else images[2:] for images in chosen]
        values = [metric.function(*images, conventions, data_range=data_range).item() for images in shown]
        scores[name] = math.fsum(values) / len(values)
    return scores


def _planes(
    a: ImageLike, b: ImageLike, fused: ImageLike, conventions: Conventions
) -> list[tuple[ImageLike, ImageLike, ImageLike]]:
    """The images, or their three channels if colour is scored by channels and an image has colour."""
    images = {"a": a, "b": b, "fused": fused}
    coloured = any(isinstance(x, Image.Image) and x.mode in ("P", "RGB", "RGBA", "CMYK") for x in images.values())
    if conventions.colour != "channels" or not coloured:
        return [(a, b, fused)]
    if not all(isinstance(x, Image.Image) for x in images.values()):
        raise ValueError("To score colour by its channels, give all three as Pillow images.")
    channels = [np.asarray(to_rgb(x, name)) for name, x in images.items() if isinstance(x, Image.Image)]
    return [(channels[0][..., i], channels[1][..., i], channels[2][..., i]) for i in range(3)]
