"""Explain a fused image: the weights of the learned loss, and the sources reconstructed from the fused image."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refusion.explanation.trained import TrainedModel, load_trained
from refusion.images import Picture, PictureError, PictureSource, Reading, Windows
from refusion.images.reading import check_same_size
from refusion.images.roles import role_notes
from refusion.inference.network import fuse_luminance
from refusion.inference.preparation import prepare_pair
from refusion.system.advice import Advised, without_options

MAX_MEGAPIXELS = 1.0
"""Default limit on the size of each image, in millions of pixels."""

GIGABYTES_PER_MEGAPIXEL = 0.3
"""Approximate memory of explaining a pair (measured: 0.28 for one megapixel, less for each of more)."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Weights of the learned loss and reconstructions for one pair. All arrays are float32.

    Attributes:
        a: luminance of the first source, (H, W), in [0, 1].
        b: luminance of the second source, likewise.
        fused: fused luminance, the output of the network, (H, W), in (0, 1).
        intensity: w of the paper, (2, H, W), in [0, 1]: how much the brightness of a and of b counts at each pixel;
            the two sum to 1.
        gradient: v of the paper, likewise: how much the edges of a and of b count.
        reconstruction_a: a, reconstructed from `fused`, (H, W), in [0, 1].
        reconstruction_b: b, likewise.
        notes: notes on the sources for the user, as sentences.
    """

    a: np.ndarray
    b: np.ndarray
    fused: np.ndarray
    intensity: np.ndarray
    gradient: np.ndarray
    reconstruction_a: np.ndarray
    reconstruction_b: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def error_a(self) -> np.ndarray:
        """Absolute error of the reconstruction of a, (H, W), in [0, 1]."""
        return np.abs(self.a - self.reconstruction_a)

    @property
    def error_b(self) -> np.ndarray:
        """Absolute error of the reconstruction of b, likewise."""
        return np.abs(self.b - self.reconstruction_b)


@dataclass(frozen=True)
class WeightFigures:
    """Summary of a weight map; all values are in [0, 1].

    Attributes:
        mean: mean weight of the first source over the pixels; that of the second is 1 - mean.
        spread: standard deviation over the pixels (0: the same weight everywhere).
        leads: share of the pixels where the first source has the larger weight.
    """

    mean: float
    spread: float
    leads: float


@dataclass(frozen=True)
class ErrorFigures:
    """Summary of the errors of a reconstruction.

    Attributes:
        mean: mean absolute error, in [0, 1].
        psnr: peak signal-to-noise ratio in dB for values in [0, 1]; infinite if there is no error.
    """

    mean: float
    psnr: float


def weight_figures(weights: np.ndarray) -> WeightFigures:
    """Summarise a weight map, (2, H, W) as in `Explanation`."""
    a, b = weights.astype(np.float64)
    return WeightFigures(float(a.mean()), float(a.std()), float((a > b).mean()))


def error_figures(error: np.ndarray) -> ErrorFigures:
    """Summarise absolute errors, (H, W) as in `Explanation`."""
    error = error.astype(np.float64)
    squared = float(np.square(error).mean())
    return ErrorFigures(float(error.mean()), -10 * math.log10(squared) if squared else math.inf)


def explain(
    model: str | Path | TrainedModel,
    a: PictureSource,
    b: PictureSource,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    window: Windows | None = None,
    temperatures: bool = False,
    nodata: float | None = None,
) -> Explanation:
    """Compute the weights of the learned loss and the reconstructed sources for one registered pair.

    Args:
        model: a name or folder as in `load_trained`, or its result (to load once for many pairs).
        a: first source, see `refusion.images.read_picture`.
        b: second source, of the same size.
        max_megapixels: largest image accepted, in millions of pixels; a million takes about 15 CPU
            seconds and 0.3 GB of memory.
        window: black and white of sources with more than 8 bits, see `refusion.inference.options.Options`.
        temperatures: see `refusion.images.read_picture`.
        nodata: see `refusion.images.read_picture`.

    Raises:
        ModelError: the model cannot be loaded or has only the fusion module.
        PictureError: a source cannot be read, the sizes differ, or the images are larger than `max_megapixels`.
        ValueError: `max_megapixels` is not above 0.
    """
    if not max_megapixels > 0:
        raise ValueError(f"--max-megapixels (max_megapixels) is {max_megapixels}; it must be above 0.")
    trained = model if isinstance(model, TrainedModel) else load_trained(model)
    task = trained.fusion.task
    reading = Reading(window, temperatures, nodata, alike=task.one_camera)
    first, second = reading.all((a, b))
    notes = (*reading.notes((first, second)), *role_notes(first, second, task))
    _check_size(first, max_megapixels)
    check_same_size(first, second)
    prepared = prepare_pair(first, second, one_camera=task.one_camera, check_offset=task.same_edges)
    first, second = prepared.a, prepared.b
    intensity, gradient = trained.proposal.propose(first.luminance, second.luminance)
    fused = fuse_luminance(trained.fusion, first.luminance, second.luminance)
    again_a, again_b = trained.reconstruction.run(fused)
    return Explanation(
        a=first.luminance,
        b=second.luminance,
        fused=fused,
        intensity=intensity,
        gradient=gradient,
        reconstruction_a=again_a[0],
        reconstruction_b=again_b[0],
        notes=(*notes, *map(without_options, prepared.notes)),
    )


def _check_size(picture: Picture, max_megapixels: float) -> None:
    width, height = picture.size
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        shrink = math.sqrt(max_megapixels / megapixels)
        gigabytes = math.ceil(10 * megapixels * GIGABYTES_PER_MEGAPIXEL) / 10
        smaller = f"scale both images down to about {int(width * shrink)} x {int(height * shrink)}"
        raise PictureError(
            Advised(
                f"{picture.name} is {width} x {height} pixels ({megapixels:.3g} megapixels), but at most "
                f"{max_megapixels:g} are explained",
                f"{smaller}, or raise --max-megapixels (max_megapixels) if {gigabytes:.1f} GB of memory are free",
                smaller,
            )
        )
