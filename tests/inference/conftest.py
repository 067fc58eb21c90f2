"""What the tests of fusing have in common."""

from pathlib import Path

import pytest


@pytest.fixture
def video_pair(tmp_path) -> tuple[Path, Path]:
    """An infrared and a visible video, the second with sound; needs PyAV."""
    from support.videos import scene, write

    return (
        write(tmp_path / "ir.mp4", scene(1, 12)),
        write(tmp_path / "vis.mp4", scene(2, 10, colour=True), sound="aac"),
    )
