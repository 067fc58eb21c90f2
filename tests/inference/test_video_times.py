"""Frames of two videos are paired by time."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.videos import MODEL, RATE, REGULAR, av, moving, write

from refusion import fuse_videos
from refusion.images.picture import Picture
from refusion.images.video import Video
from refusion.images.video_coding import Coding, Frame
from refusion.images.video_writing import encode


def apart(path: Path) -> float:
    """How far apart the marks of both sources are, in pixels, at most."""

    def place(rows: np.ndarray) -> float:
        bright = np.maximum(rows.mean(0) - 60, 0)
        return float((bright * np.arange(len(bright))).sum() / bright.sum())

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]
    return max(abs(place(frame[8:24]) - place(frame[40:56])) for frame in frames)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


UNEVEN = [number * 0.06 for number in range(12)] + [
    0.66 + round((number + 1) * 260 / 12) / 1000 for number in range(12)
]


@pytest.mark.parametrize("uneven", ["ir", "vis"])
def test_frames_of_one_moment_belong_together_whatever_their_numbers(tmp_path, uneven):
    times = {name: UNEVEN if name == uneven else REGULAR for name in ("ir", "vis")}
    ir = moving(tmp_path / "ir.mkv", times["ir"], 8)
    vis = moving(tmp_path / "vis.mkv", times["vis"], 40)
    fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network", anchor="none")
    # Half of the time between two frames, and the size of a mark.
    assert apart(tmp_path / "f.mkv") < 200 * 0.03 + 4


def test_a_slower_camera_is_shown_repeatedly(tmp_path):
    ir = moving(tmp_path / "ir.mkv", REGULAR[::3], 8, rate=Fraction(RATE, 3))
    vis = moving(tmp_path / "vis.mkv", REGULAR, 40)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network")
    assert "The frame rates differ (ir.mkv" in notes[0]
    assert times_of(tmp_path / "f.mkv") == pytest.approx(REGULAR, abs=0.002)
    assert apart(tmp_path / "f.mkv") < 200 * 0.08 + 4


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_late_start_keeps_sound_and_image_in_step(tmp_path, suffix):
    ir = moving(tmp_path / "ir.mp4", REGULAR, 8)
    vis = moving(tmp_path / f"vis{suffix}", REGULAR, 40, start=1.4, sound=True)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network")
    # The marks of both lie in different rows.
    assert [note for note in notes if "32 pixels off" not in note] == []
    times = times_of(tmp_path / "f.mkv")
    assert np.diff(times) == pytest.approx(1 / RATE, abs=0.002)
    with av.open(str(tmp_path / "f.mkv")) as container:
        sound = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.pts is not None]
    assert len(sound) >= 13
    assert sound[0] - times[0] == pytest.approx(0, abs=0.1)
    assert sound[-1] - times[-1] == pytest.approx(0, abs=0.1)


def test_sound_from_long_before_the_first_frame_is_left_out(tmp_path):
    ir = moving(tmp_path / "ir.mp4", REGULAR, 8)
    vis = moving(tmp_path / "vis.mkv", REGULAR, 40, start=1, sound=True, early=0.6)
    fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network")
    first = times_of(tmp_path / "f.mkv")[0]
    with av.open(str(tmp_path / "f.mkv")) as container:
        sound = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.pts is not None]
    assert len(sound) == pytest.approx(0.4 / 0.064, abs=2.5)
    assert sound[0] - first == pytest.approx(0, abs=0.14)


@pytest.mark.parametrize(("clips", "times"), [(2, "once"), (3, "2 times")])
def test_time_goes_on_where_the_time_stamps_of_joined_clips_restart(tmp_path, clips, times):
    ir = moving(tmp_path / "ir.mkv", REGULAR, 8)
    parts = []
    for first in range(0, 24, 24 // clips):
        frames = [np.full((64, 240), 40, np.uint8) for _ in range(24 // clips)]
        for number, frame in enumerate(frames, first):
            frame[40:56, (place := int(10 + 200 * REGULAR[number])) : place + 8] = 250
        parts.append(write(tmp_path / "part.ts", frames, sound="aac", seconds=len(frames) / RATE).read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    notes = fuse_videos([ir, joined], tmp_path / "f.mkv", model=MODEL, output_range="network", anchor="none")
    assert f"The time stamps of joined.ts restart {times}, as in clips joined byte by byte" in notes[-1]
    assert "its sound may be out of step" in notes[-1]
    assert np.diff(times_of(tmp_path / "f.mkv")) == pytest.approx([1 / RATE] * 23, abs=0.002)
    assert apart(tmp_path / "f.mkv") < 200 * 0.02 + 4
    with av.open(str(tmp_path / "f.mkv")) as container:
        sound = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.pts is not None]
    assert np.diff(sound).min() > 0.06
    assert np.diff(sound).max() < 0.1


def test_the_frames_of_an_avi_with_b_frames_come_at_their_times(tmp_path):
    """AVI numbers its packets in the order of decoding."""
    frames = [np.full((48, 160), 60, np.uint8) for _ in range(20)]
    for number, frame in enumerate(frames):
        frame[:, 8 * number : 8 * number + 8] = 230
    with Video(write(tmp_path / "moving.avi", frames), 10**6) as video:
        shown = list(video.pictures())
    assert [frame.time for frame in shown] == [Fraction(number, RATE) for number in range(20)]
    assert [int(frame.picture.luminance.mean(axis=0).argmax()) // 8 for frame in shown] == list(range(20))


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_frames_of_almost_one_time_are_all_written(tmp_path, suffix):
    """In AVI, a frame has no other time than a multiple of the duration of one; in Matroska, it is in milliseconds."""
    levels = [20, 90, 160, 230]
    times = [Fraction(0), Fraction(1, 10**6), Fraction(1, 50), Fraction(2, 25)]
    pictures = [Picture(np.full((48, 64), level / 255, np.float32), None, "a") for level in levels]
    frames = map(Frame, pictures, times)
    encode(tmp_path / f"a{suffix}", frames, Fraction(RATE), Coding(matrix=1), None, [])
    with Video(tmp_path / f"a{suffix}", 10**6) as video:
        shown = list(video.pictures())
    assert [255 * frame.picture.luminance.mean() for frame in shown] == pytest.approx(levels, abs=3)
    assert video.restarts == 0
    steps = np.diff([float(frame.time) for frame in shown])
    assert min(steps) == 0 if suffix == ".mkv" else min(steps) > 0


@pytest.mark.parametrize("longer", ["ir", "vis"])
def test_one_frame_more_is_said(tmp_path, longer):
    files = [
        moving(tmp_path / f"{n}.mkv", REGULAR if n == longer else REGULAR[:-1], row)
        for n, row in (("ir", 8), ("vis", 40))
    ]
    notes = fuse_videos(files, tmp_path / "f.mkv", model=MODEL, output_range="network")
    assert [note for note in notes if f"{longer}.mkv is longer than" in note and "after 23 frames" in note]


def test_a_last_frame_that_comes_a_little_early_is_not_shown_with_one_that_is_over(tmp_path):
    """A file counts in milliseconds, so that the times of a frame rate such as 30 are rounded."""
    ir = moving(tmp_path / "ir.mkv", REGULAR, 8)
    vis = moving(tmp_path / "vis.mkv", [*REGULAR, 0.959], 40)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network")
    assert len(times_of(tmp_path / "f.mkv")) == len(REGULAR)
    assert "vis.mkv is longer than ir.mkv; the result ends with the latter, after 24 frames" in notes[-1]
