"""Paths, atomic file writes, and checks of where they go."""

import errno
import glob
import os
import re
import secrets
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of file systems that do not support fsync."""

_UNFINISHED = ".refusion-unfinished-"
"""How the name of the temporary folder of `filling` begins."""

_OF_THE_SYSTEM = frozenset(
    {
        ".DS_Store", ".localized", ".Spotlight-V100", ".fseventsd", ".Trashes", ".TemporaryItems", ".directory",
        "lost+found", "Thumbs.db", "desktop.ini", "System Volume Information", "$RECYCLE.BIN",
    }
)  # fmt: skip
"""What macOS, Linux and Windows put into folders and onto disks."""

_APPLE_DOUBLE = "._"
"""How the names of files begin that macOS keeps beside others."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters, line breaks, and marks that turn the direction of text."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block succeeds.

    If the block fails, the temporary file is removed and an existing `path` is unchanged. Where the file system cannot
    rename (some network shares and mounted object stores), the content is copied instead. If that fails too, the
    temporary file is kept. Devices and pipes, such as /dev/stdout, are written to and never replaced.

    Raises:
        OSError: the folder is missing or not writable, or the name is too long for it; the block has not been run.
    """
    if is_stream(path):
        with tempfile.TemporaryDirectory(prefix="refusion-") as folder:
            written = Path(folder) / f"content{_suffix(path)}"
            yield written
            with written.open("rb") as content, path.open("ab") as stream:
                shutil.copyfileobj(content, stream)
        return
    # Created with the permissions of an ordinary new file: some file systems do not allow changing them later. Its
    # suffix is in lower case, since some libraries write to no other.
    temporary = path.with_name(f".{_stem(path)[:40]}-{secrets.token_hex(4)}{_suffix(path).lower()}")
    try:
        # The temporary name may be short enough where `path` is not.
        with suppress(FileNotFoundError):
            path.lstat()
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


def _suffix(path: Path) -> str:
    """The suffix by which programs know the format; both of a packed file, as in ``.nii.gz``."""
    return "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix


def _stem(path: Path) -> str:
    return path.name.removesuffix(_suffix(path))


def is_stream(path: Path) -> bool:
    """Whether this is a device, a pipe or an open file of this process, which must not be replaced by a new file."""
    folder = os.path.realpath(path.parent)
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return folder == "/dev" or folder.startswith("/proc/") or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _copied(source: Path, target: Path) -> bool:
    try:
        shutil.copyfile(source, target)
    except OSError:
        return False
    return True


def printable(name: str) -> str:
    """A file name as text that can be written anywhere, on one line.

    Bytes that are not UTF-8 become escapes such as ``\\udcff``. So do line breaks and control characters, such as
    ``\\n``, which could pass for other lines of a terminal.
    """
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def nfc(name: str) -> str:
    """Normalize a name to Unicode NFC, with each accented letter as one character."""
    return unicodedata.normalize("NFC", name)


def broken_link(path: Path) -> str | None:
    """What to do about a link that leads nowhere, as the end of a sentence that starts with its name; else None."""
    if not path.is_symlink() or path.exists():
        return None
    target = path.readlink()
    if os.path.lexists(path.parent / target):
        return f"is a link to {target}, which leads nowhere; remove the link"
    return f"is a link to {target}, which does not exist; add that file, or remove the link"


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; False for a name that is too long, at which `Path.exists` raises."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def files_matching(pattern: Path) -> list[Path]:
    """The files that a pattern such as ``part-*.parquet`` matches, sorted, but for hidden ones, which macOS adds.

    In the name of a folder that is there, brackets are no pattern.
    """
    if is_there(pattern.parent):
        found = pattern.parent.glob(pattern.name)
    else:
        found = Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor)))
    return sorted(path for path in found if not path.name.startswith("."))


def expand_home(path: str | Path) -> Path:
    """Replace ``~`` or ``~user`` at the start by the home folder; the path is unchanged if there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - `Path.expanduser` raises without such a user


def check_empty(folder: Path) -> None:
    """Check that a folder does not exist or is empty, but for what a killed `filling` left, and files of the system.

    Raises:
        ValueError: it is not empty, or not a folder.
    """
    if folder.exists() and (not folder.is_dir() or any(_counts(path.name) for path in folder.iterdir())):
        raise ValueError(f"{folder.name} is not an empty folder; give the name of a new one.")


def _counts(name: str) -> bool:
    return name not in _OF_THE_SYSTEM and not name.startswith((_UNFINISHED, _APPLE_DOUBLE))


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose content is moved to an empty folder when the block succeeds; created if missing.

    If the block fails, the folder stays empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)
    # Inside it: a folder that exists may be the working directory or a mount, which nothing can replace.
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as temporary:
        yield Path(temporary)
        for path in list(Path(temporary).iterdir()):
            path.rename(folder / path.name)


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
    for file in path.parent.glob(f".{glob.escape(_stem(path)[:40])}-????????{_suffix(path).lower()}"):
        file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))
