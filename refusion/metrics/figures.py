"""Figures: the metrics, what they do not see, and metrics of one's own; and which of them belong to a task."""

import importlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from refusion.images import Picture, to_image
from refusion.metrics.conventions import REFUSION, Conventions
from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import DEFAULT_METRICS, METRIC_SETS, METRICS, score
from refusion.tasks import Task

FIGURES = (*DEFAULT_METRICS, "border")
"""Figures that are scored unless others are asked for."""

_UNSEEN = {
    "ir-vis": ("border", "heat", "bright"),
    "medical": ("border", "background"),
    "multi-focus": ("border", "sharp", "agree"),
    "multi-exposure": ("border",),
}
"""What metrics do not see, by task."""

MIN_SIZES = {name: metric.min_size for name, metric in METRICS.items()}
"""Shortest side of an image that a metric takes."""


@dataclass(frozen=True)
class CustomMetric:
    """A metric from elsewhere.

    Attributes:
        name: what tables call it.
        function: takes (a, b, fused), Pillow images of mode L or RGB, and returns a number or an array or tensor that
            holds one; nan where it has no meaning.
        higher_is_better: its direction; that of the function's attribute of this name, if it has one.
        definition: where it comes from.
    """

    name: str
    function: Callable[[Image.Image, Image.Image, Image.Image], object]
    higher_is_better: bool
    definition: str


def figures_of(task: Task, metrics: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of the figures that are scored for a task: keys of `METRICS`, then of `DEFECTS`.

    Args:
        task: the task, whose defects are in every table.
        metrics: what `choose_metrics` returns; if not given, the ten usual ones, and MEF-SSIM for exposures.
    """
    if metrics is None:
        metrics = (*DEFAULT_METRICS, "MEF-SSIM") if task.name == "multi-exposure" else DEFAULT_METRICS
    return tuple(dict.fromkeys((*metrics, *_UNSEEN.get(task.name, ("border",)))))


def choose_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Names of metrics as people write them: in any case, several in one text, or the name of a set.

    Raises:
        ValueError: there is no such metric, defect or set; the message lists those there are.
    """
    known = {name.lower(): (name,) for name in (*METRICS, *DEFECTS)} | METRIC_SETS
    chosen: list[str] = []
    for name in (part.strip() for text in names for part in text.split(",")):
        if name.lower() not in known:
            raise ValueError(
                f"There is no metric {name!r}; choose {', '.join((*METRICS, *DEFECTS))}, or one of the sets "
                f"{', '.join(METRIC_SETS)}."
            )
        chosen.extend(known[name.lower()])
    return tuple(dict.fromkeys(chosen))


def load_metric(reference: str) -> CustomMetric:
    """Import a metric of one's own.

    Args:
        reference: ``module:function``; the module is imported as Python finds it, or from the working directory.

    Raises:
        ValueError: `reference` is not of this form, there is no such module or function, or it has the name of a
            figure of this package.
    """
    module_name, _, function_name = reference.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"{reference!r} names no metric; write module:function, as in my_metrics:niqe.")
    # Last, so that nothing there takes the place of another module.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"The metric {reference} cannot be imported: there is no module {error.name}; install it, or go to the "
            "folder that holds it first."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"The module {module_name} has no function {function_name}.")
    name = function_name.rpartition(".")[2]
    if name in METRICS or name in DEFECTS:
        raise ValueError(f"{name} is a figure of this package already; give your function another name.")
    return CustomMetric(name, function, bool(getattr(function, "higher_is_better", True)), reference)


def higher_is_better(figure: str) -> bool:
    """Whether more of a figure of this package is better."""
    return (METRICS | DEFECTS)[figure].higher_is_better


def levels(luminance: np.ndarray) -> np.ndarray:
    """Luminance in [0, 1] as whole grey levels 0 to 255, float64."""
    return np.rint(luminance.astype(np.float64) * 255)


def score_figures(
    a: Picture,
    b: Picture,
    fused: Picture,
    figures: Iterable[str],
    conventions: Conventions = REFUSION,
    custom: Mapping[str, CustomMetric] | None = None,
) -> dict[str, float]:
    """All figures of one fused image, by name; nan where one has no meaning, or the image is too small for it.

    Args:
        a: first source.
        b: second source, of the same size.
        fused: the fused image, likewise.
        figures: keys of `METRICS`, `DEFECTS` and `custom`.
        conventions: how metrics are computed.
        custom: further metrics by name.

    Raises:
        ValueError: a metric refuses the images.
    """
    figures, custom = list(figures), custom or {}
    pictures = (a, b, fused)
    arrays = levels(a.luminance), levels(b.luminance), levels(fused.luminance)
    names = [name for name in figures if name in METRICS and min(a.size) >= MIN_SIZES[name]]
    in_channels = conventions.colour == "channels" and any(picture.chroma is not None for picture in pictures)
    first, second, result = images_of(pictures) if in_channels else arrays
    scores = score(first, second, result, names, conventions)
    scores |= {name: DEFECTS[name].function(*arrays) for name in figures if name in DEFECTS}
    if custom:
        images = images_of(pictures)
        scores |= {name: _number(metric, metric.function(*images)) for name, metric in custom.items()}
    return {name: scores.get(name, math.nan) for name in figures}


def images_of(pictures: tuple[Picture, Picture, Picture]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Pillow images of 8 bits, L or RGB, without alpha."""
    a, b, fused = (to_image(picture.luminance, picture.chroma) for picture in pictures)
    return a, b, fused


def _number(metric: CustomMetric, value: object) -> float:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.size != 1 or array.dtype.kind not in "uifb":
        raise ValueError(f"The metric {metric.definition} returned {value!r}; it must return one number.")
    return float(array.reshape(()))
