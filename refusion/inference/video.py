"""Two videos of one scene, or one that shows both side by side, fused frame by frame."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from refusion.images.colour import fuse_chroma
from refusion.images.picture import Picture, PictureError
from refusion.images.video import Video, encode, halves, writing
from refusion.images.writing import to_array
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.finishing import fused_picture
from refusion.inference.network import Network, fuse_luminance
from refusion.inference.options import FinishOptions, Options, Resize
from refusion.inference.output_range import Range, ends_of, find_range
from refusion.inference.preparation import prepare_pair, resize_pair
from refusion.system.files import replacing
from refusion.tasks import OutputRange, Task

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
    network: Network,
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: Options,
    task: Task,
    smoothing: float = SMOOTHING_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Fuse two videos, or one that shows the first source left and the second right.

    The result has the frame rate of the sources, H.264 at constant quality, and a copy of the first audio stream, that
    of the second source if it has one. Its length is that of the shorter source. It is written under a temporary name.

    Args:
        network: a loaded model.
        sources: two videos in the order of the task, or one.
        output: where to write; the suffix names the container, such as .mp4 or .mkv.
        options: what is asked for; the output range follows changes only slowly.
        task: the task whose defaults count.
        smoothing: see `RangeSmoother`.
        progress: called with the number of frames done and of all frames as far as the file says it, else 0.

    Returns:
        What a person should know, as sentences.

    Raises:
        PictureError: a video cannot be read or written, or frame rates or sizes differ.
        ValueError: an option is for images only.
    """
    paths = [Path(source) for source in sources]
    target = Path(os.path.realpath(output))
    if len(paths) not in (1, 2):
        raise ValueError(f"Fusion takes two videos, or one side by side, but {len(paths)} were given.")
    for name in ("align", "window", "temperatures"):
        if getattr(options, name):
            raise ValueError(f"Videos are fused as they are; leave {name} out.")
    finish = options.for_task(task)
    with ExitStack() as stack:
        videos = [stack.enter_context(Video(path, options.max_pixels)) for path in paths]
        rate = _common_rate(videos)
        notes: list[str] = []
        smooth = RangeSmoother(finish.output_range, float(rate), smoothing)
        pairs = _pairs(videos, notes)
        total = min(video.frames for video in videos)

        def fused_frames() -> Iterator[np.ndarray]:
            for done, (a, b) in enumerate(pairs, 1):
                yield _fuse_frame(network, *_matched(a, b, options.resize), options, finish, smooth)
                if progress is not None:
                    progress(done, total)

        sound = next((video for video in reversed(videos) if video.has_sound), None)
        with writing(target), replacing(target) as temporary:
            if encode(temporary, fused_frames(), rate, sound) == 0:
                raise PictureError(f"{paths[0].name} holds no frame that can be read.")
    return notes


def _fuse_frame(
    network: Network, a: Picture, b: Picture, options: Options, finish: FinishOptions, smooth: RangeSmoother
) -> np.ndarray:
    luminance = fuse_luminance(network, a.luminance, b.luminance, engine=options.engine)
    chooses = "choice" in (finish.anchor, finish.chroma)
    shares = choice_shares(luminance, a.luminance, b.luminance) if chooses else None
    luminance = anchor_luminance(luminance, a.luminance, b.luminance, finish.anchor, shares)
    luminance = smooth(luminance, a.luminance, b.luminance)
    colour = fuse_chroma(a, b, finish.chroma, shares)
    return to_array(fused_picture(luminance, colour, None, (a, b), finish.chroma))


def _between(new: Range, old: Range, keep: float) -> Range:
    mixed = {
        name: keep * getattr(old, name) + (1 - keep) * getattr(new, name)
        for name in ("low", "high", "lowest", "highest")
    }
    return replace(new, **mixed)


def _common_rate(videos: list[Video]) -> Fraction:
    rates = [video.rate for video in videos]
    if max(rates) > min(rates) * (1 + Fraction(SAME_RATE)):
        told = " and ".join(f"{video.path.name} {float(video.rate):g}" for video in videos)
        raise PictureError(f"The frame rates differ ({told} frames a second); bring them to one rate first.")
    return rates[0]


def _pairs(videos: list[Video], notes: list[str]) -> Iterator[tuple[Picture, Picture]]:
    """Frames that belong together; notes what is left over at the end."""
    if len(videos) == 1:
        for picture in videos[0].pictures():
            yield halves(picture)
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


def _matched(a: Picture, b: Picture, resize: Resize | None) -> tuple[Picture, Picture]:
    if resize is not None:
        a, b = resize_pair(a, b, resize)
    prepared = prepare_pair(a, b, check_offset=False)
    return prepared.a, prepared.b
