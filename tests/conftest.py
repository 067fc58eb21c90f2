"""What several tests share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of real pairs beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real pairs is not here")
    return SHARED


def textured(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture with edges and texture, uint8 (height, width)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows / rng.uniform(2, 9)) * np.cos(columns / rng.uniform(2, 9))
    step = 60.0 * (columns > rng.integers(width // 4, 3 * width // 4))
    return np.clip(110 + 50 * waves + step + rng.normal(0, 6, (height, width)), 0, 255).astype(np.uint8)


@pytest.fixture
def pair_folder(tmp_path: Path) -> Path:
    """Six textured pairs in the folders ir and vis."""
    for index in range(6):
        for offset, folder in ((0, "ir"), (100, "vis")):
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(textured(index + offset)).save(tmp_path / "pairs" / folder / f"scene{index}.png")
    return tmp_path / "pairs"
