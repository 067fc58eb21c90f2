"""Pictures in, picture out."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refusion.fusion import FusionModule
from refusion.images import Picture, fuse_chroma, to_image
from refusion.tasks import ChromaRule


def fuse_pictures(module: FusionModule, a: Picture, b: Picture, *, stretch: bool, chroma: ChromaRule) -> Image.Image:
    """Fuse two pictures of one size; see `refusion.model.ReFusion.fuse`.

    Args:
        module: the fusion module.
        a: first source.
        b: second source.
        stretch: stretch the fused luminance to its own minimum and maximum.
        chroma: where the colour comes from.

    Raises:
        PictureError: the sizes differ.
    """
    luminance = fuse_luminance(module, a.luminance, b.luminance)
    if stretch:
        luminance = stretch_to_range(luminance)
    colour = fuse_chroma(a, b, chroma)
    source = b if colour is b.chroma else a
    profile = source.icc_profile if colour is not None else None
    return to_image(luminance, colour, profile)


def fuse_luminance(module: FusionModule, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Run the network over a whole picture.

    Args:
        module: the fusion module.
        a: first source, float32 (H, W) in [0, 1].
        b: second source, the same shape.

    Returns:
        Fused luminance, float32 (H, W) in (0, 1).
    """
    parameter = next(module.parameters())

    def batch(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x))[None, None].to(parameter.device, parameter.dtype)

    with torch.inference_mode():
        return module(batch(a), batch(b))[0, 0].float().cpu().numpy()


def stretch_to_range(luminance: np.ndarray) -> np.ndarray:
    """Stretch to [0, 1] by the picture's own minimum and maximum, as the authors' release does.

    A constant picture is returned as it is: there is nothing to stretch.
    """
    lowest, highest = luminance.min(), luminance.max()
    if highest == lowest:
        return luminance
    return (luminance - lowest) / (highest - lowest)
