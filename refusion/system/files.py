"""Atomic file writes."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of file systems that do not support fsync."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block succeeds.

    If the block fails, the temporary file is removed and an existing `path` is unchanged. Where the file system cannot
    rename (some network shares and mounted object stores), the content is copied instead. If that fails too, the
    temporary file is kept.

    Raises:
        OSError: the folder is missing or not writable.
    """
    # Created with the permissions of an ordinary new file: some file systems do not allow changing them later.
    temporary = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    keep = False
    try:
        yield temporary
        try:
            temporary.replace(path)
        except IsADirectoryError:
            raise
        except OSError as error:
            keep = not _copied(temporary, path)
            if keep:
                raise OSError(
                    error.errno,
                    f"{error.strerror or error}; the new content is kept as {temporary.name}",
                    str(path),
                ) from error
    finally:
        if not keep:
            temporary.unlink(missing_ok=True)


def _copied(source: Path, target: Path) -> bool:
    try:
        shutil.copyfile(source, target)
    except OSError:
        return False
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and flush it to disk, so that not even a power failure leaves half of it."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `replacing` left by killed processes; no process may be writing `path`."""
    for file in path.parent.glob(f".{glob.escape(path.stem[:40])}-????????{path.suffix}"):
        file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
