"""Camera raw files (DNG and RAF), written from scenes."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

WHITE = 16383
"""Value of a full pixel of the sensor."""

_FROM_XYZ = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252)
"""The camera sees as sRGB does."""

_MATRIX = [part for value in _FROM_XYZ for part in (round(10000 * value), 10000)]


def linear(srgb: np.ndarray) -> np.ndarray:
    """Light of sRGB values in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def mosaic_of(light: np.ndarray) -> np.ndarray:
    """What a sensor (RGGB) sees of light (H, W, 3) in [0, 1] of even sides."""
    values = np.rint(np.clip(light, 0, 1) * WHITE).astype(np.uint16)
    mosaic = values[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = values[::2, ::2, 0], values[1::2, 1::2, 2]
    return mosaic


def write_dng(
    path: Path,
    light: np.ndarray,
    *,
    orientation: int = 1,
    preview: bool = False,
    neutral: tuple[float, float, float] = (1, 1, 1),
    aspect: int = 1,
) -> Path:
    """Write light (H, W, 3) in [0, 1] of even sides as the mosaic of a sensor, below a preview as in most cameras.

    The sensor sees white as `neutral`, and the width of a pixel is `aspect` times its height.
    """
    mosaic = mosaic_of(light * neutral)
    camera = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Made for tests", True),
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "Model", True),
        (274, "H", 1, orientation, True),
        (50721, "2i", 9, _MATRIX, True),
        (50728, "2I", 3, [part for value in neutral for part in (round(10000 * value), 10000)], True),
        (50778, "H", 1, 21, True),
    ]
    sensor = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, WHITE, True),
        (50718, "2I", 2, (aspect, 1, 1, 1), True),
    ]
    plain = {"metadata": None, "software": None}
    with tifffile.TiffWriter(path) as file:
        if preview:
            small = np.rint(light[::4, ::4] * 255).astype(np.uint8)
            file.write(small, photometric="rgb", subifds=1, subfiletype=1, extratags=camera, **plain)
            file.write(mosaic, photometric=32803, extratags=sensor, **plain)
        else:
            file.write(mosaic, photometric=32803, extratags=camera + sensor, **plain)
    return path


def write_lossy_dng(path: Path, srgb: np.ndarray) -> Path:
    """Write sRGB values (H, W, 3) in [0, 1] as a DNG with a JPEG of colours, which ends the file."""
    values = np.rint(255 * srgb).astype(np.uint8)
    jpeg = imagecodecs.jpeg8_encode(values, level=98, colorspace="RGB", outcolorspace="RGB")
    curve = np.rint(65535 * linear(np.linspace(0, 1, 256))).astype(int).tolist()
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50712, "H", 256, curve, True),
        (50717, "I", 3, (65535, 65535, 65535), True),
        (50721, "2i", 9, _MATRIX, True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
    ]
    layout = {"planarconfig": "contig", "tile": values.shape[:2]}
    options = {"photometric": 34892, "compression": 34892, "extratags": tags, **layout}
    tifffile.imwrite(path, iter([jpeg]), shape=values.shape, dtype=values.dtype, metadata=None, **options)
    return path


def write_raf(path: Path, light: np.ndarray, preview: bytes) -> Path:
    """Write light (H, W, 3) in [0, 1] of even sides as a raw file of Fujifilm, no TIFF; its colours are off."""
    mosaic = mosaic_of(light)
    height, width = mosaic.shape
    size = struct.pack(">HH", height, width)
    records = ((0x100, size), (0x121, size), (0x130, b"\x0c\x0c\x0c\x0c"), (0x2FF0, struct.pack(">4H", *4 * [302])))
    facts = struct.pack(">I", len(records))
    facts += b"".join(struct.pack(">HH", tag, len(value)) + value for tag, value in records)
    entries = ((0xF001, width), (0xF002, height), (0xF003, 16), (0xF007, 92), (0xF008, mosaic.nbytes))
    sensor = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0xF000, 13, 1, 26, 0) + struct.pack("<H", len(entries))
    sensor += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    sensor += mosaic.astype("<u2").tobytes()
    start = b"FUJIFILMCCD-RAW 0201FF389501" + b"X-T1".ljust(32, b"\0") + b"0100" + bytes(20)
    places, at = b"", 148
    for part in (preview, facts, sensor):
        places, at = places + struct.pack(">II", at, len(part)), at + len(part)
    path.write_bytes((start + places).ljust(148, b"\0") + preview + facts + sensor)
    return path
