"""Pictures in, picture out."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refusion.anchors import anchor_luminance
from refusion.engines import Engine, run_network
from refusion.fusion import FusionModule
from refusion.images import Picture, fuse_chroma, to_image
from refusion.tasks import Anchor, ChromaRule, OutputRange, check_choice

# Share of the pixels, in per cent, that a range leaves out at each end, so that one hot pixel or a speck of noise does
# not set it.
OUTLIERS = 0.5

CONTRAST = 1.1
"""What `add_contrast` multiplies differences from the mean by."""


def fuse_pictures(
    module: FusionModule,
    a: Picture,
    b: Picture,
    *,
    output_range: OutputRange,
    anchor: Anchor,
    chroma: ChromaRule,
    engine: Engine | None = None,
) -> Image.Image:
    """Fuse two pictures of one size; see `refusion.model.ReFusion.fuse`.

    Args:
        module: the fusion module.
        a: first source.
        b: second source.
        output_range: what the fused luminance is brought to.
        anchor: what ties it to its sources before that.
        chroma: where the colour comes from.
        engine: how the network runs, see `refusion.engines`.

    Raises:
        PictureError: the sizes differ.
        ValueError: there is no such output range, anchor or engine.
    """
    check_choice("output range", output_range, OutputRange)
    check_choice("anchor", anchor, Anchor)
    luminance = fuse_luminance(module, a.luminance, b.luminance, engine=engine)
    luminance = anchor_luminance(luminance, a.luminance, b.luminance, anchor)
    if output_range == "stretch":
        luminance = stretch_to_range(luminance)
    elif output_range == "contrast":
        luminance = add_contrast(luminance)
    elif output_range == "robust":
        luminance = stretch_to_range(luminance, OUTLIERS)
    elif output_range == "sources":
        luminance = match_range(luminance, a.luminance, b.luminance)
    colour = fuse_chroma(a, b, chroma)
    source = b if colour is b.chroma else a
    profile = source.icc_profile if colour is not None else None
    return to_image(luminance, colour, profile)


def fuse_luminance(module: FusionModule, a: np.ndarray, b: np.ndarray, *, engine: Engine | None = None) -> np.ndarray:
    """Run the network over a whole picture; the result is that of `FusionModule.forward`.

    Args:
        module: the fusion module.
        a: first source, float32 (H, W) in [0, 1].
        b: second source, the same shape.
        engine: how, see `refusion.engines`; the fastest if not given.

    Returns:
        Fused luminance, float32 (H, W) in (0, 1).

    Raises:
        ValueError: there is no such engine.
    """
    parameter = next(module.parameters())

    def batch(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x))[None, None].to(parameter.device, parameter.dtype)

    return run_network(module, batch(a), batch(b), engine)[0, 0].float().cpu().numpy()


def add_contrast(luminance: np.ndarray) -> np.ndarray:
    """Scale differences from the picture's mean by `CONTRAST`, whatever its range is; clipped to [0, 1]."""
    mean = luminance.mean()
    return np.clip(mean + CONTRAST * (luminance - mean), 0, 1).astype(np.float32)


def stretch_to_range(luminance: np.ndarray, outliers: float = 0) -> np.ndarray:
    """Stretch to [0, 1] by the picture's own range.

    Args:
        luminance: fused luminance, (H, W).
        outliers: share of the pixels in per cent, from 0 to 50, that is left out at each end and clipped; without any
            it is the minimum and maximum, as in the authors' release.

    Returns:
        The same shape, in [0, 1]; a constant picture is returned as it is: there is nothing to stretch.
    """
    lowest, highest = np.percentile(luminance, (outliers, 100 - outliers))
    if highest == lowest:
        return luminance
    return np.clip((luminance - lowest) / (highest - lowest), 0, 1).astype(np.float32)


def match_range(luminance: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scale linearly so that the fused picture spans the range that its sources span together.

    Weighing two sources pulls every pixel towards the middle; this gives the lost contrast back without going beyond
    what was in the sources.

    Args:
        luminance: fused luminance, (H, W).
        a: first source, the same shape, in [0, 1].
        b: second source, likewise.

    Returns:
        The same shape, clipped to [0, 1]; a constant picture is returned as it is.
    """
    ends = (OUTLIERS, 100 - OUTLIERS)
    (low, high), *sources = (np.percentile(x, ends) for x in (luminance, a, b))
    if high <= low:
        return luminance
    lowest, highest = min(s[0] for s in sources), max(s[1] for s in sources)
    scaled = lowest + (luminance - low) * ((highest - lowest) / (high - low))
    return np.clip(scaled, 0, 1).astype(np.float32)
