"""What several tests share."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from support.scenes import SHARED, textured


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of real pairs beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real pairs is not here")
    return SHARED


@pytest.fixture
def pair_folder(tmp_path: Path) -> Path:
    """Six textured pairs in the folders ir and vis."""
    for index in range(6):
        for offset, folder in ((0, "ir"), (100, "vis")):
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(textured(index + offset)).save(tmp_path / "pairs" / folder / f"scene{index}.png")
    return tmp_path / "pairs"
