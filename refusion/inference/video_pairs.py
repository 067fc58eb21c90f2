"""Pair the frames of two videos by their times."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from refusion.images.picture import Picture, PictureError
from refusion.images.video import Video, halves
from refusion.images.video_coding import Frame
from refusion.inference.preparation import SAME_SHAPE
from refusion.inference.video_notes import length_note, size_change
from refusion.system.advice import Advised


def paired_frames(
    videos: list[Video], lead: Video, notes: list[str], *, resizes: bool = False
) -> Iterator[tuple[Fraction, Picture, Picture]]:
    """Yield the times and both frames, each frame of `lead` with the nearest one of the other video.

    Args:
        videos: two open videos, or one that shows both side by side.
        lead: one of them, whose times the pairs have.
        notes: a sentence is added if one video is longer, and for each video whose size changes.
        resizes: whether the caller resizes frames whose size differs from that of the first one.

    Raises:
        PictureError: a video is damaged, or its size changes and frames are not resized or would be distorted.
    """
    changed: set[Video] = set()

    def checked(frame: Frame, video: Video) -> Picture:
        if frame.picture.size != video.size:
            _check_change(frame, video, resizes)
            if video not in changed:
                changed.add(video)
                notes.append(f"{size_change(frame, video)}; such frames are scaled to the size of the result.")
        return frame.picture

    if len(videos) == 1:
        for frame in videos[0].pictures():
            yield (frame.time, *halves(checked(frame, videos[0])))
        return
    other = videos[1] if lead is videos[0] else videos[0]
    coming = other.pictures()
    near, after = next(coming, None), next(coming, None)
    if near is None:
        return
    count, end, lasts = 0, Fraction(0), 1 / other.rate
    for frame in lead.pictures():
        while after is not None and abs(after.time - frame.time) <= abs(near.time - frame.time):
            lasts = max(1 / other.rate, after.time - near.time)
            near, after = after, next(coming, None)
        if after is None and frame.time >= near.time + lasts - 1 / (2 * lead.rate):
            notes.append(length_note(lead, other, count, end))
            return
        pair = (checked(frame, lead), checked(near, other))
        yield (frame.time, *(pair if lead is videos[0] else pair[::-1]))
        count, end = count + 1, frame.time + 1 / lead.rate
    while after is not None and after.time < end:
        after = next(coming, None)
    if after is not None:
        notes.append(length_note(other, lead, count, end))


def lead_of(videos: Sequence[Video]) -> Video:
    """The video whose times the pairs have: that of the higher frame rate, the second one if they are equal."""
    return max(reversed(videos), key=lambda video: video.rate)


def check_sizes(videos: list[Video], *, resizes: bool) -> None:
    """Refuse videos of which `paired_frames` would refuse a frame, before anything is fused.

    Args:
        videos: open videos; if the size of one changes, their frames are read.
        resizes: as for `paired_frames`.

    Raises:
        PictureError: see `paired_frames`.
    """
    # All of them are read, since each also counts its frames.
    changes = [video.changes_size() for video in videos]
    if any(changes):
        for _ in paired_frames(videos, lead_of(videos), [], resizes=resizes):
            pass


def _check_change(frame: Frame, video: Video, resizes: bool) -> None:
    """Refuse a frame of another size than the first one, unless it can be resized."""
    change = size_change(frame, video)
    ratio = (frame.picture.size[0] / frame.picture.size[1]) / (video.size[0] / video.size[1])
    if abs(ratio - 1) > SAME_SHAPE:
        raise PictureError(
            f"{change}, and scaling would distort these frames; cut the video there, and fuse the parts one by one."
        )
    if not resizes:
        raise PictureError(
            Advised(
                change,
                "scale its frames to one size first, or have them scaled (--resize larger, resize='larger')",
                "scale its frames to one size first",
            )
        )
