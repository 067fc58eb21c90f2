"""Writing files so that none is ever half there."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems answer that cannot tell when a file is on disk."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its place when the block ends well.

    If the block fails, the temporary file is removed and an earlier `path` stays as it was. Where the file system does
    not rename (some network shares and mounted object stores), the content is copied instead. If that fails, too, the
    temporary file is kept.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    # Made with the permissions of an ordinary new file: there are file systems on which they cannot be changed.
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
                    f"{error.strerror or error}; what was to be written is kept as {temporary.name}",
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
    """Write a file whole or not at all, and down to the disk, so that not even a power cut leaves half of it."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `replacing` that killed processes left; none may be writing `path` now."""
    for file in path.parent.glob(f".{glob.escape(path.stem[:40])}-????????{path.suffix}"):
        file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
