"""Videos written and read with PyAV, for tests."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.networks import small_network
from support.scenes import textured

av = pytest.importorskip("av")
MODEL = small_network()
RATE = 25


def write(
    path: Path,
    frames: list[np.ndarray],
    rate: int = RATE,
    *,
    sound: str = "",
    seconds: float = 1,
    about: dict[str, str] | None = None,
) -> Path:
    """Write a video, with some seconds of stereo sound if its codec is given, and with metadata."""
    options = {"movflags": "use_metadata_tags"} if about and any("." in key for key in about) else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(about or {})
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        if sound:
            audio = container.add_stream(sound, rate=16_000, layout="stereo")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "gray" if frame.ndim == 2 else "rgb24")))
        container.mux(stream.encode())
        if sound:
            wave = (8000 * np.sin(np.arange(round(16_000 * seconds)) / 20)).astype(np.int16)
            for start in range(0, len(wave), 1024):
                samples = np.repeat(wave[None, start : start + 1024], 2, axis=1)
                part = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
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
    return [np.stack([f, f // 2 + 60, f // 2 + 40], axis=-1) for f in frames] if colour else frames


def joined(path: Path, *parts: list[np.ndarray]) -> Path:
    """Clips joined byte by byte."""
    path.write_bytes(b"".join(write(path.with_name("part.ts"), frames).read_bytes() for frames in parts))
    return path


def enlarged(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame.repeat(2, axis=0).repeat(2, axis=1) for frame in frames]


def hevc(path: Path, count: int, *, since: int = 0) -> Path:
    """Write HEVC with B-frames across key frames, without the first packets."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        coding = "keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0:open-gop=1:log-level=none"
        stream.options = {"x265-params": coding}
        frames = [*(av.VideoFrame.from_ndarray(frame, "gray") for frame in scene(2, count)), None]
        for packet in [packet for frame in frames for packet in stream.encode(frame)][since:]:
            container.mux(packet)
    return path


def moving(
    path: Path,
    times: list[float],
    row: int,
    *,
    rate=RATE,
    start: float = 0,
    sound: bool = False,
    early: float = 0,
    index_first: bool = False,
) -> Path:
    """A mark that goes to the right by 200 pixels a second, seen at these times; sound starts some seconds earlier."""
    tick = Fraction(1, 1000)
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.options = 240, 64, "yuv420p", {"crf": "10", "bf": "0"}
        stream.codec_context.time_base = tick
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for time in times:
            image = np.full((64, 240, 3), 40, np.uint8)
            image[row : row + 16, (place := int(10 + 200 * time)) : place + 8] = 250
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round((time + start) * 1000), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for at in range(0, 16_000, 1024) if audio else ():
            part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            part.sample_rate, part.time_base = 16_000, Fraction(1, 16_000)
            part.pts = at + round((start - early) * 16_000)
            container.mux(audio.encode(part))
        if audio:
            container.mux(audio.encode())
    return path


REGULAR = [number / RATE for number in range(24)]
