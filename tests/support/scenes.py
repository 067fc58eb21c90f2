"""Folders of the project, and made-up images."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
EXAMPLES = ROOT / "space" / "examples"


def textured(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """An image with edges and texture, uint8 (height, width)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows / rng.uniform(2, 9)) * np.cos(columns / rng.uniform(2, 9))
    step = 60.0 * (columns > rng.integers(width // 4, 3 * width // 4))
    return np.clip(110 + 50 * waves + step + rng.normal(0, 6, (height, width)), 0, 255).astype(np.uint8)
