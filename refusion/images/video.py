"""Video streams: frames in, frames out, with their times and colours."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refusion.images.colour import join_colour, split_colour
from refusion.images.picture import NEUTRAL, Picture, PictureError, by

VIDEO_SUFFIXES = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".3gp", ".3g2", ".mpg",
        ".mpeg", ".vob", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".dv",
    }
)  # fmt: skip
"""Suffixes of videos that are read, in small letters; which of them can be depends on FFmpeg."""

WRITTEN_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4")
"""Suffixes of the containers that results are written in; H.264 does not belong in a WebM file."""

_UNKNOWN = 2
_HD = 720
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Shares of red and blue in luma, by the number of the matrix in ITU-T H.273, table 4."""

_LIMITED, _FULL = 1, 2

_SWSCALE_MATRIX = {6: 5, 10: 9}
"""Numbers of FFmpeg's scaler, where they differ from those of H.273."""

_EARLY = Fraction(13, 100)
"""Seconds by which sound may begin before the image; what is earlier is left out. The first packets of AAC are."""


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise PictureError("Videos need one more package: pip install 'refusion[video]'.") from error
    return av


@dataclass(frozen=True)
class Coding:
    """How the samples of a video stand for colours (ITU-T H.273).

    Attributes:
        matrix: number of the matrix coefficients.
        primaries: number of the colour primaries.
        transfer: number of the transfer characteristics, such as 16 for PQ and 18 for HLG.
        full: whether black to white are all levels, and not 16 to 235 of 8 bits.
        bits: of a sample, 8 or 10.
        aspect: width of a pixel by its height.
    """

    matrix: int
    primaries: int = _UNKNOWN
    transfer: int = _UNKNOWN
    full: bool = False
    bits: int = 8
    aspect: Fraction = Fraction(1)


@dataclass(frozen=True)
class Frame:
    """A frame as it is shown, upright.

    Attributes:
        picture: its pixels.
        time: seconds since the first frame.
    """

    picture: Picture
    time: Fraction


class Video:
    """An open video; a context manager.

    Attributes:
        path: of the file.
        size: width and height as it is shown, but for the aspect of its pixels.
        rate: frames a second, on average.
        frames: their number as far as the file says it, else 0.
        has_sound: whether there is an audio stream.
        coding: of its frames.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self._max_pixels = max_pixels

    def __enter__(self) -> "Video":
        av = _av()
        name = self.path.name
        if not self.path.is_file():
            raise PictureError(f"There is no file {name} where it was looked for; check the path.")
        try:
            self._container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError) as error:
            raise PictureError(f"{name} is not a video that can be read ({error.strerror}).") from error
        try:
            if not self._container.streams.video:
                raise PictureError(f"{name} holds no video stream.")
            self.stream = self._container.streams.video[0]
            size = (self.stream.width, self.stream.height)
            if size[0] * size[1] > self._max_pixels:
                raise PictureError(f"{name} is {by(size)} pixels, but at most {self._max_pixels:,} are accepted.")
            self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 0)
            if self.rate <= 0:
                raise PictureError(f"{name} does not say its frame rate; write it again with a constant one.")
            with self._sentences():
                self._look_at_first()
        except PictureError:
            self._container.close()
            raise
        self.frames = int(self.stream.frames)
        self.has_sound = bool(self._container.streams.audio)
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except _av().error.FFmpegError as error:
            raise PictureError(f"{self.path.name} is damaged ({error.strerror}).") from error

    def _look_at_first(self) -> None:
        """Some of what a video says is known only once a frame is decoded; from a second look at the file."""
        with _av().open(str(self.path)) as container:
            first = next(container.decode(video=0), None)
        if first is None:
            raise PictureError(f"{self.path.name} holds no frame that can be read.")
        self.turns = round(first.rotation / 90) % 4
        self.start = _time(first)
        self.interlaced = bool(first.interlaced_frame)
        size = (first.width, first.height)
        self.size = size if self.turns % 2 == 0 else size[::-1]
        aspect = Fraction(self.stream.sample_aspect_ratio or 1) or Fraction(1)
        context = self.stream.codec_context
        matrix, primaries, transfer = (
            int(getattr(first, name, None) or getattr(context, name, None) or _UNKNOWN)
            for name in ("colorspace", "color_primaries", "color_trc")
        )
        self.grey = first.format.name.startswith("gray")
        full_by_name = first.format.name.startswith("yuvj") or self.grey or first.format.is_rgb
        given = int(first.color_range or 0)
        self.coding = Coding(
            matrix if matrix in _WEIGHTS else 1 if min(size) >= _HD else 6,
            primaries,
            transfer,
            given == _FULL or (given != _LIMITED and full_by_name),
            10 if max(component.bits for component in first.format.components) > 8 else 8,
            aspect if self.turns % 2 == 0 else 1 / aspect,
        )

    def pictures(self) -> Iterator[Frame]:
        """The frames, one after the other."""
        with self._sentences():
            for number, frame in enumerate(self._container.decode(self.stream)):
                time = _time(frame)
                since = number / self.rate if time is None or self.start is None else time - self.start
                yield Frame(self._picture(frame), since)

    def _picture(self, frame: Any) -> Picture:
        if self.grey:
            values = _unit(frame.to_ndarray(format="gray16le" if frame.format.name != "gray" else None))
            values = values if self.coding.full else ((values - 16 / 255) * (255 / 219)).clip(0, 1)
            return Picture(np.ascontiguousarray(np.rot90(values, self.turns)), None, self.path.name)
        matrix = _SWSCALE_MATRIX.get(self.coding.matrix, self.coding.matrix)
        span = _FULL if self.coding.full else _LIMITED
        source = {} if frame.format.is_rgb else {"src_colorspace": matrix, "src_color_range": span}
        rgb = frame.reformat(format="rgb48le", **source, dst_color_range=_FULL).to_ndarray()
        luminance, chroma = split_colour(np.ascontiguousarray(np.rot90(_unit(rgb), self.turns)))
        return Picture(luminance, chroma, self.path.name)

    def sound_packets(self) -> Iterator[Any]:
        """The packets of the first audio stream, from a second look at the file; time 0 is that of the first frame."""
        start = self.start or Fraction(0)
        with _av().open(str(self.path)) as container:
            for packet in container.demux(container.streams.audio[0]):
                if packet.dts is None:
                    continue
                shift = round(start / packet.time_base)
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                if packet.dts * packet.time_base > -_EARLY:
                    yield packet

    @property
    def sound_stream(self) -> Any:
        """The first audio stream, as a template."""
        return self._container.streams.audio[0]


def _time(frame: Any) -> Fraction | None:
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def _unit(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def halves(picture: Picture) -> tuple[Picture, Picture]:
    """The left and the right half of an image; the middle column of an odd width is left out."""
    width = picture.size[0] // 2

    def part(columns: slice) -> Picture:
        chroma = None if picture.chroma is None else picture.chroma[:, :, columns]
        return replace(picture, luminance=picture.luminance[:, columns], chroma=chroma)

    return part(slice(0, width)), part(slice(picture.size[0] - width, None))


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what cannot be written into a sentence."""
    try:
        yield
    except (_av().error.FFmpegError, OSError) as error:
        raise PictureError(f"{target.name} cannot be written: {error.strerror or error}.") from error


def encode(
    path: Path, frames: Iterable[Frame], rate: Fraction, coding: Coding, sound: Video | None, notes: list[str]
) -> int:
    """Write frames, H.264 at constant quality, and a copied sound; returns the number of frames.

    An odd side gets its last row or column twice, since halved chroma needs even ones.

    Args:
        path: the suffix names the container.
        frames: in the order of their times.
        rate: of the frames, on average.
        coding: how colours are coded.
        sound: whose first audio stream is copied.
        notes: gets a sentence if the sound is left out.
    """
    av = _av()
    count = 0
    with av.open(str(path), "w") as container:
        # AVI has one duration for all frames.
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
    return count


def _set_up(stream: Any, coding: Coding, tick: Fraction) -> None:
    stream.options = {"crf": "16", "preset": "medium"}
    stream.pix_fmt = "yuv420p10le" if coding.bits > 8 else "yuv420p"
    context = stream.codec_context
    context.time_base = tick
    context.colorspace, context.color_primaries, context.color_trc = coding.matrix, coding.primaries, coding.transfer
    context.color_range = _FULL if coding.full else _LIMITED
    if coding.aspect != 1:
        context.sample_aspect_ratio = coding.aspect


def _copied_stream(container: Any, sound: Video | None, notes: list[str]) -> Any:
    if sound is None:
        return None
    name = sound.sound_stream.codec_context.name
    known = getattr(container, "supported_codecs", None)
    if known and name not in known and sound.sound_stream.codec_context.codec.canonical_name not in known:
        notes.append(
            f"The sound of {sound.path.name} ({name}) has no place in this kind of file, and is left out; "
            "a .mkv file holds it."
        )
        return None
    return container.add_stream_from_template(sound.sound_stream)


def _coded(picture: Picture, coding: Coding) -> Any:
    """A frame of an image: Y'CbCr with halved chroma (ITU-T H.273, equations 4, 5 and 38 to 40)."""
    height, width = picture.luminance.shape
    even = ((0, height % 2), (0, width % 2))
    red_share, blue_share = _WEIGHTS[coding.matrix]
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
    frame = _av().VideoFrame(luma.shape[1], luma.shape[0], "yuv420p10le" if coding.bits > 8 else "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : plane.width] = np.rint(values).clip(0, top)
        plane.update(rows)
    frame.colorspace, frame.color_range = coding.matrix, _FULL if coding.full else _LIMITED
    return frame


def _halved(values: np.ndarray) -> np.ndarray:
    height, width = values.shape
    return values.reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def is_written(path: str | os.PathLike) -> bool:
    """Whether the suffix is that of a container that results are written in."""
    return Path(path).suffix.lower() in WRITTEN_SUFFIXES
