"""What the tests of pairs have in common."""

from pathlib import Path

import pytest
from support.pairs import image

from refusion.tasks import get_task


@pytest.fixture
def both(tmp_path) -> Path:
    """A folder with ir and vis of one pair."""
    for folder in get_task("ir-vis").folders:
        image(tmp_path / "data" / folder / "scene.png")
    return tmp_path / "data"
