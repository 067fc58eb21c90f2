"""Reject images for which there is not enough memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from refusion.images.picture import PictureError
from refusion.system.advice import Advised

_NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "out of memory", "failed to allocate")
"""Lower-case messages of ONNX Runtime and torch when memory runs out, instead of a MemoryError."""


def check_memory(count: int, height: int, width: int, needed: int, free: int) -> None:
    """Reject images for which there is not enough memory, before the system kills the process.

    Args:
        count: number of pairs.
        height: height of each image.
        width: width of each image.
        needed: required memory in bytes.
        free: free memory in bytes.

    Raises:
        PictureError: more memory is needed than is free; the message gives both.
    """
    if needed > free:
        cause = (
            f"{_asked_for(count, height, width)} needs {needed / 1e9:.1f} GB of memory to be fused, but only "
            f"{free / 1e9:.1f} GB are free for this process"
        )
        raise PictureError(_advised(cause, count))


@contextmanager
def enough_memory(count: int, height: int, width: int) -> Iterator[None]:
    """Turn out-of-memory errors into a clear message; free memory may shrink or be less than the system reports.

    Args:
        count: number of pairs.
        height: height of each image.
        width: width of each image.

    Raises:
        PictureError: memory ran out in the block.
    """
    try:
        yield
    # The exceptions of ONNX Runtime have no common base class but Exception.
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
