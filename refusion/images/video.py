"""Read video frames with their times and colour coding; needs the extra ``video`` (PyAV)."""

import math
import re
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refusion.images.colour import split_colour
from refusion.images.failures import check_size, missing_file
from refusion.images.kinds import START, refuse_as_video
from refusion.images.levels import Stored, to_picture
from refusion.images.picture import Picture, PictureError
from refusion.images.video_coding import FULL, LIMITED, UNKNOWN, WEIGHTS, Coding, Frame, import_av
from refusion.images.video_metadata import kept_metadata

VIDEO_SUFFIXES = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".3gp", ".3g2", ".mpg",
        ".mpeg", ".vob", ".wmv", ".asf", ".flv", ".ogv", ".mxf", ".dv",
    }
)  # fmt: skip
"""Suffixes of videos that can be read, in lower case; support depends on FFmpeg."""

_HD = 720
"""Shorter side of a video, in pixels, from which its matrix is that of HD if it does not state one."""

_CUT_SHORT = Fraction(1, 2)
"""Seconds by which a Matroska or WebM file must end before the time that it states to seem cut off."""

_EARLY = Fraction(13, 100)
"""Seconds that sound may start before the first frame, as AAC does; earlier packets are left out."""


class Video:
    """An open video; use it as a context manager.

    Attributes:
        path: path of the file.
        size: width and height after rotation, without the pixel aspect ratio.
        rate: average frames per second.
        frames: number of frames according to the file, or 0 if unknown; `changes_size` counts them.
        has_sound: whether there is an audio stream.
        coding: colour coding of the frames.
        missing: seconds by which it ended before the time that the file states, known when all frames have been read;
            0 if it did not, or for formats other than Matroska, WebM, AVI, MP4 and MOV.
        metadata: what also holds for a fused video, see `refusion.images.video_metadata`.
        restarts: number of times so far that the time stamps went back, as in files joined byte by byte.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self.restarts = 0
        self.missing = Fraction(0)
        self._damaged = self._refused = 0
        self._incomplete: set[int] = set()
        self._without_frame: set[int] = set()
        self._shown: tuple[float, float] = (math.inf, -math.inf)
        self._max_pixels = max_pixels

    def __enter__(self) -> "Video":
        av = import_av()
        name = self.path.name
        if not self.path.is_file():
            raise missing_file(self.path)
        try:
            self._container = _opened(self.path)
        except (av.error.FFmpegError, OSError) as error:
            with suppress(OSError), self.path.open("rb") as file:
                refuse_as_video(file.read(START), name)
            raise PictureError(
                f"{name} is not a video that can be read, or it was not copied completely ({error.strerror})."
            ) from error
        try:
            if not self._container.streams.video:
                raise PictureError(f"{name} holds no video stream.")
            self.stream = self._container.streams.video[0]
            if self.stream.codec_context is None:
                raise PictureError(
                    f"{name} is damaged, or coded in a way that FFmpeg cannot decode here; copy it again, or convert "
                    "it to H.264."
                )
            # With its default, threads for slices, H.264 does not report damage.
            self.stream.thread_type = "FRAME"
            check_size(name, (self.stream.width, self.stream.height), self._max_pixels)
            self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 0)
            if self.rate <= 0:
                raise PictureError(f"{name} has no frame rate; convert it to a constant frame rate.")
            with self._sentences():
                self._look_at_first()
        except PictureError:
            self._container.close()
            raise
        self.frames = int(self.stream.frames)
        self._stated_end = _stated_end(self._container.format.name, self.stream, self.rate, self.path)
        self.has_sound = bool(self._container.streams.audio)
        self.metadata = kept_metadata(self._container.metadata)
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except import_av().error.FFmpegError as error:
            raise PictureError(f"{self.path.name} is damaged ({error.strerror}).") from error

    def _look_at_first(self) -> None:
        """Open the file a second time and decode a frame, since some properties are known only then."""
        with _opened(self.path) as container:
            first = next(_all_frames(container), None)
        if first is None:
            raise PictureError(f"{self.path.name} holds no frame that can be read.")
        self.turns = round(first.rotation / 90) % 4
        self.mirrored = _is_mirrored(first)
        # AVI numbers packets in the order of decoding, which with B-frames is not that in which frames are shown.
        self._times_of_packets = container.format.name == "avi" and bool(self.stream.codec_context.has_b_frames)
        self.start = Fraction(0) if self._times_of_packets else _time(first)
        self.interlaced = bool(first.interlaced_frame)
        self.transparent = any(component.is_alpha for component in first.format.components)
        self.grey = _is_grey(first)
        self._stored_size = size = (first.width, first.height)
        aspect = Fraction(self.stream.sample_aspect_ratio or 1) or Fraction(1)
        if self.turns % 2 == 1:
            size, aspect = size[::-1], 1 / aspect
        self.size, self.coding = size, _coding(first, self.stream.codec_context, aspect)

    @property
    def damaged(self) -> int:
        """Number of frames so far that FFmpeg reports as damaged or incomplete, or refuses; the latter are left out.

        Of HEVC, which FFmpeg leaves out without a report, also those that should have been shown between others. Not
        every format notices damage, and frames that are predicted from a damaged one are not reported.
        """
        first, last = self._shown
        lost = 0 if self.restarts else sum(first < pts < last for pts in self._without_frame - self._incomplete)
        # The packet before a seam is complete, but its counter does not go on.
        return self._damaged + max(lost, self._refused) + max(0, len(self._incomplete) - self.restarts)

    def pictures(self) -> Iterator[Frame]:
        """Yield the frames one by one; where the time stamps go back, the time goes on by the duration of a frame."""
        last, ahead = None, Fraction(0)
        with self._sentences():
            for number, (frame, time) in enumerate(self._timed_frames()):
                self._damaged += frame.is_corrupt
                if frame.pts is not None:
                    self._without_frame.discard(frame.pts)
                    self._shown = min(self._shown[0], frame.pts), frame.pts
                if frame.is_corrupt:
                    self._incomplete.discard(frame.pts)
                since = number / self.rate
                if time is not None and self.start is not None:
                    since = time - self.start + ahead
                    if last is not None and since < last:
                        self.restarts += 1
                        ahead += last + 1 / self.rate - since
                        since = last + 1 / self.rate
                last = since
                yield Frame(self._picture(frame), since)
        self._shown = self._shown[0], math.inf
        stated, end = self._stated_end, (self.start or 0) + (last or 0) + 1 / self.rate
        # Times in Matroska may include the end of the sound; other files count their frames.
        slack = _CUT_SHORT if "matroska" in self._container.format.name else Fraction(3, 2) / self.rate
        if stated is not None and stated - end > slack:
            self.missing = stated - end

    def changes_size(self) -> bool:
        """Whether a later frame has another size than the first; opens the file again, and decodes key frames only.

        It also counts the frames, of which a file that was cut off has fewer than it states.
        """
        changes, count = False, 0
        with self._sentences(), _opened(self.path) as container:
            container.streams.video[0].codec_context.skip_frame = "NONKEY"
            for packet in container.demux(container.streams.video[0]):
                count += packet.size > 0
                changes |= any((one.width, one.height) != self._stored_size for one in _frames_of(packet) or ())
        self.frames = count
        return changes

    def _timed_frames(self) -> Iterator[tuple[Any, Fraction | None]]:
        sent: deque[Fraction] = deque()
        is_hevc = self.stream.codec_context.name == "hevc"
        for packet in self._container.demux(self.stream):
            if self._times_of_packets and packet.size and packet.dts is not None:
                sent.append(packet.dts * packet.time_base)
            if packet.is_corrupt and packet.pts is not None:
                self._incomplete.add(packet.pts)
            if is_hevc and packet.size and packet.pts is not None and not packet.is_discard:
                self._without_frame.add(packet.pts)
            frames = _frames_of(packet)
            if frames is None:
                self._refused += 1
                self._incomplete.discard(packet.pts)
                if sent:
                    sent.pop()
                continue
            for frame in frames:
                if self._times_of_packets:
                    yield frame, sent.popleft() if sent else None
                else:
                    yield frame, _time(frame)

    def _picture(self, frame: Any) -> Picture:
        if self.grey:
            stored = frame.to_ndarray(format="gray16le" if frame.format.name != "gray" else None)
            if self.coding.full and stored.dtype != np.uint8:
                # Thermal cameras use a small part of 16 bits.
                return to_picture(Stored(self._upright(stored), (0, 65535), True), self.path.name)
            values = _unit(stored)
            values = values if self.coding.full else ((values - 16 / 255) * (255 / 219)).clip(0, 1)
            return Picture(np.ascontiguousarray(self._upright(values)), None, self.path.name)
        if frame.format.is_rgb or frame.format.has_palette:
            # From 8 to 16 bits, swscale is up to two of 255 levels off.
            kind = "rgb48le" if self.coding.bits > 8 else "rgb24"
            rgb = _unit(frame.reformat(format=kind, dst_color_range=FULL).to_ndarray())
        else:
            rgb = self._decoded(frame)
        luminance, chroma = split_colour(np.ascontiguousarray(self._upright(rgb)))
        return Picture(luminance, chroma, self.path.name)

    def _upright(self, values: np.ndarray) -> np.ndarray:
        return np.rot90(values[::-1] if self.mirrored else values, self.turns)

    def _decoded(self, frame: Any) -> np.ndarray:
        """R'G'B' in [0, 1] of Y'CbCr (ITU-T H.273); swscale's own is up to three levels too dark."""
        if frame.format.name == "yuvj444p":
            # There is no chroma to enlarge, and swscale would shift the levels by one.
            y, cb, cr = (256 * _samples(plane, "u1") for plane in frame.planes)
        else:
            # One range and one matrix on both sides, so that it only enlarges the chroma and shifts the bits.
            span = FULL if frame.format.name.startswith("yuvj") else LIMITED
            same = {"src_colorspace": 5, "dst_colorspace": 5, "src_color_range": span, "dst_color_range": span}
            y, cb, cr = (_samples(plane, "<u2") for plane in frame.reformat(format="yuv444p16le", **same).planes)
        bits = max(component.bits for component in frame.format.components)
        level = 1 << (16 - bits)
        spans = (0, level * (2**bits - 1), level * (2**bits - 1)) if self.coding.full else (4096, 219 * 256, 224 * 256)
        luma = (y - spans[0]) / spans[1]
        red_share, blue_share = WEIGHTS[self.coding.matrix]
        red = luma + (2 - 2 * red_share) * (cr - 32768) / spans[2]
        blue = luma + (2 - 2 * blue_share) * (cb - 32768) / spans[2]
        green = (luma - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
        return np.stack([red, green, blue], axis=-1).clip(0, 1)

    def sound_packets(self) -> Iterator[Any]:
        """Yield the packets of the first audio stream; opens the file again. Time 0 is that of the first frame.

        Where the time stamps go back, the time goes on after the packet before.
        """
        start = self.start or Fraction(0)
        shift, end, last = None, 0, 0
        with _opened(self.path) as container:
            for packet in container.demux(container.streams.audio[0]):
                if packet.dts is None:
                    continue
                if shift is None:
                    shift = round(start / packet.time_base)
                elif packet.dts - shift < last:
                    shift = packet.dts - end
                last = packet.dts - shift
                end = last + max(1, packet.duration or 0)
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                if packet.dts * packet.time_base > -_EARLY:
                    yield packet

    @property
    def sound_stream(self) -> Any:
        """The first audio stream, to be used as a template."""
        return self._container.streams.audio[0]


def _opened(path: Path) -> Any:
    av = import_av()
    # AVI files may hold text in any encoding. From PyAV 19 on, it is always read, and there is no option for it.
    options = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
    return av.open(str(path), **options)


def _all_frames(container: Any) -> Iterator[Any]:
    """The frames of the first video stream, without those that the decoder refuses."""
    for packet in container.demux(container.streams.video[0]):
        yield from _frames_of(packet) or ()


def _frames_of(packet: Any) -> list[Any] | None:
    """The frames that a packet completes; None if the decoder refuses it."""
    try:
        return packet.decode()
    except import_av().error.FFmpegError:
        return None


def _stated_end(container: str, stream: Any, rate: Fraction, path: Path) -> Fraction | None:
    """Seconds at which a stream ends, as its file states: Matroska and WebM the time, and AVI the frames.

    Of MP4 and MOV, the duration if the file is shorter than its boxes, since edit lists may leave frames out. Otherwise
    None.
    """
    if container == "avi":
        return stream.frames / rate if stream.frames else None
    if "mp4" in container:
        cut = stream.duration and _lacks_end_of_box(path)
        return ((stream.start_time or 0) + stream.duration) * stream.time_base if cut else None
    parts = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return Fraction(parts[1]) * 3600 + Fraction(parts[2]) * 60 + Fraction(parts[3]) if parts else None


def _lacks_end_of_box(path: Path) -> bool:
    """Whether an MP4 or MOV file ends within one of its boxes (ISO/IEC 14496-12, 4.2)."""
    with path.open("rb") as file:
        end, at = file.seek(0, 2), 0
        while at + 16 <= end:
            file.seek(at)
            length, _, long = struct.unpack(">I4sQ", file.read(16))
            length = long if length == 1 else length
            if length < 8:
                return False
            at += length
    return at > end


def _time(frame: Any) -> Fraction | None:
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def _coding(frame: Any, context: Any, aspect: Fraction) -> Coding:
    """The colour coding that a frame states, or else the stream, or else the name of the pixel format or the size."""
    matrix, primaries, transfer = (
        int(getattr(frame, name, None) or getattr(context, name, None) or UNKNOWN)
        for name in ("colorspace", "color_primaries", "color_trc")
    )
    full_by_name = frame.format.name.startswith("yuvj") or _is_grey(frame) or frame.format.is_rgb
    given = int(frame.color_range or 0)
    return Coding(
        matrix if matrix in WEIGHTS else 1 if min(frame.width, frame.height) >= _HD else 6,
        primaries,
        transfer,
        given == FULL or (given != LIMITED and full_by_name),
        10 if max(component.bits for component in frame.format.components) > 8 else 8,
        aspect,
    )


def _is_grey(frame: Any) -> bool:
    return bool(frame.format.name.startswith("gray"))


def _is_mirrored(frame: Any) -> bool:
    """Whether the frame is to be turned upside down, as in a mirror, before it is rotated."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False
    matrix = np.frombuffer(bytes(data), np.int32).astype(float)
    return bool(matrix[0] * matrix[4] < matrix[1] * matrix[3])


def _samples(plane: Any, kind: str) -> np.ndarray:
    return np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def halves(picture: Picture) -> tuple[Picture, Picture]:
    """Return the left and right half of an image; the middle column of an odd width is left out."""
    width = picture.size[0] // 2

    def part(columns: slice, side: str) -> Picture:
        chroma = None if picture.chroma is None else picture.chroma[:, :, columns]
        name = f"{picture.name} ({side})"
        return replace(picture, luminance=picture.luminance[:, columns], chroma=chroma, name=name)

    return part(slice(0, width), "left"), part(slice(picture.size[0] - width, None), "right")
