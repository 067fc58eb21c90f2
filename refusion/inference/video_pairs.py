"""Pair the frames of two videos by their times."""

from collections.abc import Iterator
from fractions import Fraction

from refusion.images.picture import Picture
from refusion.images.video import Video, halves
from refusion.inference.video_notes import length_note


def paired_frames(videos: list[Video], lead: Video, notes: list[str]) -> Iterator[tuple[Fraction, Picture, Picture]]:
    """Yield the times and both frames, each frame of `lead` with the nearest one of the other video.

    Args:
        videos: two open videos, or one that shows both side by side.
        lead: one of them, whose times the pairs have.
        notes: a sentence is added if one video is longer.

    Raises:
        PictureError: a video is damaged.
    """
    if len(videos) == 1:
        for frame in videos[0].pictures():
            yield (frame.time, *halves(frame.picture))
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
        pair = (frame.picture, near.picture)
        yield (frame.time, *(pair if lead is videos[0] else pair[::-1]))
        count, end = count + 1, frame.time + 1 / lead.rate
    if after is not None and after.time >= end:
        notes.append(length_note(other, lead, count, end))
