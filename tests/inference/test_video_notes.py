"""Videos on the command line, and the notes that they get."""

from pathlib import Path

import numpy as np
import pytest
from support.command import check_refused, refusion, small_model
from support.scenes import EXAMPLES, textured
from support.videos import MODEL, RATE, av, read, scene, write

from refusion import fuse_videos
from refusion.images.video import Video
from refusion.inference.video_notes import notes_on_video


def test_videos_on_the_command_line(video_pair, tmp_path):
    model = small_model(tmp_path / "model")
    assert refusion("fuse", *video_pair, "-o", tmp_path / "f.mkv", "--model", model).code == 0
    assert len(read(tmp_path / "f.mkv")) == 10
    for arguments, words in [
        ([video_pair[0], "-o", tmp_path / "g.mp4"], "one with --side-by-side"),
        ([*video_pair, video_pair[0], "-o", tmp_path / "g.mp4"], "Give two videos, or one with --side-by-side."),
        ([*video_pair, "-o", tmp_path / "g.png"], ".mp4"),
        ([*video_pair, "-o", video_pair[0]], "is one of the sources"),
        ([*video_pair, "-o", tmp_path / "g.webm"], "g.webm is not the name of a video that can be written; fused"),
        ([*video_pair, "-o", tmp_path / "g.mp4", "--align"], "--align"),
        ([*video_pair, "-o", tmp_path / "g.mp4", "--own-range"], "--own-range"),
        ([*video_pair, "-o", tmp_path / "g.mp4", "--nodata", "0"], "--nodata"),
        ([*video_pair, "-o", tmp_path / "g.mp4", "--window-a", "0", "9"], "--window-a"),
        ([EXAMPLES / "ir-vis_ir.png", video_pair[1], "-o", tmp_path / "g.mp4"], f"{video_pair[1]} is a video, and"),
    ]:
        check_refused(refusion("fuse", *arguments, "--model", model), words)


def test_what_has_no_effect_on_videos_is_said(video_pair, tmp_path):
    model = small_model(tmp_path / "model")
    result = refusion("fuse", video_pair[0], video_pair[0], "-o", tmp_path / "f.mkv", "--bits", "16", "--model", model)
    assert "Note: --bits changes nothing here" in result.err
    assert "Note: The first frames of ir.mp4 and ir.mp4 are the same picture." in result.err


def test_dark_thermal_counts_and_transparency_are_said(tmp_path):
    counts = 7000 + 3 * textured(1).astype(np.uint16)
    colours = np.stack([textured(seed) for seed in (2, 3, 4, 5)], axis=-1)
    for name, values, pix, codec in (("ir.mkv", counts, "gray16le", "ffv1"), ("vis.mov", colours, "rgba", "png")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=RATE)
            stream.height, stream.width, stream.pix_fmt = *values.shape[:2], pix
            for _ in range(2):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(values, pix)))
            container.mux(stream.encode())
    notes = fuse_videos([tmp_path / "ir.mkv", tmp_path / "vis.mov"], tmp_path / "f.mp4", model=MODEL)
    assert any("ir.mkv uses only 7" in note and "--own-range" not in note for note in notes)
    assert "vis.mov has transparency, which is ignored." in notes


def test_the_notes_on_a_pair_of_images_are_given_for_videos(tmp_path):
    still = textured(1, 96, 128)
    colours = np.stack([still, still // 2 + 60, textured(3, 96, 128) // 2 + 40], axis=-1)
    grey = write(tmp_path / "grey.mp4", [still] * 2)
    shifted = write(tmp_path / "shifted.mp4", [np.roll(still, 16, axis=1)] * 2)
    dark = write(tmp_path / "dark.mp4", [still // 4] * 2)
    colour = write(tmp_path / "colour.mp4", [colours] * 2)
    both = write(tmp_path / "both.mp4", [np.hstack([colours, np.stack([still] * 3, axis=-1)])] * 2)

    def notes(*sources: Path, task: str = "ir-vis") -> str:
        return " ".join(fuse_videos(sources, tmp_path / "f.mp4", model=MODEL, task=task))

    assert notes(grey, colour) == ""
    assert "colour.mp4 is given as the infrared source but is a colour image" in notes(colour, grey)
    assert "both.mp4 (left) is given as the infrared source but is a colour image, and both.mp4 (right)" in notes(both)
    assert "grey.mp4 is given as the under-exposed source" in notes(grey, dark, task="multi-exposure")
    assert "colour.mp4 is given as the MRI but is coloured" in notes(grey, colour, task="medical")
    said = notes(grey, shifted)
    assert "shifted.mp4 seems to lie about 16 pixels off grey.mp4" in said
    assert said.endswith("register the two first.")
    assert "--align" not in said
    assert notes(grey, shifted, task="medical") == ""


def test_a_closed_shutter_does_not_hide_what_the_notes_are_on(tmp_path):
    counts = 7000 + 3 * textured(1).astype(np.uint16)
    closed = np.full_like(counts, 7000)
    with av.open(str(tmp_path / "ir.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *counts.shape, "gray16le"
        for values in (closed, closed, counts, counts):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, "gray16le")))
        container.mux(stream.encode())
    vis = write(tmp_path / "vis.mp4", scene(2, 4))
    notes = fuse_videos([tmp_path / "ir.mkv", vis], tmp_path / "f.mp4", model=MODEL)
    assert len([note for note in notes if "ir.mkv uses only 7" in note]) == 1
    black = write(tmp_path / "black.mp4", [np.zeros((48, 64), np.uint8)] * 3)
    assert "are the same picture" in " ".join(fuse_videos([black, black], tmp_path / "f.mp4", model=MODEL))


@pytest.mark.parametrize("interlaced", [False, True])
def test_interlaced_frames_are_said(tmp_path, interlaced):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.options = {"x264-params": "tff=1"} if interlaced else {}
        frame = av.VideoFrame.from_ndarray(np.full((64, 64), 90, np.uint8), "gray")
        container.mux([*stream.encode(frame), *stream.encode()])
    with Video(tmp_path / "a.mkv", 10_000) as video:
        notes = notes_on_video(video)
    assert ["a.mkv is interlaced: its frames show two moments" in note for note in notes] == [True] * interlaced
