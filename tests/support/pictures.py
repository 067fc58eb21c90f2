"""Small pictures in every mode, and bytes of files written by hand, for tests."""

import struct
import zlib

import numpy as np
import pytest

from refusion.images import (
    NEUTRAL,
    Picture,
    to_image,
)

LEVEL = 1 / 255
GREY = np.random.default_rng(1).integers(0, 256, (16, 24), dtype=np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (16, 24, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(3).integers(0, 256, (16, 24), dtype=np.uint8)
DEEP = np.random.default_rng(4).integers(0, 65536, (16, 24), dtype=np.uint16)
BLOCKS = np.kron(np.array([[10, 60, 110], [150, 190, 250]], np.uint8), np.ones((8, 8), np.uint8))

UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


def written(picture: Picture) -> np.ndarray:
    return np.asarray(to_image(picture.luminance, picture.chroma))


def over_black(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(colour.astype(float) * alpha[..., None] / 255).astype(np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def grey_tiff(bits: int, photometric: int, data: bytes, width: int, height: int) -> bytes:
    entries = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 0,
        277: 1,
        278: height,
        279: len(data),
    }
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + data


def sentence(caught: pytest.ExceptionInfo, *parts: str) -> None:
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    for part in parts:
        assert part in text


def coloured(*colours: tuple[float, float]) -> Picture:
    """An image of one row whose pixels lie these numbers of levels from neutral in Cb and Cr."""
    chroma = NEUTRAL + np.array(colours, np.float32).T[:, None, :] * np.float32(LEVEL)
    return Picture(np.full(chroma.shape[1:], 0.5, np.float32), chroma, "array")
