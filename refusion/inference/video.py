"""Two videos of one scene, or one that shows both side by side, fused frame by frame."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refusion.api import Model, load
from refusion.images.colour import fuse_chroma
from refusion.images.picture import Picture, PictureError, by
from refusion.images.reading import MAX_PIXELS, read_picture
from refusion.images.writing import to_array
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.finishing import fuse_luminance, fused_picture
from refusion.inference.output_range import Range, ends_of, find_range
from refusion.inference.preparation import Resize, prepare_pair, resize_pair
from refusion.system.files import replacing
from refusion.tasks import Anchor, ChromaRule, Engine, OutputRange, get_task

SMOOTHING_SECONDS = 1.0
"""Time in which the range of the luminance follows a change by 63 %."""

SAME_RATE = 0.001
"""Largest relative difference of frame rates that are taken for equal."""


class RangeSmoother:
    """Finds the output range of each frame, and lets it change only slowly, so that the picture does not flicker.

    Args:
        output_range: see `refusion.models.model.ReFusion.fuse`.
        frames_per_second: of the video.
        seconds: see `SMOOTHING_SECONDS`; 0 takes each frame's own range.
    """

    def __init__(self, output_range: OutputRange, frames_per_second: float, seconds: float = SMOOTHING_SECONDS) -> None:
        self._output_range = output_range
        self._keep = float(np.exp(-1 / (frames_per_second * seconds))) if seconds > 0 else 0.0
        self._range: Range | None = None

    def __call__(self, luminance: np.ndarray, *sources: np.ndarray) -> np.ndarray:
        """Bring the fused luminance of the next frame to the range; arrays (H, W)."""
        found = find_range(luminance, (ends_of(source) for source in sources), self._output_range)
        if found is not None:
            self._range = found if self._range is None else _between(found, self._range, self._keep)
        return luminance if self._range is None else self._range.apply(luminance)


def fuse_videos(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    task: str | None = None,
    model: Model | None = None,
    output_range: OutputRange | None = None,
    anchor: Anchor | None = None,
    chroma: ChromaRule | None = None,
    resize: Resize | None = None,
    smoothing: float = SMOOTHING_SECONDS,
    max_pixels: int = MAX_PIXELS,
    engine: Engine | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Fuse two videos, or one that shows the first source left and the second right.

    The result has the frame rate of the sources, H.264 at constant quality, and a copy of the first audio stream, that
    of the second source if it has one. Its length is that of the shorter source. It is written under a temporary name.

    Args:
        sources: two videos in the order of the task, or one.
        output: where to write; the suffix names the container, such as .mp4 or .mkv.
        task: see `refusion.api.fuse`.
        model: see `refusion.api.fuse`.
        output_range: see `ReFusion.fuse`; it follows changes only slowly.
        anchor: see `ReFusion.fuse`.
        chroma: see `ReFusion.fuse`.
        resize: which size both get if sizes differ.
        smoothing: see `RangeSmoother`.
        max_pixels: most pixels of a frame.
        engine: see `ReFusion.fuse`.
        device: see `refusion.api.load`.
        progress: called with the number of frames done and of all frames as far as the file says it, else 0.

    Returns:
        What a person should know, as sentences.

    Raises:
        PictureError: a video cannot be read or written, or frame rates or sizes differ.
        ValueError: there is no such choice.
    """
    paths = [Path(source) for source in sources]
    target = Path(os.path.realpath(output))
    if len(paths) not in (1, 2):
        raise ValueError(f"Fusion takes two videos, or one side by side, but {len(paths)} were given.")
    loaded = load(task, model, device, engine)
    chosen = get_task(task) if task else loaded.task
    wanted_anchor, wanted_chroma = anchor or chosen.anchor, chroma or chosen.chroma
    with ExitStack() as stack:
        videos = [stack.enter_context(_Video(path, max_pixels)) for path in paths]
        rate = _common_rate(videos)
        notes: list[str] = []
        smooth = RangeSmoother(output_range or chosen.output_range, float(rate), smoothing)
        pairs = _pairs(videos, notes)
        total = min(video.frames for video in videos)

        def fused_frames() -> Iterator[np.ndarray]:
            for done, (a, b) in enumerate(pairs, 1):
                a, b = _matched(a, b, resize)
                luminance = fuse_luminance(loaded, a.luminance, b.luminance, engine=engine)
                chooses = "choice" in (wanted_anchor, wanted_chroma)
                shares = choice_shares(luminance, a.luminance, b.luminance) if chooses else None
                luminance = anchor_luminance(luminance, a.luminance, b.luminance, wanted_anchor, shares)
                luminance = smooth(luminance, a.luminance, b.luminance)
                colour = fuse_chroma(a, b, wanted_chroma, shares)
                yield to_array(fused_picture(luminance, colour, None, (a, b), wanted_chroma))
                if progress is not None:
                    progress(done, total)

        sound = next((video for video in reversed(videos) if video.has_sound), None)
        with _writing(target), replacing(target) as temporary:
            if _encode(temporary, fused_frames(), rate, sound) == 0:
                raise PictureError(f"{paths[0].name} holds no frame that can be read.")
    return notes


def _between(new: Range, old: Range, keep: float) -> Range:
    mixed = {
        name: keep * getattr(old, name) + (1 - keep) * getattr(new, name)
        for name in ("low", "high", "lowest", "highest")
    }
    return replace(new, **mixed)


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise PictureError("Videos need one more package: pip install 'refusion[video]'.") from error
    return av


class _Video:
    """An open video; a context manager."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self._max_pixels = max_pixels

    def __enter__(self) -> "_Video":
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


def _common_rate(videos: list[_Video]) -> Fraction:
    rates = [video.rate for video in videos]
    if max(rates) > min(rates) * (1 + Fraction(SAME_RATE)):
        told = " and ".join(f"{video.path.name} {float(video.rate):g}" for video in videos)
        raise PictureError(f"The frame rates differ ({told} frames a second); bring them to one rate first.")
    return rates[0]


def _pairs(videos: list[_Video], notes: list[str]) -> Iterator[tuple[Picture, Picture]]:
    """Frames that belong together; notes what is left over at the end."""
    if len(videos) == 1:
        for picture in videos[0].pictures():
            yield _halves(picture)
        return
    ended = object()
    frames = itertools.zip_longest(*(video.pictures() for video in videos), fillvalue=ended)
    for index, (a, b) in enumerate(frames):
        if not isinstance(a, Picture) or not isinstance(b, Picture):
            longer = videos[0] if b is ended else videos[1]
            shorter = videos[1] if b is ended else videos[0]
            notes.append(
                f"{longer.path.name} is longer than {shorter.path.name}; the result ends with the latter, after "
                f"{index} frames ({index / float(shorter.rate):.2f} s)."
            )
            return
        yield a, b


def _halves(picture: Picture) -> tuple[Picture, Picture]:
    width = picture.size[0] // 2

    def part(columns: slice) -> Picture:
        chroma = None if picture.chroma is None else picture.chroma[:, :, columns]
        return replace(picture, luminance=picture.luminance[:, columns], chroma=chroma)

    return part(slice(0, width)), part(slice(picture.size[0] - width, None))


def _matched(a: Picture, b: Picture, resize: Resize | None) -> tuple[Picture, Picture]:
    if resize is not None:
        a, b = resize_pair(a, b, resize)
    prepared = prepare_pair(a, b, check_offset=False)
    return prepared.a, prepared.b


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn what cannot be written into a sentence."""
    try:
        yield
    except (_av().error.FFmpegError, OSError) as error:
        raise PictureError(f"{target.name} cannot be written: {error.strerror or error}.") from error


def _encode(path: Path, frames: Iterator[np.ndarray], rate: Fraction, sound: _Video | None) -> int:
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
