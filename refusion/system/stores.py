"""Folders on disk or in an object store that pyarrow supports (``s3://``, ``gs://``, ``abfs://``, ``hf://``)."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Store:
    """A folder and everything below it; can be pickled.

    Attributes:
        filesystem: the file system that holds it.
        root: its path in this file system.
    """

    filesystem: fs.FileSystem
    root: str

    @classmethod
    def at(cls, where: str | Path) -> "Store":
        """Return the folder at a path or URI; nothing is created.

        Raises:
            ValueError: the URI cannot be opened.
        """
        if "://" not in str(where):
            # Arrow lists files with slashes, on Windows, too.
            return cls(fs.LocalFileSystem(), Path(where).absolute().as_posix())
        try:
            filesystem, root = fs.FileSystem.from_uri(str(where))
        except (pa.ArrowException, OSError, ImportError) as error:
            raise ValueError(f"{without_secrets(str(where))} cannot be opened: {error}") from error
        return cls(filesystem, root.rstrip("/"))

    @property
    def name(self) -> str:
        """The last component of its path."""
        return self.root.rpartition("/")[2] or self.root

    @property
    def path(self) -> Path | None:
        """Its path if it is on disk, else None."""
        return Path(self.root) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def files(self, below: str = "") -> dict[str, int]:
        """Sizes in bytes of the files in it and below, sorted by name; empty if the folder does not exist.

        Args:
            below: list only this subfolder.

        Raises:
            OSError: the folder cannot be listed.
        """
        selector = fs.FileSelector(f"{self.root}/{below}".rstrip("/"), allow_not_found=True, recursive=True)
        found = {info.path: info.size for info in self.filesystem.get_file_info(selector) if info.is_file}
        return {path.removeprefix(self.root).lstrip("/"): found[path] for path in sorted(found)}

    def names(self) -> list[str]:
        """Names of the files and folders directly in it; empty if the folder does not exist."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            OSError: the file is missing or cannot be read.
        """
        with self.filesystem.open_input_file(f"{self.root}/{name}") as file:
            return file.readall()

    def exists(self, name: str) -> bool:
        """Whether there is a file with this name."""
        return self.filesystem.get_file_info(f"{self.root}/{name}").type == fs.FileType.File

    def write(self, name: str, text: str) -> None:
        """Write a UTF-8 text file atomically; see `finishing`."""
        with self.finishing(name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")

    @contextmanager
    def finishing(self, name: str) -> Iterator[Path]:
        """Yield a path on disk to write to; the file gets its name when the block succeeds and its content is stored.

        Until then, patterns such as ``*.parquet`` do not match it. Two processes may write the same file.

        Raises:
            OSError: the file cannot be written.
        """
        if self.path is None:
            with tempfile.TemporaryDirectory() as folder:
                yield (unfinished := Path(folder) / Path(name).name)
                fs.copy_files(str(unfinished), f"{self.root}/{name}", fs.LocalFileSystem(), self.filesystem)
            return
        target, waiting = self.path / name, self.path / _UNFINISHED
        waiting.mkdir(parents=True, exist_ok=True)
        unfinished = waiting / f"{target.stem}-{uuid4().hex}{target.suffix}"
        try:
            yield unfinished
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _sync(unfinished)
                unfinished.replace(target)
            except FileNotFoundError:
                # Another process has just finished the same file and cleaned up.
                if not target.exists():
                    raise
            _sync(target.parent)
            for leftover in waiting.glob(f"{target.stem}-*{target.suffix}"):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            # Arrow names no file, and the unfinished one is gone when its name is read.
            if error.filename not in (None, str(unfinished)):
                raise
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, reason, str(target)) from error
        finally:
            unfinished.unlink(missing_ok=True)


def without_secrets(uri: str) -> str:
    """A URI without its user, password and query; a path unchanged."""
    if "://" not in uri:
        return uri
    scheme, _, rest = uri.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    # Windows flushes only what is open for writing, and a folder cannot be opened for that.
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
