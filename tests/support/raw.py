"""Camera raw files (DNG), written from scenes."""

from pathlib import Path

import numpy as np
import tifffile

WHITE = 16383
"""Value of a full pixel of the sensor."""

_FROM_XYZ = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252)
"""The camera sees as sRGB does."""


def linear(srgb: np.ndarray) -> np.ndarray:
    """Light of sRGB values in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def write_dng(path: Path, light: np.ndarray, *, orientation: int = 1, preview: bool = False) -> Path:
    """Write light (H, W, 3) in [0, 1] of even sides as the mosaic of a sensor, below a preview as in most cameras."""
    values = np.rint(np.clip(light, 0, 1) * WHITE).astype(np.uint16)
    mosaic = values[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = values[::2, ::2, 0], values[1::2, 1::2, 2]
    matrix = [part for value in _FROM_XYZ for part in (round(10000 * value), 10000)]
    camera = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Made for tests", True),
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "Model", True),
        (274, "H", 1, orientation, True),
        (50721, "2i", 9, matrix, True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
    ]
    sensor = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, WHITE, True),
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
