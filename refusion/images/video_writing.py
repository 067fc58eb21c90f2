"""Write video frames with their times and colour coding; needs the extra ``video`` (PyAV)."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refusion.images.colour import join_colour
from refusion.images.picture import NEUTRAL, Picture, PictureError
from refusion.images.video import Video
from refusion.images.video_coding import FULL, LIMITED, WEIGHTS, Coding, Frame, import_av

WRITTEN_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4")
"""Suffixes of the containers that can be written; WebM is missing because it does not support H.264."""


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn errors of writing a video into a `PictureError`."""
    try:
        yield
    except (import_av().error.FFmpegError, OSError) as error:
        raise PictureError(f"{target.name} cannot be written: {error.strerror or error}.") from error


def encode(
    path: Path,
    frames: Iterable[Frame],
    rate: Fraction,
    coding: Coding,
    sound: Video | None,
    notes: list[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write frames as H.264 at constant quality, with a copied audio stream.

    For an odd width or height, the last column or row is repeated, since subsampled chroma needs even sizes.

    Args:
        path: the output; the suffix sets the container.
        frames: the frames, in order of time.
        rate: average frame rate.
        coding: colour coding.
        sound: video whose first audio stream is copied, or None.
        notes: a sentence is added if the sound is left out.
        metadata: metadata of the file, as FFmpeg names them; a container keeps those that it has a place for.
    """
    av = import_av()
    count = 0
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        # In AVI, all frames have the same duration.
        tick = 1 / rate if path.suffix.lower() == ".avi" else Fraction(1, 90_000)
        stream = container.add_stream("libx264", rate=rate)
        _set_up(stream, coding, tick)
        copied = _copied_stream(container, sound, notes)
        packets = sound.sound_packets() if sound is not None and copied is not None else iter(())
        waiting = next(packets, None)
        last = -1
        for count, frame in enumerate(frames, 1):
            coded = _coded(frame.picture, coding)
            if count == 1:
                stream.width, stream.height = coded.width, coded.height
            last = max(last + 1, round(frame.time / tick))
            coded.pts, coded.time_base = last, tick
            container.mux(stream.encode(coded))
            while waiting is not None and waiting.dts * waiting.time_base <= frame.time + 1 / rate:
                waiting.stream = copied
                container.mux(waiting)
                waiting = next(packets, None)
        if count:
            container.mux(stream.encode())


def _set_up(stream: Any, coding: Coding, tick: Fraction) -> None:
    stream.options = {"crf": "16", "preset": "medium", "chromaoffset": "-3"}
    stream.pix_fmt = "yuv420p10le" if coding.bits > 8 else "yuv420p"
    context = stream.codec_context
    context.time_base = tick
    context.colorspace, context.color_primaries, context.color_trc = coding.matrix, coding.primaries, coding.transfer
    context.color_range = FULL if coding.full else LIMITED
    if coding.aspect != 1:
        context.sample_aspect_ratio = coding.aspect


def _copied_stream(container: Any, sound: Video | None, notes: list[str]) -> Any:
    if sound is None:
        return None
    if _takes(container.format.name, sound):
        return container.add_stream_from_template(sound.sound_stream)
    advice = "; write a .mkv file to keep it" if _takes("matroska", sound) else ""
    context = sound.sound_stream.codec_context
    name = context.name if context is not None else "an unknown codec"
    notes.append(
        f"The sound of {sound.path.name} ({name}) is left out, since this container does not support it{advice}."
    )
    return None


def _takes(format_name: str, sound: Video) -> bool:
    """Whether a container accepts sound. It is tried, since its list of codecs has some that it refuses later."""
    av = import_av()
    try:
        with av.open(os.devnull, "w", format=format_name) as container:
            stream = container.add_stream_from_template(sound.sound_stream)
            container.start_encoding()
            # All of it: MP4 refuses some PCM only when the file is closed, and AVI some ADPCM after many packets, whose
            # times it rounds to ticks of another length.
            for packet in sound.sound_packets():
                packet.stream = stream
                container.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _coded(picture: Picture, coding: Coding) -> Any:
    """Encode an image as a Y'CbCr frame with 4:2:0 chroma (ITU-T H.273, equations 4, 5 and 38 to 40)."""
    height, width = picture.luminance.shape
    even = ((0, height % 2), (0, width % 2))
    red_share, blue_share = WEIGHTS[coding.matrix]
    if picture.chroma is None:
        luma = picture.luminance
        chroma = [np.full(((height + 1) // 2, (width + 1) // 2), NEUTRAL - 0.5, np.float32)] * 2
    else:
        red, green, blue = np.moveaxis(join_colour(picture.luminance, picture.chroma).clip(0, 1), 2, 0)
        luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
        differences = (blue - luma) / (2 - 2 * blue_share), (red - luma) / (2 - 2 * red_share)
        chroma = [_halved(np.pad(difference, even, "edge")) for difference in differences]
    luma = np.pad(luma, even, "edge")
    top = (1 << coding.bits) - 1
    unit = 1 << (coding.bits - 8)
    middle = 128 * unit
    spans = (0, top, top) if coding.full else (16 * unit, 219 * unit, 224 * unit)
    planes = [spans[0] + spans[1] * luma, *(middle + spans[2] * difference for difference in chroma)]
    kind = np.dtype("<u2" if coding.bits > 8 else "u1")
    frame = import_av().VideoFrame(luma.shape[1], luma.shape[0], "yuv420p10le" if coding.bits > 8 else "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : plane.width] = np.rint(values).clip(0, top)
        plane.update(rows)
    frame.colorspace, frame.color_range = coding.matrix, FULL if coding.full else LIMITED
    return frame


def _halved(values: np.ndarray) -> np.ndarray:
    height, width = values.shape
    return values.reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def is_written(path: str | os.PathLike) -> bool:
    """Whether the suffix is that of a video container that can be written."""
    return Path(path).suffix.lower() in WRITTEN_SUFFIXES
