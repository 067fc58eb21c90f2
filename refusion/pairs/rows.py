"""Rows of a source of pairs: undecoded images, in parts that any worker can read."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from refusion.images.picture import PictureError


@dataclass(frozen=True)
class Row:
    """One pair of a source.

    Attributes:
        index: its index in the source, from 0.
        id: its id in the source, or its index.
        sources: both images in the order of the task, for `refusion.images.read_picture`; a missing image raises
            `PictureError` when it is read.
    """

    index: int
    id: str
    sources: "tuple[Path | BinaryIO, Path | BinaryIO]"


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of a place: a row group, a table, or a pair of files."""

    place: Any
    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a source: the index of the first row, their number, and where they are."""

    first: int
    rows: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Source:
    """Pairs in a fixed order.

    Attributes:
        read: yields the rows of a part; raises `DataError` if they cannot be read. It can be pickled.
        places: where the rows are, and the number of rows in each place.
        names: digest of the names and the number of the rows.
        content: digest of file sizes or Parquet footers, which needs no reading of images; or the commit on the Hub.
        left_out: files without a partner, one sentence each.
        notes: other files that were left out, such as hidden ones, as sentences.
    """

    read: Callable[[Part], Iterator[Row]]
    places: Sequence[tuple[Any, int]]
    names: str
    content: str
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of rows."""
        return sum(rows for _, rows in self.places)

    def parts(self, size: int) -> list[Part]:
        """Split all rows into parts of `size` rows, fewer in the last one; the parts are always the same."""
        parts: list[Part] = []
        pieces: list[Piece] = []
        first = held = 0
        for place, rows in self.places:
            start = 0
            while start < rows:
                stop = min(rows, start + size - held)
                pieces.append(Piece(place, start, stop))
                held += stop - start
                start = stop
                if held == size:
                    parts.append(Part(first, held, tuple(pieces)))
                    first, held, pieces = first + held, 0, []
        return [*parts, Part(first, held, tuple(pieces))] if held else parts


class LazyFile(io.BytesIO):
    """A file whose content is fetched when it is first read."""

    def __init__(self, name: str, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self.name, self._fetch = name, fetch

    def seek(self, *place: Any) -> int:
        if not self.tell() and not self.getbuffer().nbytes:
            self.write(self._fetch())
        return super().seek(*place)


def unusable(sentence: str) -> LazyFile:
    """A file that raises `PictureError` with this sentence when it is read."""

    def refuse() -> bytes:
        raise PictureError(sentence)

    return LazyFile("", refuse)
