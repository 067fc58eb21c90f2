"""Standard output and error that cost no work: nobody may be reading, or not all characters be known."""

import io
import sys
from typing import Any


class _Patient(io.FileIO):
    """Writes to whoever reads; once nobody does, what is written is lost, and the work goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def keep_working_whoever_reads() -> None:
    """Let this program's output be cut off by its reader, or be in a character set without some of the characters.

    What has no character is replaced by ``?``. Streams that somebody else has put in place are left alone.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _patient(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _patient(sys.stderr)


def _patient(stream: Any) -> Any:
    # There may be none (pythonw), or one of somebody's own.
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    errors = stream.errors if stream.errors == "backslashreplace" else "replace"
    # With PYTHONUNBUFFERED there is no buffer in between.
    if stream.isatty() or not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
        stream.reconfigure(errors=errors)
        return stream
    stream.flush()
    buffer = io.BufferedWriter(_Patient(stream.fileno(), "wb", closefd=False))
    at_once = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(buffer, stream.encoding, errors, line_buffering=at_once)
