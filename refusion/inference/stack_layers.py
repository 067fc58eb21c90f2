"""Merge the layers of a stack: in pairs until one is left, or blended by exposure."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from refusion.images.colour import choose_chroma
from refusion.images.picture import PictureError
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.exposure_blend import blend
from refusion.system.advice import Advised
from refusion.tasks import Anchor

FUSED_WEIGHT = 2.0
"""Weight of a fused pair in the blend of a bracket, relative to a frame: keeps the highlights of the pair."""

Loader = Callable[[], "Layer"]

FuseLuminance = Callable[[np.ndarray, np.ndarray], np.ndarray]

Fuse = Callable[["Layer", "Layer"], "Layer"]


@dataclass(frozen=True)
class Layer:
    """Luminance (H, W), and chroma (2, H, W) if it follows the luminance and the image has colour."""

    luminance: np.ndarray
    chroma: np.ndarray | None

    @property
    def brightness(self) -> float:
        return float(self.luminance.mean(dtype=np.float64))

    def store(self, path: Path) -> "Loader":
        """Write the layer to a file and return a function that loads it.

        Raises:
            PictureError: the file cannot be written.
        """
        try:
            np.savez(path, *[x for x in (self.luminance, self.chroma) if x is not None])
        except OSError as error:
            raise PictureError(
                Advised(
                    f"Intermediate results cannot be written to the folder for temporary files ({error.strerror})",
                    f"make room in {path.parent.parent}, or name another folder in TMPDIR",
                    "give fewer or smaller images",
                )
            ) from error
        return partial(_stored, path)


def _stored(path: Path) -> Layer:
    with np.load(path) as arrays:
        return Layer(arrays["arr_0"], arrays.get("arr_1"))


def fuse_layers(network: FuseLuminance, anchor: Anchor, chooses_colour: bool, a: Layer, b: Layer) -> Layer:
    fused = network(a.luminance, b.luminance)
    shares = choice_shares(fused, a.luminance, b.luminance) if chooses_colour or anchor == "choice" else None
    chroma = choose_chroma(a.chroma, b.chroma, shares) if shares is not None else None
    return Layer(anchor_luminance(fused, a.luminance, b.luminance, anchor, shares), chroma)


def merge_in_pairs(fuse: Fuse, frames: list[Loader], folder: Path, on_step: Callable[[], None]) -> Layer:
    """Fuse the darkest with the brightest and so on inwards, then the results in the same way, until one is left.

    Results are stored on disk, so that only a few images are in memory.
    """
    for level in itertools.count():
        half = len(frames) // 2
        results: list[tuple[float, Loader]] = []
        for index in range(half):
            fused = fuse(frames[index](), frames[-1 - index]())
            on_step()
            if len(frames) == 2:
                return fused
            results.append((fused.brightness, fused.store(folder / f"{level}-{index}.npz")))
            del fused  # not in memory while the next two are fused
        results += [(frame().brightness, frame) for frame in frames[half : len(frames) - half]]
        frames = [loader for _, loader in sorted(results, key=lambda result: result[0])]
    raise AssertionError("two images or more always end in one")


def blend_pairs(fuse: Fuse, frames: list[Loader], folder: Path, on_step: Callable[[], None]) -> Layer:
    """Fuse the darkest with the brightest and so on inwards, and blend the results with all frames."""
    pairs = []
    for index in range(len(frames) // 2):
        # The colour of a blended bracket is mixed elsewhere; it would only take memory here.
        a, b = (Layer(_luminance(load), None) for load in (frames[index], frames[-1 - index]))
        pairs.append(fuse(a, b).store(folder / f"{index}.npz"))
        on_step()
    luminances = [partial(_luminance, load) for load in (*pairs, *frames)]
    weights = [FUSED_WEIGHT] * len(pairs) + [1.0] * len(frames)
    return Layer(blend(luminances, weights, on_step), None)


def _luminance(load: Loader) -> np.ndarray:
    return load().luminance
