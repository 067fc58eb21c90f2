"""Folders on a disk or in an object store (``s3://``, ``gs://``, ``abfs://``, ``hf://``, as pyarrow opens them)."""

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
    """A folder and all that is below it; it can be pickled.

    Attributes:
        filesystem: where it is.
        root: its path there.
    """

    filesystem: fs.FileSystem
    root: str

    @classmethod
    def at(cls, where: str | Path) -> "Store":
        """The folder at a path or URI; nothing is made.

        Raises:
            ValueError: the URI cannot be opened.
        """
        if "://" not in str(where):
            return cls(fs.LocalFileSystem(), str(Path(where).absolute()))
        try:
            filesystem, root = fs.FileSystem.from_uri(str(where))
        except (pa.ArrowException, OSError, ImportError) as error:
            raise ValueError(f"{without_secrets(str(where))} cannot be opened: {error}") from error
        return cls(filesystem, root.rstrip("/"))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.root.rpartition("/")[2] or self.root

    @property
    def path(self) -> Path | None:
        """Its path if it is on a disk."""
        return Path(self.root) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def files(self, below: str = "") -> dict[str, int]:
        """Sizes of the files in it, sorted by name; none if there is no such folder.

        Args:
            below: a folder in it.

        Raises:
            OSError: it cannot be listed.
        """
        selector = fs.FileSelector(f"{self.root}/{below}".rstrip("/"), allow_not_found=True, recursive=True)
        found = {info.path: info.size for info in self.filesystem.get_file_info(selector) if info.is_file}
        return {path.removeprefix(self.root).lstrip("/"): found[path] for path in sorted(found)}

    def names(self) -> list[str]:
        """Names of what lies in it, not below; none if there is no such folder."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            OSError: it is missing, or cannot be read.
        """
        with self.filesystem.open_input_file(f"{self.root}/{name}") as file:
            return file.readall()

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self.filesystem.get_file_info(f"{self.root}/{name}").type == fs.FileType.File

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all; see `finishing`."""
        with self.finishing(name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")

    @contextmanager
    def finishing(self, name: str) -> Iterator[Path]:
        """Give a path on a disk to write to; when the block ends well and all is kept, the file gets its name.

        Until then it is out of the way of patterns such as ``*.parquet``. Two processes may write the same file.

        Raises:
            OSError: it cannot be written.
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
                # Another process has just finished the same file, and cleaned up.
                if not target.exists():
                    raise
            _sync(target.parent)
            for leftover in waiting.glob(f"{target.stem}-*{target.suffix}"):
                leftover.unlink(missing_ok=True)
        finally:
            unfinished.unlink(missing_ok=True)


def without_secrets(uri: str) -> str:
    """A URI without user, password and query; a path as it is."""
    if "://" not in uri:
        return uri
    scheme, _, rest = uri.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
