"""Blank borders of videos, which a registration leaves where one of the cameras does not reach."""

import cv2
import numpy as np
import pytest
from support.command import refusion
from support.videos import MODEL, read, scene, write

from refusion import fuse_videos

COUNT = 6


def warped(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Frames turned by 6 degrees, on black."""
    height, width = frames[0].shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 6, 0.9)
    return [cv2.warpAffine(np.clip(frame, 40, 255), matrix, (width, height)) for frame in frames]


def border(frames: list[np.ndarray]) -> np.ndarray:
    """Bool (H, W), what is black in all frames but for a pixel or two at the edge."""
    return cv2.erode((np.max(frames, axis=0) == 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


@pytest.fixture
def bordered(tmp_path):
    """An infrared video with a border, and a visible one."""
    frames = warped(scene(1, COUNT))
    return write(tmp_path / "ir.mp4", frames), write(tmp_path / "vis.mp4", scene(2, COUNT)), border(frames)


def test_the_border_of_a_video_shows_the_other_one(bordered, tmp_path):
    ir, vis, blank = bordered
    notes = fuse_videos((ir, vis), tmp_path / "filled.mp4", model=MODEL, output_range="network", anchor="bounds")
    assert sum("ir.mp4 has a black border of" in note for note in notes) == 1
    for fused, of_vis in zip(read(tmp_path / "filled.mp4"), read(vis), strict=True):
        assert np.abs(fused[blank].astype(int) - of_vis[blank]).mean() < 4


def test_a_border_of_a_video_is_kept_if_asked(bordered, tmp_path):
    ir, vis, blank = bordered
    command = ("fuse", ir, vis, "-o", tmp_path / "kept.mp4", "--output-range", "network", "--anchor", "bounds")
    result = refusion(*command, "--no-fill-borders")
    assert result.code == 0
    assert "border" not in result.err
    kept, of_vis = read(tmp_path / "kept.mp4")[0], read(vis)[0]
    assert np.abs(kept[blank].astype(int) - of_vis[blank]).mean() > 10


def test_frames_whose_border_has_gone_are_fused_as_they_are(bordered, tmp_path):
    _, vis, blank = bordered
    whole = scene(1, COUNT)
    mixed = write(tmp_path / "mixed.mp4", warped(whole)[:3] + whole[3:])
    finish = {"model": MODEL, "output_range": "network", "anchor": "none"}
    fuse_videos((mixed, vis), tmp_path / "mixed_fused.mp4", **finish)
    fuse_videos((mixed, vis), tmp_path / "kept.mp4", fill_borders=False, **finish)
    filled, kept = read(tmp_path / "mixed_fused.mp4"), read(tmp_path / "kept.mp4")
    off = [np.abs(one[blank].astype(int) - other[blank]).mean() for one, other in zip(filled, kept, strict=True)]
    assert min(off[:3]) > 2 * max(off[3:])
    assert max(off[3:]) < 3


def test_a_video_that_fades_in_has_its_border_filled(bordered, tmp_path):
    ir, vis, blank = bordered
    frames = [np.zeros_like(read(ir)[0][..., 0])] * 2 + warped(scene(1, COUNT - 2))
    late = write(tmp_path / "late.mp4", frames)
    notes = fuse_videos((late, vis), tmp_path / "f.mp4", model=MODEL, output_range="network", anchor="bounds")
    assert sum("late.mp4 has a black border of" in note for note in notes) == 1
    fused, of_vis = read(tmp_path / "f.mp4")[-1], read(vis)[-1]
    assert np.abs(fused[blank].astype(int) - of_vis[blank]).mean() < 4
