"""Videos made by PyAV, fused and looked at again."""

from pathlib import Path

import numpy as np
import pytest
from support.command import refusion, small_model
from support.scenes import textured

from refusion.api import fuse_videos
from refusion.images import PictureError
from refusion.inference.network import fuse_luminance
from refusion.inference.video import RangeSmoother
from refusion.models.model import ReFusion

av = pytest.importorskip("av")

MODEL = ReFusion(channels=8, heads=4, blocks=1).eval()
RATE = 25


def write(path: Path, frames: list[np.ndarray], rate: int = RATE, *, sound: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        if sound:
            audio = container.add_stream("aac", rate=16_000)
            audio.layout = "mono"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "gray" if frame.ndim == 2 else "rgb24")))
        container.mux(stream.encode())
        if sound:
            wave = (8000 * np.sin(np.arange(16_000) / 20)).astype(np.int16)
            for start in range(0, len(wave), 1024):
                part = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "s16", "mono")
                part.sample_rate, part.pts = 16_000, start
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    return path


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def scene(seed: int, count: int, *, colour: bool = False) -> list[np.ndarray]:
    """A still scene with the noise of a camera."""
    rng = np.random.default_rng(seed)
    still = textured(seed).astype(float)
    frames = [np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(count)]
    return [np.stack([f, 255 - f, f // 2], axis=-1) for f in frames] if colour else frames


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    return (
        write(tmp_path / "ir.mp4", scene(1, 12)),
        write(tmp_path / "vis.mp4", scene(2, 10, colour=True), sound=True),
    )


def test_two_videos_are_fused_with_their_sound(pair, tmp_path):
    seen = []
    notes = fuse_videos(pair, tmp_path / "f.mp4", model=MODEL, progress=lambda done, total: seen.append((done, total)))
    assert len(notes) == 1
    assert "ir.mp4 is longer than vis.mp4; the result ends with the latter, after 10 frames (0.40 s)" in notes[0]
    assert seen[-1] == (10, 10)
    frames = read(tmp_path / "f.mp4")
    assert len(frames) == 10
    ir, vis = (read(path)[0] for path in pair)
    expected = np.asarray(MODEL.fuse(ir[..., 0], vis), dtype=int)
    assert np.abs(frames[0] - expected).mean() < 12
    with av.open(str(tmp_path / "f.mp4")) as fused, av.open(str(pair[1])) as source:
        assert fused.streams.video[0].average_rate == RATE
        assert (fused.streams.video[0].width, fused.streams.video[0].height) == (64, 48)
        packets = [bytes(packet) for packet in fused.demux(audio=0) if packet.size]
        original = [bytes(packet) for packet in source.demux(audio=0) if packet.size]
        assert len(packets) > 3
        assert packets == original[: len(packets)]


def test_one_video_side_by_side(pair, tmp_path):
    ir, vis = scene(1, 4), scene(2, 4)
    both = write(tmp_path / "both.mkv", [np.hstack(frames) for frames in zip(ir, vis, strict=True)])
    assert fuse_videos([both], tmp_path / "f.mkv", model=MODEL) == []
    frames = read(tmp_path / "f.mkv")
    assert len(frames) == 4
    expected = np.asarray(MODEL.fuse(ir[0], vis[0]), dtype=int)
    assert np.abs(frames[0][..., 0] - expected).mean() < 8


def test_the_range_does_not_flicker():
    rng = np.random.default_rng(0)
    a, b = (scene(seed, 24) for seed in (1, 2))
    # One hot pixel now and then, as thermal cameras have them.
    for frame in a[::5]:
        frame[rng.integers(48), rng.integers(64)] = 255
    pairs = [(x.astype(np.float32) / 255, y.astype(np.float32) / 255) for x, y in zip(a, b, strict=True)]
    fused = [0.2 + 0.5 * fuse_luminance(MODEL, x, y) for x, y in pairs]

    def flicker(frames: list[np.ndarray]) -> float:
        return float(np.abs(np.diff([frame.mean() for frame in frames])).mean())

    for output_range in ("stretch", "sources"):
        smooth, each = RangeSmoother(output_range, RATE), RangeSmoother(output_range, RATE, seconds=0)
        smoothed = [smooth(f, *pair) for f, pair in zip(fused, pairs, strict=True)]
        apart = [each(f, *pair) for f, pair in zip(fused, pairs, strict=True)]
        assert flicker(smoothed) < 0.5 * flicker(apart)


def test_a_change_of_light_is_followed():
    dark, bright = (textured(1).astype(np.float32) / 255 * factor for factor in (0.3, 1.0))
    smooth = RangeSmoother("robust", RATE)
    first = smooth(dark)
    for _ in range(10 * RATE):
        last = smooth(bright)
    assert np.abs(last - first).max() < 0.02


def test_what_does_not_fit_is_refused_and_nothing_is_left(pair, tmp_path):
    other_rate = write(tmp_path / "slow.mp4", scene(1, 5), rate=10)
    other_size = write(tmp_path / "small.mp4", [np.ascontiguousarray(f[:32, :32]) for f in scene(1, 5)])
    sound = tmp_path / "sound.mp4"
    sound.write_bytes(b"no video")
    before = sorted(path.name for path in tmp_path.iterdir())
    for sources, words in [
        ((other_rate, pair[1]), r"slow\.mp4 10 and vis\.mp4 25"),
        ((other_size, pair[1]), r"32 x 32.*64 x 48"),
        ((sound, pair[1]), r"sound\.mp4 is not a video"),
        ((tmp_path / "gone.mp4", pair[1]), r"no file gone\.mp4"),
    ]:
        with pytest.raises(PictureError, match=words):
            fuse_videos(sources, tmp_path / "f.mp4", model=MODEL)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    with pytest.raises(PictureError, match="at most 100 are accepted"):
        fuse_videos(pair, tmp_path / "f.mp4", model=MODEL, max_pixels=100)


def test_videos_on_the_command_line(pair, tmp_path):
    model = small_model(tmp_path / "model")
    assert refusion("fuse", *pair, "-o", tmp_path / "f.mkv", "--model", model).code == 0
    assert len(read(tmp_path / "f.mkv")) == 10
    for arguments, words in [
        ([pair[0], "-o", tmp_path / "g.mp4"], "one with --side-by-side"),
        ([*pair, "-o", tmp_path / "g.png"], ".mp4"),
        ([*pair, "-o", pair[0]], "is one of the sources"),
        ([*pair, "-o", tmp_path / "g.mp4", "--align"], "--align"),
    ]:
        result = refusion("fuse", *arguments, "--model", model)
        assert result.code == 2, result.err
        assert words in result.err
