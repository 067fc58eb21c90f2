"""Make the fused image from the fused luminance: anchor, output range, colour."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from refusion.images.colour import colour_source, fit_chroma, fuse_chroma
from refusion.images.picture import Picture
from refusion.images.writing import as_image, save_picture, to_array, to_png
from refusion.inference.alignment import Alignment
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.options import FinishOptions
from refusion.inference.output_range import bring_to_range, ends_of
from refusion.inference.preparation import Prepared
from refusion.tasks import ChromaRule


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused image.

    Attributes:
        picture: luminance and chroma, with alpha, profile and EXIF data.
        notes: notes for the user, as sentences: sources that look misaligned, how one was moved, and so on.
        alignment: how the second source was moved, if it was.
    """

    picture: Picture
    notes: tuple[str, ...] = ()
    alignment: Alignment | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.size

    def __repr__(self) -> str:
        width, height = self.size
        kind = "grey" if self.picture.chroma is None else "colour"
        about = f"{width} x {height}, {kind}, {self.picture.bits} bits"
        more = [f"{name}={value!r}" for name, value in (("notes", self.notes), ("alignment", self.alignment)) if value]
        return f"Fused({', '.join([about, *more])})"

    def to_image(self, bits: int | None = None) -> Image.Image:
        """Return a Pillow image: RGB or L, I;16 with 16 bits, RGBA or LA if both sources have alpha.

        Args:
            bits: 8 or 16; by default 16 for a grey image if one of its sources has more than 8. Pillow does not support
                colour with 16 bits per channel; `save` and `to_array` do.

        Raises:
            PictureError: 16 bits were requested for a colour image.
            ValueError: `bits` is neither 8 nor 16.
        """
        return as_image(self.picture, bits)

    def to_array(self, bits: int | None = None) -> np.ndarray:
        """Return integer levels, uint8 or uint16, (H, W) or channels last.

        Args:
            bits: 8 or 16; by default the depth of the deepest source.
        """
        return to_array(self.picture, bits or self.picture.bits)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Return `to_array` for `numpy.asarray`.

        Raises:
            ValueError: a copy is forbidden (``copy=False``).
        """
        if copy is False:
            raise ValueError("A fused image is not an array in memory, so one cannot be had without a copy.")
        return np.asarray(self.to_array(), dtype)

    def to_png(self, bits: int | None = None) -> bytes:
        """Return the content of a PNG file, for example to answer a web request.

        Args:
            bits: 8 or 16; by default the depth of the deepest source.

        Raises:
            ValueError: `bits` is neither 8 nor 16.
        """
        return to_png(self.picture, bits)

    def _repr_png_(self) -> bytes:
        """Show the image in a notebook."""
        return self.to_png(8)

    def save(self, path: str | os.PathLike, bits: int | None = None) -> str | None:
        """Write the image to a file; returns a note or None, see `refusion.images.save_picture`."""
        return save_picture(self.picture, path, bits)


def finish_pair(luminance: np.ndarray, pair: Prepared, options: FinishOptions) -> Fused:
    """Make the fused image from the network's output for two prepared sources.

    Args:
        luminance: fused luminance, (H, W).
        pair: the sources.
        options: anchor, output range and chroma rule.
    """
    a, b = pair.a, pair.b
    luminance, colour = anchored(luminance, a, b, options)
    luminance = bring_to_range(luminance, (ends_of(x.luminance) for x in (a, b)), options.output_range, colour)
    alpha = np.maximum(a.alpha, b.alpha) if a.alpha is not None and b.alpha is not None else None
    return Fused(fused_picture(luminance, colour, alpha, (a, b), options.chroma), pair.notes, pair.alignment)


def anchored(
    luminance: np.ndarray, a: Picture, b: Picture, options: FinishOptions
) -> tuple[np.ndarray, np.ndarray | None]:
    """Anchor the fused luminance to its sources, and fuse their colour.

    Args:
        luminance: fused luminance, (H, W).
        a: first source.
        b: second source, of the same size.
        options: anchor and chroma rule.

    Returns:
        Luminance, (H, W), before it is brought to the output range; and chroma, (2, H, W), or None.
    """
    uses_shares = "choice" in (options.anchor, options.chroma)
    shares = choice_shares(luminance, a.luminance, b.luminance) if uses_shares else None
    luminance = anchor_luminance(luminance, a.luminance, b.luminance, options.anchor, shares)
    return luminance, fuse_chroma(a, b, options.chroma, shares, luminance)


def fused_picture(
    luminance: np.ndarray,
    colour: np.ndarray | None,
    alpha: np.ndarray | None,
    sources: Iterable[Picture],
    rule: ChromaRule,
) -> Picture:
    """Combine the fused luminance with colour, alpha and metadata.

    The luminance is clipped to [0, 1] and otherwise unchanged in every pixel: a colour that is too saturated for it is
    desaturated (`fit_chroma`). The ICC profile and EXIF data are those of the source that the colour comes from; so is
    the georeference, or else that of the first source that has one. The image has 16 bits if a source has.

    Args:
        luminance: fused luminance, (H, W).
        colour: fused chroma, (2, H, W), or None.
        alpha: (H, W), or None; an image has alpha if all its sources have, and is opaque where one of them is.
        sources: the sources; of their pixels, only whether there is chroma matters.
        rule: where the colour comes from.
    """
    sources = list(sources)
    owner = colour_source(sources, rule)
    luminance = luminance.clip(0, 1)
    if colour is not None:
        colour = fit_chroma(luminance, colour)
    return Picture(
        luminance,
        colour,
        "fused",
        icc_profile=owner.icc_profile if colour is not None else None,
        exif=owner.exif,
        alpha=alpha,
        geo=next((source.geo for source in (owner, *sources) if source.geo), ()),
        bits=max(source.bits for source in sources),
    )
