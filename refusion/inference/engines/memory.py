"""Refuse images for which there is not enough memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from refusion.images.picture import PictureError
from refusion.system.advice import Advised

_NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "out of memory", "failed to allocate")
"""What ONNX Runtime and torch say, in small letters, where Python says MemoryError."""


def check_memory(count: int, height: int, width: int, needed: int, free: int) -> None:
    """Refuse images for which there is not enough memory, before the system ends the process for it.

    Args:
        count: pairs.
        height: of each image.
        width: of each image.
        needed: bytes that they need.
        free: bytes that can be had.

    Raises:
        PictureError: a sentence with what is needed and what is free.
    """
    if needed > free:
        cause = (
            f"{_asked_for(count, height, width)} needs {needed / 1e9:.1f} GB of memory to be fused, but only "
            f"{free / 1e9:.1f} GB are free for this process"
        )
        raise PictureError(_advised(cause, count))


@contextmanager
def enough_memory(count: int, height: int, width: int) -> Iterator[None]:
    """Say in a sentence that memory has run out all the same: others take some, or the system gives less than it says.

    Args:
        count: pairs.
        height: of each image.
        width: of each image.

    Raises:
        PictureError: memory ran out in the block.
    """
    try:
        yield
    # The errors of ONNX Runtime have nothing in common but that they are errors.
    except Exception as error:
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in _NO_MEMORY):
            raise
        cause = f"Memory ran out. {_asked_for(count, height, width)} needs more than there is"
        raise PictureError(_advised(cause, count)) from error


def _asked_for(count: int, height: int, width: int) -> str:
    size = f"{width} x {height} pixels"
    return f"A batch of {count} pairs of {size}" if count > 1 else f"An image of {size}"


def _advised(cause: str, count: int) -> Advised:
    if count > 1:
        return Advised(cause, "make the batch smaller", "make the images smaller")
    return Advised(
        cause,
        "close other programs, raise the limit of this one (ulimit, container), or make the images smaller",
        "make the images smaller",
    )
