"""Fuse two videos of one scene, or one with both side by side, frame by frame."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np

from refusion.images.colour import colour_source
from refusion.images.picture import Picture, PictureError
from refusion.images.video import Video
from refusion.images.video_coding import Frame
from refusion.images.video_writing import WRITTEN_SUFFIXES, encode, is_written, writing
from refusion.inference.blank_borders import Borders, find_borders
from refusion.inference.finishing import anchored, fused_picture
from refusion.inference.network import Network, fuse_luminance
from refusion.inference.options import FinishOptions, Options
from refusion.inference.output_range import Range, ends_of, find_range
from refusion.inference.preparation import filled, prepare_pair, resize_pair, resize_picture
from refusion.inference.video_notes import (
    cut_note,
    damage_note,
    notes_on_frames,
    notes_on_video,
    rate_notes,
    restart_note,
)
from refusion.inference.video_pairs import check_sizes, lead_of, paired_frames
from refusion.system.files import replacing
from refusion.tasks import OutputRange, Resize, Task

SMOOTHING_SECONDS = 1.0
"""Time constant of the output range: the time in which it follows 63 % of a change."""

_BEGINNING = 1
"""Seconds in which the notes on the sources wait for frames of which none is uniform, as a shutter or a fade is."""

_Pair: TypeAlias = tuple[Fraction, Picture, Picture]
"""Time in seconds, and both frames."""

_FOR_IMAGES = {
    "align": ("--align, --motion", "frames are fused as they lie; register the videos first, and leave it out"),
    "align_border": ("--crop", "frames are fused whole; crop the videos first, and leave it out"),
    "window": ("--window, --window-a, --window-b, --own-range", "frames have the range of their video; leave it out"),
    "temperatures": ("--temperatures", "videos hold no temperatures; leave it out"),
    "nodata": ("--nodata", "every pixel of a frame has a value; leave it out"),
}
"""Options for images only: how a command names them, and what holds for videos."""


class RangeSmoother:
    """Smooths the output range over the frames of a video, so that it does not flicker.

    Args:
        output_range: see `refusion.inference.options.Options`.
        frames_per_second: frame rate of the video.
        seconds: see `SMOOTHING_SECONDS`; 0 disables smoothing.
    """

    def __init__(self, output_range: OutputRange, frames_per_second: float, seconds: float = SMOOTHING_SECONDS) -> None:
        self._output_range = output_range
        self._keep = float(np.exp(-1 / (frames_per_second * seconds))) if seconds > 0 else 0.0
        self._range: Range | None = None

    def __call__(self, luminance: np.ndarray, *sources: np.ndarray, chroma: np.ndarray | None = None) -> np.ndarray:
        """Scale the fused luminance of the next frame to the range; arrays are (H, W), chroma is (2, H, W)."""
        found = find_range(luminance, (ends_of(source) for source in sources), self._output_range, chroma)
        if found is not None:
            self._range = found if self._range is None else _between(found, self._range, self._keep)
        return luminance if self._range is None else self._range.apply(luminance)


def check_options(options: Options) -> None:
    """Refuse options that are for images only.

    Raises:
        ValueError: one of them is given.
    """
    for name, (flags, instead) in _FOR_IMAGES.items():
        given = getattr(options, name)
        # A no-data value of 0 is given, too.
        if given is not None and given is not False and given != "fill":
            raise ValueError(f"Videos were given with {name} ({flags}), which is for images only: {instead}.")


def fuse_videos(
    network: Network,
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: Options,
    task: Task,
    smoothing: float = SMOOTHING_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Fuse two videos, or one that shows the first source on the left and the second on the right.

    Frames are paired by their time since the beginning: each frame of the source with the higher frame rate, with the
    nearest frame of the other. The result has the times of the former, is H.264 at constant quality with the colour
    coding, depth and pixel aspect of the source that the colour comes from, and has a copy of the first audio stream,
    from the second source if it has one, unless its container does not support it. Time, place, title and camera are
    those of the source that the metadata of a fused image come from. Its length is that of the shorter source. Frames
    are turned upright, and mirrored if the file says so. Where the size of a source changes, its frames are resized to
    that of the first result, if `options.resize` is given. The result is written atomically.

    Args:
        network: a loaded model.
        sources: two videos in the order of the task, or one.
        output: path of the result; the suffix selects the container, such as .mp4 or .mkv.
        options: options of fusing.
        task: the task whose defaults apply.
        smoothing: seconds, see `RangeSmoother`.
        progress: called with the number of finished frames and of all frames, counted in the files.

    Returns:
        Notes for the user, as sentences.

    Raises:
        PictureError: a video cannot be read or written, or the sizes differ or change.
        ValueError: an option is for images only, or the output is not a video.
    """
    paths = [Path(source) for source in sources]
    target = Path(os.path.realpath(output))
    if len(paths) not in (1, 2):
        raise ValueError(f"Fusion takes two videos, or one side by side, but {len(paths)} were given.")
    check_options(options)
    if not is_written(target):
        raise ValueError(
            f"{target.name} is not the name of a video that can be written; fused videos are written as "
            f"{', '.join(WRITTEN_SUFFIXES)}."
        )
    finish = options.for_task(task)
    resizes = options.resize is not None
    with _opened(paths, options) as videos:
        check_sizes(videos, resizes=resizes)
        counts = [video.frames for video in videos]
    with _opened(paths, options) as videos:
        notes = [*options.notes(task), *(note for video in videos for note in notes_on_video(video))]
        lead = lead_of(videos)
        notes += rate_notes(videos)
        square = len({video.coding.aspect for video in videos}) > 1
        smooth = RangeSmoother(finish.output_range, float(lead.rate), smoothing)
        pairs: Iterator[_Pair] = paired_frames(videos, lead, notes, resizes=resizes)
        first = next(pairs, None)
        if first is None:
            raise PictureError(f"{paths[0].name} holds no frame that can be read.")
        of_first = colour_source(first[1:], finish.chroma) is first[1]
        owner = videos[0] if of_first else videos[-1]
        coding = replace(owner.coding, aspect=Fraction(1)) if square else owner.coding
        pairs = chain([first], pairs)
        # Frames are large, and this one is not needed for as long as the others are fused.
        del first
        total = min(round(count * lead.rate / video.rate) for count, video in zip(counts, videos, strict=True))
        pairs = _alike(pairs, videos if square else None, options.resize)
        pairs = _looked_at(pairs, total, task, notes)
        if options.fill_borders is not False:
            pairs = _without_borders(pairs, task, notes, white=options.fill_borders or task.one_camera)

        def fused_frames() -> Iterator[Frame]:
            for done, (time, a, b) in enumerate(pairs, 1):
                yield Frame(_fuse_frame(network, a, b, options, finish, smooth), time)
                if progress is not None:
                    progress(done, total)

        sound = next((video for video in reversed(videos) if video.has_sound), None)
        with writing(target), replacing(target) as temporary:
            encode(temporary, fused_frames(), lead.rate, coding, sound, notes, owner.metadata)
    return notes + _notes_after(videos)


def _notes_after(videos: list[Video]) -> list[str]:
    """Notes on what is known only when all frames have been read."""
    return [
        *(restart_note(video) for video in videos if video.restarts),
        *(cut_note(video) for video in videos if video.missing),
        *(damage_note(video) for video in videos if video.damaged),
    ]


@contextmanager
def _opened(paths: Sequence[Path], options: Options) -> Iterator[list[Video]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Video(path, options.max_pixels)) for path in paths]


def _alike(pairs: Iterator[_Pair], videos: list[Video] | None, resize: Resize | None) -> Iterator[_Pair]:
    """Yield the pairs with frames of one size, and with square pixels by the aspects of two videos, if given."""
    size = None
    for time, a, b in pairs:
        if videos is not None:
            a, b = (_square(frame, video) for frame, video in zip((a, b), videos, strict=True))
        a, b = _matched(a, b, resize, size)
        size = a.size
        yield time, a, b


def _looked_at(pairs: Iterator[_Pair], total: int, task: Task, notes: list[str]) -> Iterator[_Pair]:
    """Yield the pairs unchanged, and add notes on the first that shows something, or the first after the beginning."""
    looked = False
    for done, (time, a, b) in enumerate(pairs, 1):
        if not looked and (time >= _BEGINNING or done == total or not (_is_uniform(a) or _is_uniform(b))):
            looked = True
            notes.extend(notes_on_frames(a, b, task))
        yield time, a, b


def _without_borders(pairs: Iterator[_Pair], task: Task, notes: list[str], *, white: bool) -> Iterator[_Pair]:
    """Yield the pairs with the borders filled that one of the first frames has, and add the notes on them."""
    borders = Borders()
    for time, a, b in pairs:
        if not borders.notes and time < _BEGINNING:
            borders = find_borders(a, b, white=white, ramp=not task.one_camera)
            notes.extend(borders.notes)
        if borders.notes:
            a, b = (replace(frame, alpha=None) for frame in filled(*borders.cut(a, b)))
        yield time, a, b


def _fuse_frame(
    network: Network, a: Picture, b: Picture, options: Options, finish: FinishOptions, smooth: RangeSmoother
) -> Picture:
    luminance = fuse_luminance(network, a.luminance, b.luminance, engine=options.engine)
    luminance, colour = anchored(luminance, a, b, finish)
    luminance = smooth(luminance, a.luminance, b.luminance, chroma=colour)
    return fused_picture(luminance, colour, None, (a, b), finish.chroma)


def _between(new: Range, old: Range, keep: float) -> Range:
    mixed = {
        name: keep * getattr(old, name) + (1 - keep) * getattr(new, name)
        for name in ("low", "high", "lowest", "highest")
    }
    return replace(new, **mixed)


def _is_uniform(picture: Picture) -> bool:
    low, high = ends_of(picture.luminance)
    return low == high


def _square(picture: Picture, video: Video) -> Picture:
    """Resize to square pixels, at the displayed width."""
    width, height = picture.size
    return resize_picture(picture, (max(1, round(width * video.coding.aspect)), height))


def _matched(a: Picture, b: Picture, resize: Resize | None, size: tuple[int, int] | None) -> tuple[Picture, Picture]:
    """Bring both frames to the size of the frames before, or by the rule if there are none."""
    if size is not None and resize is not None:
        a, b = resize_picture(a, size), resize_picture(b, size)
    elif resize is not None:
        a, b = resize_pair(a, b, resize)
    prepared = prepare_pair(a, b, fill=False, check_offset=False)
    return prepared.a, prepared.b
