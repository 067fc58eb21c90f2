"""Whether a GIF holds several frames, from its blocks; Pillow decodes comments on the way, part by part."""

from typing import BinaryIO

from refusion.images.limited import too_many_parts

_IMAGE, _EXTENSION = 0x2C, 0x21
_HEADER, _DESCRIPTOR = 13, 10

_BYTES_OF_PART, _FEW_PARTS = 64, 5_000
"""Least number of bytes that parts have on average, beyond a few of them; those of programs have 255."""


def has_several_frames(file: BinaryIO, name: str) -> bool:
    """Whether there is a second frame.

    Args:
        file: open for reading bytes.
        name: used in the message.

    Raises:
        PictureError: the file is divided into too many parts.
    """
    file.seek(0)
    content = file.read()
    parts = _FEW_PARTS + len(content) // _BYTES_OF_PART
    place, frames = _HEADER + _table(content, 10), 0
    while place < len(content) and content[place] in (_IMAGE, _EXTENSION):
        if content[place] == _IMAGE:
            frames += 1
            if frames == 2:
                return True
            place += _DESCRIPTOR + _table(content, place + _DESCRIPTOR - 1) + 1
        else:
            place += 2
        while place < len(content) and content[place]:
            place, parts = place + 1 + content[place], parts - 1
            if parts < 0:
                raise too_many_parts(name)
        place += 1
    return False


def _table(content: bytes, place: int) -> int:
    """The number of bytes of a colour table, whose size is in this byte."""
    flags = content[place] if place < len(content) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
