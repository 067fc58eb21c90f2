"""Which directories of a TIFF are images: not thumbnails, overviews and masks."""

import math
import re
import struct
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from refusion.images.picture import MAX_FRAMES, PictureError
from refusion.system.advice import Advised

if TYPE_CHECKING:
    from tifffile import TiffFile

_SUB_DIRECTORIES = 330
_JPEG_THUMBNAIL = 513
_DNG_VERSION = 50706
_REDUCED, _MASK = 1, 4
_SENSOR = (32803, 34892)
_LOSSY_COMPRESSION = 34892
_SENSOR_COMPRESSIONS = (32767, 32769, 32770, 34713, 65535)
_MAX_DIRECTORIES = 200
_OTHER_AXES = {
    "channels": (r"^channels=(\d+)", r"\bSizeC=\"(\d+)\""),
    "times": (r"^frames=(\d+)", r"\bSizeT=\"(\d+)\""),
}
"""How ImageJ, in a line of its own, and OME describe what the images of a file are."""

MAX_COUNTED_FRAMES = 100
"""Maximum number of images that are counted in a file."""


def page_and_mask(opened: "TiffFile", name: str) -> tuple[Any, Any]:
    """Return the directory of the only image, and the directory of its mask or None.

    Raises:
        PictureError: there are several images, or the list of images is cut off.
    """
    whole, mask = wholes_and_mask(opened, name, 2)
    if len(whole) > 1 or said_images(description_of(opened)) > 1:
        raise _several(opened, name)
    page: Any = whole[0] if whole else opened.pages[0]
    fits = mask is not None and (mask.imagewidth, mask.imagelength) == (page.imagewidth, page.imagelength)
    return page, mask if fits and not _kind(mask) & _REDUCED else None


def _several(opened: "TiffFile", name: str) -> PictureError:
    whole, _ = wholes_and_mask(opened, name, MAX_FRAMES + 1)
    cause, each = (
        f"{name} holds several frames, but a file must hold one",
        "save each frame you need as a file of its own",
    )
    if len(whole) > MAX_FRAMES or why_no_stack(opened, whole):
        return PictureError(f"{cause}; {each}.")
    return PictureError(Advised(cause, f"{each}, or give this file alone to fuse its frames as a stack", each))


def why_no_stack(opened: "TiffFile", whole: Sequence[Any]) -> str | None:
    """Why the images of a file, or the first of very many, cannot be fused as a stack; None if they can."""
    said, samples = description_of(opened), max((int(page.samplesperpixel) for page in whole), default=1)
    for kind in _OTHER_AXES:
        if (count := _said_count(kind, said, samples)) > 1:
            return (
                f"holds {count} {kind}, but only images of one kind are fused as a stack; save those you want as a "
                "file of their own"
            )
    if said_images(said) > len(whole) and len(whole) < MAX_COUNTED_FRAMES:
        return "does not list all of its images; save it again, or save them as files"
    if len({(page.imagewidth, page.imagelength, page.bitspersample, page.samplesperpixel) for page in whole}) > 1:
        return "holds images of different sizes or types; save those you want to fuse as files of their own"
    return None


def frame_of(opened: "TiffFile", name: str, index: int) -> Any:
    """Return the directory of an image of several, counted from 0.

    Raises:
        PictureError: the list of images is cut off.
        ValueError: there are not so many images.
    """
    whole, _ = wholes_and_mask(opened, name, index + 1)
    if index >= len(whole):
        raise ValueError(f"it has only {len(whole)} images")
    return whole[index]


def wholes_and_mask(opened: "TiffFile", name: str, count: int) -> tuple[list[Any], Any]:
    """Return the directories of the first `count` images, and that of the first mask or None.

    Raises:
        PictureError: the list of images is cut off.
    """
    if not opened.pages:
        _check_end(opened, name)
    first: Any = opened.pages[0]
    sub = _sub_pages(first, name)
    whole: list[Any] = []
    mask: Any = None
    # Some writers do not mark a thumbnail that stands before its image.
    is_thumbnail = bool(_kind(first) & _REDUCED) or any(_is_larger(page, first) for page in sub)
    for page in chain(directories(opened, name), sub if is_thumbnail else ()):
        if _kind(page) & _MASK:
            mask = mask or page
        elif not _kind(page) & _REDUCED and not (is_thumbnail and page.offset == first.offset):
            whole.append(page)
        if len(whole) == count:
            break
    return whole, mask


def is_raw(opened: "TiffFile", name: str) -> bool:
    """Whether a file, or what its first directory lists, is the image of a sensor.

    Raises:
        PictureError: the list of images, or a lossy image, is cut off.
    """
    if not opened.pages:
        _check_end(opened, name)
    first: Any = opened.pages[0]
    pages = first, *_sub_pages(first, name)
    for page in pages:
        _check_lossy_end(page, name)
    return any(map(_is_raw, pages))


def _check_lossy_end(page: Any, name: str) -> None:
    """Refuse a lossy raw image that is cut off; LibRaw notices whatever else is."""
    if int(page.compression) != _LOSSY_COMPRESSION:
        return
    ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
    if any(end > page.parent.filehandle.size for end in ends):
        raise PictureError(f"{name} is truncated: a part of its image is missing; copy it again.")


def _is_larger(page: Any, other: Any) -> bool:
    is_whole = not _kind(page) & (_REDUCED | _MASK)
    return is_whole and page.imagewidth > other.imagewidth and page.imagelength > other.imagelength


def description_of(opened: "TiffFile") -> str:
    """The description of the first directory, in which ImageJ and OME say what the images are."""
    return str(getattr(opened.pages[0], "description", ""))


def _said_count(kind: str, description: str, samples: int) -> int:
    """Number of channels or times that ImageJ or OME declare; OME counts red, green and blue as three channels."""
    imagej, ome = (max(map(_number, re.findall(one, description, re.M)), default=1) for one in _OTHER_AXES[kind])
    return max(imagej, math.ceil(ome / samples) if kind == "channels" else ome)


def _number(digits: str) -> int:
    return int(digits[:9])


def said_images(description: str) -> int:
    """Number of images that ImageJ declares."""
    images = re.match(r"ImageJ=[^\n]*\n(?:.*\n)*?images=(\d+)", description)
    return _number(images[1]) if images else 1


def directories(opened: "TiffFile", name: str) -> Any:
    """Yield the first pages; some writers chain the last directory to the first one again."""
    seen = set()
    for index in range(_MAX_DIRECTORIES):
        try:
            page: Any = opened.pages[index]
        except IndexError:
            return _check_end(opened, name)
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page


def _check_end(opened: "TiffFile", name: str) -> None:
    """Check that the chain of directories, which tifffile has followed, ends within the file."""
    file, layout = opened.filehandle, opened.tiff
    file.seek(opened.pages.next_page_offset or 0)
    pointer = file.read(layout.offsetsize)
    if len(pointer) < layout.offsetsize or struct.unpack(layout.offsetformat, pointer)[0] >= file.size:
        raise _truncated(name)


def _truncated(name: str) -> PictureError:
    return PictureError(f"{name} is truncated: its list of images points beyond its end; copy it again.")


def _sub_pages(page: Any, name: str) -> list[Any]:
    if _SUB_DIRECTORIES not in page.tags or page.pages is None:
        return []
    if any(offset >= page.parent.filehandle.size for offset in page.subifds):
        raise _truncated(name)
    return [page.pages[index] for index in range(min(len(page.pages), 8))]


def _kind(page: Any) -> int:
    # Cameras store a thumbnail in the second directory (EXIF 4.5.8) without marking it as reduced.
    is_thumbnail = page.index > 0 and _JPEG_THUMBNAIL in page.tags
    return int(page.subfiletype) | (_REDUCED if is_thumbnail else 0)


def _is_raw(page: Any) -> bool:
    return (
        _DNG_VERSION in page.tags or int(page.photometric) in _SENSOR or int(page.compression) in _SENSOR_COMPRESSIONS
    )
