"""Small phantoms as volumes."""

import struct
from pathlib import Path

import numpy as np
import pytest

sitk = pytest.importorskip("SimpleITK")

SPACING = (1.0, 1.0, 2.5)


def phantom(seed: int, shape: tuple[int, int, int] = (10, 24, 20), scale: float = 1000) -> np.ndarray:
    """Ellipsoids and noise within air of exactly 0, int16; the first and the last slice are air."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij"))
    values = np.zeros(shape)
    for radius, level in ((0.85, 0.5), (0.6, 0.9), (0.3, rng.uniform(0.1, 0.4))):
        inside = ((place / radius) ** 2).sum(0) < 1
        values[inside] = level * scale + rng.normal(0, scale / 50, inside.sum())
    return np.rint(values).clip(0).astype(np.int16)


def image_of(
    values: np.ndarray,
    spacing: tuple[float, ...] = SPACING,
    origin: tuple[float, ...] = (0, 0, 0),
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def write(path: Path, values: np.ndarray, *, packed: bool = False, **grid: tuple[float, ...]) -> Path:
    sitk.WriteImage(image_of(values, **grid), str(path), useCompression=packed)
    return path


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def nifti(values: np.ndarray, order: str = "<") -> bytes:
    """A NIfTI-1 file in either byte order, with voxels of 1 x 1 x 2.5 mm at (3, 4, 5)."""
    kind, bits = {"i2": (4, 16), "f4": (16, 32), "f8": (64, 64)}[values.dtype.str[1:]]
    header = bytearray(352)
    for at, form, numbers in (
        *((0, "i", (348,)), (40, "8h", (3, *values.shape[::-1], 1, 1, 1, 1)), (70, "2h", (kind, bits))),
        *((76, "8f", (1, 1, 1, 2.5, 0, 0, 0, 0)), (108, "f", (352,)), (123, "b", (2,)), (252, "h", (1,))),
        *((268, "3f", (-3, -4, 5)), (344, "4s", (b"n+1",))),
    ):
        struct.pack_into(f"{order}{form}", header, at, *numbers)
    return bytes(header) + values.astype(f"{order}{values.dtype.str[1:]}").tobytes()
