"""Errors of data sets, for people."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataError(ValueError):
    """A data set cannot be used; the message names the files and says what to do."""


@contextmanager
def reading_pairs(source: str | Path) -> Iterator[None]:
    """Name the data set in a system error of the block, in which it is read.

    Raises:
        DataError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        raise DataError(f"The pairs in {source} cannot be read: {error.strerror or error}{where}.") from error
