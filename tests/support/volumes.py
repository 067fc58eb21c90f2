"""Small phantoms as volumes."""

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
