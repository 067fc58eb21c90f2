"""Standard output and error that never stop the program: the reader may be gone, or an encoding lack characters."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _PipeTolerantFile(io.FileIO):
    """A file that discards what is written once the reader has closed the pipe, instead of raising.

    Any other error, such as a full disk, is raised once, and not again when the program ends.
    """

    _failed = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self._failed or isinstance(error, BrokenPipeError):
                return memoryview(data).nbytes
            self._failed = True
            raise


def keep_working_whoever_reads() -> None:
    """Keep the program running when its output is cut off by the reader, or cannot be encoded.

    Characters that cannot be encoded become ``?``, or escapes on standard error. Streams that were already replaced
    (by a notebook or a test) are left alone.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _tolerant(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _tolerant(sys.stderr)


def leave_out_library_warnings() -> None:
    """Leave out the warnings of libraries that read images, such as on EXIF data of cameras that break the standard.

    Also left out is what torch says of a deprecated function that its own derivatives use, and what loky says of a
    worker that it replaced. Warnings show lines of source code; what matters to the user is a note or an error. They
    stay with `python -W`, and those of OpenCV, which must not have been imported yet, with the environment variable
    ``OPENCV_LOG_LEVEL``.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"(PIL|flyr|imagecodecs|loky|pillow_heif|pydicom|tifffile)(\.|$)")
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning, r"torch\.jit\.")


@contextmanager
def without_library_errors() -> Iterator[None]:
    """Discard what libraries of C and C++ write to standard error within the block, past Python."""
    try:
        kept = os.dup(2)
    except OSError:
        # There is no standard error (pythonw, some services).
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _tolerant(stream: Any) -> Any:
    # It may be None (pythonw), or not a text file.
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    errors = stream.errors if stream.errors == "backslashreplace" else "replace"
    # With PYTHONUNBUFFERED there is no buffer in between.
    if stream.isatty() or not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
        stream.reconfigure(errors=errors)
        return stream
    stream.flush()
    buffer = io.BufferedWriter(_PipeTolerantFile(stream.fileno(), "wb", closefd=False))
    at_once = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(buffer, stream.encoding, errors, line_buffering=at_once)
