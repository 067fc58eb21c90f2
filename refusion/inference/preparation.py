"""Prepare sources for fusing: resize and align them on request, and collect notes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from refusion.images.location import location_note
from refusion.images.picture import NEUTRAL, Picture, PictureError, by
from refusion.images.profiles import share_profile
from refusion.images.reading import check_same_size, different_sizes
from refusion.images.roles import role_notes
from refusion.images.scans import scan_notes
from refusion.images.sources import PictureSource
from refusion.inference.alignment import Alignment, Border, align
from refusion.inference.blank_borders import find_borders
from refusion.inference.offsets import offset_note
from refusion.inference.options import Options
from refusion.system.advice import Advised
from refusion.system.lists import were_given
from refusion.tasks import Motion, Resize, Task, check_choice

_MIN_ALPHA = 1 / 65535
"""Least opacity above zero."""

SAME_SHAPE = 0.02
"""Largest relative difference of aspect ratios that resizing accepts."""


@dataclass(frozen=True)
class Prepared:
    """Two sources of one size.

    Attributes:
        a: first source.
        b: second source.
        notes: notes for the user, as sentences.
        alignment: how B was moved, if it was.
    """

    a: Picture
    b: Picture
    notes: tuple[str, ...] = ()
    alignment: Alignment | None = None


def prepare(pair: Sequence[PictureSource], options: Options, task: Task) -> Prepared:
    """Read two sources and prepare them for fusing.

    Args:
        pair: the two sources.
        options: options of fusing.
        task: the task whose defaults apply.

    Raises:
        PictureError: a source cannot be read, or they do not match.
        ValueError: `pair` does not have two sources.
    """
    try:
        count = len(pair)
    except TypeError:
        count = None
    if count is None or isinstance(pair, str | bytes):
        raise ValueError(f"A pair is two images, as in (a, b), but a single {type(pair).__name__} was given.")
    if count != 2:
        raise ValueError(f"A pair is two images, but {were_given(count)}.")
    reading = options.reading(task)
    a, b = reading.all(options.plain(pair))
    notes = [*options.notes(task), *reading.notes((a, b)), *role_notes(a, b, task)]
    motion = options.motion(task)
    of_activity = a.scan is not None and a.scan.modality in ("PT", "NM")
    if motion and task.name == "medical" and (a.chroma is not None or of_activity):
        what = "a PET or SPECT scan" if of_activity else "coloured, as PET and SPECT are"
        raise PictureError(
            f"{a.name} is {what}: where metabolism is high there need not be an edge in the "
            "MRI, so it cannot be aligned; register the scans with a medical tool, or fuse them without aligning."
        )
    return prepare_pair(
        a,
        b,
        resize=options.resize,
        motion=motion,
        simpler=options.align is True,
        border=options.align_border,
        fill=options.fill_borders,
        one_camera=task.one_camera,
        check_offset=task.same_edges,
        exposures=task.name == "multi-exposure",
        notes=notes,
    )


def prepare_pair(
    a: Picture,
    b: Picture,
    *,
    resize: Resize | None = None,
    motion: Motion | None = None,
    simpler: bool = False,
    border: Border = "fill",
    fill: bool | None = None,
    one_camera: bool = False,
    check_offset: bool = True,
    exposures: bool = False,
    notes: Sequence[str] = (),
) -> Prepared:
    """Resize and align two sources if requested, fill transparent parts from the other, and add notes on problems.

    Args:
        a: first source.
        b: second source.
        resize: the source whose size both get if their sizes differ.
        motion: align B to A, see `refusion.inference.alignment.align`.
        simpler: see `refusion.inference.alignment.align`.
        border: see `refusion.inference.alignment.align`.
        fill: fill a blank border of one source from the other; None if white ones mean something in sources of two
            cameras, see `refusion.inference.blank_borders`.
        one_camera: whether both have about the same grey levels, so that nothing has to fade in along an outline.
        check_offset: if they are not aligned, check for a clear offset.
        exposures: see `refusion.inference.moving.move`.
        notes: earlier notes on the sources.

    Raises:
        PictureError: the sizes differ and `resize` is not given or would distort a source, or the alignment is
            uncertain.
        ValueError: an option has an unknown value.
    """
    notes = [*notes, *filter(None, [location_note(a, b)]), *scan_notes(a, b)]
    if resize is not None and a.size != b.size:
        a, b = resize_pair(a, b, resize)
    elif a.size != b.size and _same_shape(a, b):
        raise PictureError(
            Advised(
                different_sizes(a, b),
                "if they show the same section of it, resize them (--resize smaller, larger, a or b; resize='smaller')",
                "register them, then crop or scale one to the size of the other",
            )
        )
    check_same_size(a, b)
    b, note = share_profile(b, a)
    notes += [note] if note else []
    if same := same_notes(a, b):
        return Prepared(*filled(a, b), (*notes, *same))
    transparent = a.alpha is not None, b.alpha is not None
    if fill is not False:
        borders = find_borders(a, b, white=fill or one_camera, ramp=not one_camera)
        a, b = borders.cut(a, b)
        notes += borders.notes
    alignment = None
    if motion is not None:
        a, b, alignment = align(a, b, motion, border, exposures=exposures, simpler=simpler)
        if alignment.moves:
            # Moving B invalidates its georeference; cropping also moves the origin of A.
            a, b = replace(a, geo=() if border == "crop" else a.geo), replace(b, geo=())
        notes.append(alignment.note(b.name, a.name))
    elif check_offset and (note := offset_note(a, b)):
        notes.append(note)
    a, b = (one if alpha else replace(one, alpha=None) for one, alpha in zip(filled(a, b), transparent, strict=True))
    return Prepared(a, b, tuple(notes), alignment)


def filled(a: Picture, b: Picture) -> tuple[Picture, Picture]:
    """Both sources, each with the other one where it is transparent, so that its holes do not darken the other."""
    return replace(over(a, b), alpha=a.alpha), replace(over(b, a), alpha=b.alpha)


def over(picture: Picture, ground: Picture) -> Picture:
    """Composite an image over what another one of its size shows beyond its opacity; it was composited over black.

    The opacity becomes the larger one of the two, as that of a fused image.
    """
    if picture.alpha is None:
        return picture
    if ground.alpha is None:
        alpha, rest = None, 1 - picture.alpha
    else:
        alpha = np.maximum(picture.alpha, ground.alpha)
        rest = (alpha - picture.alpha) / np.maximum(ground.alpha, _MIN_ALPHA)
    chroma = picture.chroma
    if chroma is not None and ground.chroma is not None:
        chroma = chroma + rest * (ground.chroma - NEUTRAL)
    return replace(picture, luminance=picture.luminance + rest * ground.luminance, chroma=chroma, alpha=alpha)


def same_picture(a: Picture, b: Picture) -> bool:
    """Whether two images of one size are equal in every pixel."""
    if (a.chroma is None) != (b.chroma is None) or not np.array_equal(a.luminance, b.luminance):
        return False
    return a.chroma is None or b.chroma is None or np.array_equal(a.chroma, b.chroma)


def same_notes(a: Picture, b: Picture) -> list[str]:
    """A note if both sources are the same image."""
    return [f"{a.name} and {b.name} are the same image, so there is nothing to fuse."] if same_picture(a, b) else []


def resize_pair(a: Picture, b: Picture, rule: Resize) -> tuple[Picture, Picture]:
    """Resize both sources to the size of one of them.

    Raises:
        PictureError: their aspect ratios differ, so that one would be distorted.
        ValueError: there is no such rule.
    """
    check_choice("resize rule", rule, Resize)
    if not _same_shape(a, b):
        raise PictureError(
            f"A ({a.name}) is {by(a.size)} and B ({b.name}) is {by(b.size)} (width x height): resizing would distort "
            "one of them; crop them to the same shape first."
        )
    smaller, larger = sorted((a, b), key=lambda picture: picture.size[0] * picture.size[1])
    size = {"smaller": smaller, "larger": larger, "a": a, "b": b}[rule].size
    return resize_picture(a, size), resize_picture(b, size)


def _same_shape(a: Picture, b: Picture) -> bool:
    return abs((a.size[0] / a.size[1]) / (b.size[0] / b.size[1]) - 1) <= SAME_SHAPE


def resize_picture(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize an image to (width, height) with Lanczos resampling."""
    if picture.size == size:
        return picture

    def scaled(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.LANCZOS))

    return replace(
        picture,
        geo=(),
        luminance=np.clip(scaled(picture.luminance), 0, 1),
        chroma=None if picture.chroma is None else np.stack([scaled(channel) for channel in picture.chroma]),
        alpha=None if picture.alpha is None else np.clip(scaled(picture.alpha.astype(np.float32)), 0, 1),
    )
