"""Pictures in, picture out."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Union

import numpy as np

from refusion.images.colour import colour_source, fit_chroma, fuse_chroma
from refusion.images.picture import Picture
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.output_range import bring_to_range, ends_of
from refusion.models.bundled import BundledModel
from refusion.tasks import Anchor, ChromaRule, Engine, OutputRange, check_choice

if TYPE_CHECKING:
    from torch import Tensor

    from refusion.modules.fusion import FusionModule

Network = Union["FusionModule", BundledModel]  # A name within a string has no |.
"""What fuses luminance."""


def fuse_pictures(
    module: Network,
    a: Picture,
    b: Picture,
    *,
    output_range: OutputRange,
    anchor: Anchor,
    chroma: ChromaRule,
    engine: Engine | None = None,
) -> Picture:
    """Fuse two pictures of one size; see `refusion.models.model.ReFusion.fuse`.

    Args:
        module: the fusion module.
        a: first source.
        b: second source.
        output_range: what the fused luminance is brought to.
        anchor: what ties it to its sources before that.
        chroma: where the colour comes from.
        engine: how the network runs, see `refusion.inference.engines.dispatch`.

    Raises:
        PictureError: the sizes differ.
        ValueError: there is no such output range, anchor, chroma rule or engine.
    """
    check_choice("output range", output_range, OutputRange)
    check_choice("anchor", anchor, Anchor)
    luminance = fuse_luminance(module, a.luminance, b.luminance, engine=engine)
    return finish(luminance, a, b, output_range=output_range, anchor=anchor, chroma=chroma)


def finish(
    luminance: np.ndarray, a: Picture, b: Picture, *, output_range: OutputRange, anchor: Anchor, chroma: ChromaRule
) -> Picture:
    """Make a picture of what the network gives.

    Args:
        luminance: fused luminance, (H, W).
        a: first source.
        b: second source.
        output_range: see `fuse_pictures`, as the other arguments.
        anchor: see `fuse_pictures`.
        chroma: see `fuse_pictures`.
    """
    shares = choice_shares(luminance, a.luminance, b.luminance) if "choice" in (anchor, chroma) else None
    luminance = anchor_luminance(luminance, a.luminance, b.luminance, anchor, shares)
    luminance = bring_to_range(luminance, (ends_of(x.luminance) for x in (a, b)), output_range)
    alpha = np.maximum(a.alpha, b.alpha) if a.alpha is not None and b.alpha is not None else None
    return fused_picture(luminance, fuse_chroma(a, b, chroma, shares), alpha, (a, b), chroma)


def fused_picture(
    luminance: np.ndarray,
    colour: np.ndarray | None,
    alpha: np.ndarray | None,
    sources: Iterable[Picture],
    rule: ChromaRule,
) -> Picture:
    """Put a fused picture together: what was fused, and what it takes over from its sources.

    The luminance is kept in every pixel: a colour that is too saturated for it is made paler (`fit_chroma`). ICC
    profile and EXIF data are those of the source that the colour comes from. It has 16 bits if a source has.

    Args:
        luminance: fused luminance, (H, W).
        colour: fused chroma, (2, H, W), or None.
        alpha: (H, W), or None; a picture has alpha if all its sources have, and is opaque where one of them is.
        sources: the sources; of their pixels only whether there is chroma is looked at.
        rule: where the colour comes from.
    """
    sources = list(sources)
    owner = colour_source(sources, rule)
    if colour is not None:
        colour = fit_chroma(luminance, colour)
    return Picture(
        luminance,
        colour,
        "fused",
        icc_profile=owner.icc_profile if colour is not None else None,
        exif=owner.exif,
        alpha=alpha,
        bits=max(source.bits for source in sources),
    )


def fuse_luminance(module: Network, a: np.ndarray, b: np.ndarray, *, engine: Engine | None = None) -> np.ndarray:
    """Run the network over a whole picture; the result is that of `FusionModule.forward`.

    Args:
        module: the fusion module.
        a: first source, float32 (H, W) in [0, 1].
        b: second source, the same shape.
        engine: how, see `refusion.inference.engines.dispatch`; what suits the machine if not given.

    Returns:
        Fused luminance, float32 (H, W) in (0, 1).

    Raises:
        PictureError: there is not enough memory for it.
        ValueError: there is no such engine.
    """
    return fuse_luminances(module, [a], [b], engine=engine)[0]


def fuse_luminances(
    module: Network, a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, engine: Engine | None = None
) -> list[np.ndarray]:
    """Run the network over several pairs of one size at once, see `fuse_luminance`.

    Args:
        module: the fusion module.
        a: first sources.
        b: second sources, as many.
        engine: see `fuse_luminance`.

    Raises:
        PictureError: there is not enough memory for it.
        ValueError: there is no such engine.
    """
    if isinstance(module, BundledModel):
        if engine not in (None, "onnx"):
            raise ValueError(f"The engine {engine} needs torch; load {module.name} with ReFusion.from_pretrained.")
        return [module.network.fuse(*map(np.ascontiguousarray, pair)) for pair in zip(a, b, strict=True)]
    import torch

    from refusion.inference.engines.dispatch import run_network

    parameter = next(module.parameters())

    def batch(pictures: Sequence[np.ndarray]) -> "Tensor":
        # One picture is not copied.
        stacked = np.stack(pictures) if len(pictures) > 1 else np.ascontiguousarray(pictures[0])[None]
        return torch.from_numpy(stacked)[:, None].to(parameter.device, parameter.dtype)

    return list(run_network(module, batch(a), batch(b), engine)[:, 0].float().cpu().numpy())
