"""Read the images of a stack, resized and aligned to the first on request."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from refusion.images.picture import Picture, PictureError
from refusion.images.profiles import share_profile
from refusion.images.reading import Reading
from refusion.images.sources import PictureSource
from refusion.images.windows import Window
from refusion.inference.alignment import MIN_LINK_GAIN, Alignment, helpful_alignment
from refusion.inference.moving import move
from refusion.inference.offsets import offset_note
from refusion.inference.options import Options
from refusion.inference.preparation import resize_pair
from refusion.inference.registration import shift_of
from refusion.tasks import Motion


@dataclass
class StackReader:
    """Reads an image of a stack by its index, resized and aligned to the first on request.

    The first reads must be in order: each image is aligned to the previous one, whose focus or exposure is similar, and
    through the chain of these to the first.

    Attributes:
        exposures: whether the images differ in exposure.
        notes: notes on what was done to the images, as sentences.
        shown: bool (H, W), the pixels that all images show which were moved; None if none was.
    """

    sources: Sequence[PictureSource]
    options: Options
    reading: Reading
    windows: Sequence[Window | None]
    names: Sequence[str | None]
    motion: Motion | None
    exposures: bool
    notes: list[str] = field(default_factory=list)
    shown: np.ndarray | None = None
    _first: Picture | None = None
    _last: Picture | None = None
    _moves: dict[int, Alignment] = field(default_factory=dict)

    def __call__(self, index: int) -> Picture:
        picture = self.reading.one(self.sources[index], self.windows[index], self.names[index])
        if index == 0 or self._first is None:
            # Between reads, only alignment needs the pixels.
            self._first = picture.without_pixels() if self.motion is None else picture
            self._last = self._first
            return picture
        picture, note = share_profile(picture, self._first)
        if note and note not in self.notes:
            self.notes.append(note)
        if self.options.resize and picture.size != self._first.size:
            picture = resize_pair(self._first, picture, self.options.resize)[1]
        if self.motion is None or picture.size != self._first.size:
            return picture
        if index not in self._moves:
            self._moves[index] = self._chained(index, picture, self.motion)
            self.notes.append(self._moves[index].note(picture.name, self._first.name))
        found = self._moves[index]
        if not found.moves:
            return picture
        moved, shown = move(picture, found.matrix, self._first, exposures=self.exposures)
        self.shown = shown if self.shown is None else self.shown & shown
        return replace(moved, geo=())

    def _chained(self, index: int, picture: Picture, motion: Motion) -> Alignment:
        """The alignment of an image to the first."""
        assert self._first is not None
        assert self._last is not None
        link = self._link(self._last, picture, motion)
        self._last = replace(picture, chroma=None)
        before = self._moves.get(index - 1)
        if before is None or not before.moves:
            return link
        if not link.moves:
            return before
        matrix = link.matrix @ before.matrix
        shift = shift_of(matrix, picture.luminance.shape)
        richer = max(link.motion, before.motion, key=get_args(Motion).index)
        return Alignment(matrix, richer, shift, min(link.confidence, before.confidence), link.gain)

    @staticmethod
    def _link(last: Picture, picture: Picture, motion: Motion) -> Alignment:
        """The alignment of an image to the previous one.

        What is sharp in one and blurred in the other may seem to be scaled or turned. If the motion is uncertain
        therefore, simpler ones are tried.
        """
        motions = get_args(Motion)
        alike = motion == "similarity"
        uncertain = None
        for one in motions[motions.index(motion) :: -1]:
            try:
                found = helpful_alignment(last, picture, one, MIN_LINK_GAIN, alike=alike)
                return replace(found, tried=motion)
            except PictureError as error:
                uncertain = uncertain or error
        assert uncertain is not None
        raise uncertain


@dataclass
class OffsetNotes:
    """Checks each frame for an offset from the previous one, unless the frames are aligned anyway."""

    motion: Motion | None
    _last: Picture | None = None
    _found: list[str] = field(default_factory=list)

    def look_at(self, picture: Picture) -> None:
        if self.motion is not None:
            return
        small = replace(picture, chroma=None)
        if self._last is not None and (note := offset_note(self._last, small)):
            self._found.append(note)
        self._last = small

    @property
    def notes(self) -> list[str]:
        if len(self._found) < 2:
            return self._found
        more = len(self._found) - 1
        seem = "image seems" if more == 1 else "images seem"
        return [self._found[0], f"{more} more {seem} to lie off the one before."]
