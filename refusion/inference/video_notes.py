"""Notes for the user on the videos that are fused, as sentences."""

from collections.abc import Sequence
from fractions import Fraction

from refusion.images.picture import Picture, by, range_note
from refusion.images.roles import role_notes
from refusion.images.video import Video
from refusion.images.video_coding import Frame
from refusion.inference.offsets import offset_note
from refusion.inference.preparation import same_picture
from refusion.system.advice import without_options
from refusion.tasks import Task

SAME_RATE = 0.001
"""Frame rates whose relative difference is at most this are treated as equal."""


def notes_on_video(video: Video) -> list[str]:
    """Notes on an open video, before its frames are read."""
    notes = []
    if video.interlaced:
        notes.append(f"{video.path.name} is interlaced: its frames show two moments each; deinterlace it first.")
    if video.transparent:
        notes.append(f"{video.path.name} has transparency, which is ignored.")
    width, height = video.size
    if width % 2 or height % 2:
        notes.append(f"{video.path.name} has an odd side; the last row or column is repeated in the result.")
    return notes


def notes_on_frames(a: Picture, b: Picture, task: Task) -> list[str]:
    """Notes on two frames of one moment, as those on a pair of images; videos have no options to follow the advice."""
    found = [range_note([a]), range_note([b]), *role_notes(a, b, task)]
    if same_picture(a, b):
        found.append(f"The first frames of {a.name} and {b.name} are the same picture.")
    elif task.same_edges:
        found.append(offset_note(a, b))
    return [without_options(note) for note in found if note]


def restart_note(video: Video) -> str:
    """The note on a video whose time stamps went back."""
    times = "once" if video.restarts == 1 else f"{video.restarts} times"
    sound = "; its sound may be out of step from there on" if video.has_sound else ""
    return (
        f"The time stamps of {video.path.name} restart {times}, as in clips joined byte by byte: each part is taken to "
        f"follow the one before without a gap{sound}."
    )


def damage_note(video: Video) -> str:
    """The note on a video with frames that the decoder reported as damaged."""
    frames = "1 frame" if video.damaged == 1 else f"{video.damaged} frames"
    return (
        f"{video.path.name} is damaged: {frames} could not be decoded without errors, and those that follow may be "
        "wrong until the next key frame; copy or export it again."
    )


def cut_note(video: Video) -> str:
    """The note on a video that ended before the time that its file states."""
    return (
        f"{video.path.name} ends {float(video.missing):.2f} s before the time that it states, so it seems to be cut "
        "off; copy it again."
    )


def rate_notes(videos: Sequence[Video]) -> list[str]:
    """A note if the frame rates differ."""
    rates = [float(video.rate) for video in videos]
    if max(rates) <= min(rates) * (1 + SAME_RATE):
        return []
    told = " and ".join(f"{video.path.name} {rate:.4g}" for video, rate in zip(videos, rates, strict=True))
    return [f"The frame rates differ ({told} frames a second): some frames of the slower one are repeated."]


def size_change(frame: Frame, video: Video) -> str:
    """The beginning of a sentence on a frame whose size differs from that of the first frame of its video."""
    return (
        f"The size of {video.path.name} changes from {by(video.size)} to {by(frame.picture.size)} (width x height) "
        f"after {float(frame.time):.2f} s"
    )


def length_note(longer: Video, shorter: Video, count: int, end: Fraction) -> str:
    """The note on a video that is longer than the other, whose last frame, number `count`, ends at `end` seconds."""
    frames = "1 frame" if count == 1 else f"{count} frames"
    return (
        f"{longer.path.name} is longer than {shorter.path.name}; the result ends with the latter, after {frames} "
        f"({float(end):.2f} s)."
    )
