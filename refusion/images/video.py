"""Video streams: frames in, frames out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refusion.images.picture import Picture, PictureError, by
from refusion.images.reading import read_picture


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise PictureError("Videos need one more package: pip install 'refusion[video]'.") from error
    return av


class Video:
    """An open video; a context manager."""

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
        except PictureError:
            self._container.close()
            raise
        self.frames = int(self.stream.frames)
        self.has_sound = bool(self._container.streams.audio)
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def pictures(self) -> Iterator[Picture]:
        """The frames, one after the other."""
        av = _av()
        grey = self.stream.format is not None and self.stream.format.name.startswith("gray")
        try:
            for frame in self._container.decode(self.stream):
                array = frame.to_ndarray(format="gray" if grey else "rgb24")
                yield replace(read_picture(array, max_pixels=self._max_pixels), name=self.path.name)
        except av.error.FFmpegError as error:
            raise PictureError(f"{self.path.name} is damaged ({error.strerror}).") from error

    def sound_packets(self) -> Iterator[Any]:
        """The packets of the first audio stream, from a second look at the file."""
        with _av().open(str(self.path)) as container:
            yield from (packet for packet in container.demux(container.streams.audio[0]) if packet.dts is not None)

    @property
    def sound_stream(self) -> Any:
        """The first audio stream, as a template."""
        return self._container.streams.audio[0]


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


def encode(path: Path, frames: Iterator[np.ndarray], rate: Fraction, sound: Video | None) -> int:
    """Write frames and a copied sound; returns the number of frames."""
    av = _av()
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.options = {"crf": "16", "preset": "medium"}
        stream.pix_fmt = "yuv420p"
        copied = container.add_stream_from_template(sound.sound_stream) if sound is not None else None
        packets = sound.sound_packets() if sound is not None else iter(())
        waiting = next(packets, None)
        for count, array in enumerate(frames, 1):
            # H.264 with halved chroma needs even sides.
            array = array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), "gray" if array.ndim == 2 else "rgb24")
            if count == 1:
                stream.height, stream.width = array.shape[:2]
            container.mux(stream.encode(frame))
            while waiting is not None and float(waiting.dts * waiting.time_base) <= count / rate:
                waiting.stream = copied
                container.mux(waiting)
                waiting = next(packets, None)
        if count:
            container.mux(stream.encode())
    return count
