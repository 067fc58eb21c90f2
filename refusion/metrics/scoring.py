"""Score fused images by metrics, those of defects and of users included, and choose the metrics of a task."""

import importlib
import math
import operator
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from refusion.images import Picture, to_image
from refusion.metrics.conventions import REFUSION, Conventions, get_conventions
from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import DEFAULT_METRICS, METRICS, choose, score
from refusion.tasks import Task

SCORED = (*DEFAULT_METRICS, "border")
"""Metrics that are scored by default."""

_UNSEEN = {
    "ir-vis": ("border", "heat", "bright"),
    "medical": ("border", "background"),
    "multi-focus": ("border", "sharp", "agree"),
    "multi-exposure": ("border",),
}
"""Defects that are scored for each task."""

MIN_SIZES = {name: metric.min_size for name, metric in METRICS.items()}
"""Shortest side of an image that each metric accepts."""


@dataclass(frozen=True)
class CustomMetric:
    """A user-defined metric.

    Attributes:
        name: name in tables.
        function: takes (a, b, fused), Pillow images of mode L or RGB, and returns a number or an array or tensor with
            one element; nan if undefined.
        higher_is_better: whether higher is better; the value of this attribute of the function if it has one.
        definition: where it is defined, as module:function.
    """

    name: str
    function: Callable[[Image.Image, Image.Image, Image.Image], object]
    higher_is_better: bool
    definition: str


def scored_metrics(task: Task, metrics: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the names of the metrics to score for a task: keys of `METRICS`, then of `DEFECTS`.

    Args:
        task: the task; its defects are always included.
        metrics: names as returned by `choose_metrics`; by default `DEFAULT_METRICS`, plus MEF-SSIM for multi-exposure.
    """
    if metrics is None:
        metrics = (*DEFAULT_METRICS, "MEF-SSIM") if task.name == "multi-exposure" else DEFAULT_METRICS
    return tuple(dict.fromkeys((*metrics, *_UNSEEN.get(task.name, ("border",)))))


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metrics of `scored_metrics`, without the defects."""
    return tuple(name for name in scored_metrics(task) if name in METRICS)


def large_enough(metrics: Iterable[str], size: tuple[int, int]) -> list[str]:
    """The metrics that are defined for images of this width and height."""
    return [name for name in metrics if min(size) >= MIN_SIZES.get(name, 0)]


def choose_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Parse names of metrics: case-insensitive, separated by commas, or the name of a set.

    Raises:
        ValueError: there is no such metric, defect or set; the message lists the accepted names.
    """
    return choose((part.strip() for text in names for part in text.split(",")), (*METRICS, *DEFECTS))


def load_metric(reference: str) -> CustomMetric:
    """Import a user-defined metric.

    Args:
        reference: ``module:function`` or ``module:Class.function``; the module is found on the Python path or in the
            working directory.

    Raises:
        ValueError: `reference` is not of this form, there is no such module or function, or it has the name of a
            metric of this package.
    """
    module_name, _, function_name = reference.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"{reference!r} is not a metric; write module:function, as in my_metrics:niqe.")
    # Appended, so that files there do not shadow other modules.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"The metric {reference} cannot be imported: there is no module {error.name}; install it, or run the "
            "command in the folder that holds it."
        ) from error
    try:
        function = operator.attrgetter(function_name)(module)
    except AttributeError:
        function = None
    if not callable(function):
        raise ValueError(f"The module {module_name} has no function {function_name}.")
    name = function_name.rpartition(".")[2]
    if name in METRICS or name in DEFECTS:
        raise ValueError(f"{name} is already a metric of this package; give your function another name.")
    return CustomMetric(name, function, bool(getattr(function, "higher_is_better", True)), reference)


def by_name(metrics: Iterable[CustomMetric]) -> dict[str, CustomMetric]:
    """User-defined metrics by name.

    Raises:
        ValueError: two have the same name.
    """
    named: dict[str, CustomMetric] = {}
    for metric in metrics:
        if metric.name in named:
            raise ValueError(
                f"The metrics {named[metric.name].definition} and {metric.definition} have the same name in tables; "
                "give one of the functions another name."
            )
        named[metric.name] = metric
    return named


def higher_is_better(metric: str) -> bool:
    """Whether higher is better for a metric of this package."""
    return (METRICS | DEFECTS)[metric].higher_is_better


def levels(luminance: np.ndarray) -> np.ndarray:
    """Convert luminance in [0, 1] to whole grey levels 0 to 255, float64."""
    return np.rint(luminance.astype(np.float64) * 255)


def score_fused(
    a: Picture,
    b: Picture,
    fused: Picture,
    metrics: Iterable[str],
    conventions: Conventions | str = REFUSION,
) -> dict[str, float]:
    """Compute metrics of one fused image, by name; nan if one is undefined or the image is too small for it.

    Args:
        a: first source.
        b: second source, of the same size.
        fused: the fused image, likewise.
        metrics: keys of `METRICS` and `DEFECTS`.
        conventions: how metrics are computed, a set or its name.

    Raises:
        ValueError: a metric does not accept the images.
    """
    conventions = get_conventions(conventions)
    metrics = list(metrics)
    pictures = (a, b, fused)
    arrays = levels(a.luminance), levels(b.luminance), levels(fused.luminance)
    names = [name for name in large_enough(metrics, a.size) if name in METRICS]
    in_channels = conventions.colour == "channels" and any(picture.chroma is not None for picture in pictures)
    first, second, result = images_of(pictures) if in_channels else arrays
    scores = score(first, second, result, names, conventions)
    scores |= {name: DEFECTS[name].function(*arrays) for name in metrics if name in DEFECTS}
    return {name: scores.get(name, math.nan) for name in metrics}


def score_custom(
    pictures: tuple[Picture, Picture, Picture], custom: Mapping[str, CustomMetric]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Compute user-defined metrics of one fused image, whatever they raise.

    Args:
        pictures: both sources and the fused image, of one size.
        custom: the metrics by name.

    Returns:
        The values by name, nan for a metric that failed; and why it failed, one sentence each.
    """
    scores, errors = {}, []
    images = images_of(pictures) if custom else pictures
    for name, metric in custom.items():
        try:
            scores[name] = _number(metric.function(*images))
        except Exception as error:  # noqa: BLE001 - raised by the user's function
            scores[name] = math.nan
            errors.append(f"The metric {metric.definition} failed: {_one_line(error)}.")
    return scores, tuple(errors)


def images_of(pictures: tuple[Picture, Picture, Picture]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Convert to Pillow images of 8 bits, L or RGB, without alpha."""
    a, b, fused = (to_image(picture.luminance, picture.chroma) for picture in pictures)
    return a, b, fused


def _number(value: object) -> float:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.size != 1 or array.dtype.kind not in "uifb":
        what = f"an array of shape {array.shape}" if array.ndim else reprlib.repr(value)
        raise ValueError(f"it returned {what}, but must return one number")
    return float(array.reshape(()))


def _one_line(error: Exception) -> str:
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    lines = str(error).splitlines() or ["no message"]
    return kind + lines[0].rstrip(".")
