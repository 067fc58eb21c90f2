"""Stores on the file systems of Windows, emulated."""

import errno
import os
from pathlib import PureWindowsPath

import pytest

from refusion.system import stores
from refusion.system.stores import Store

fcntl = pytest.importorskip("fcntl", reason="on Windows the system itself refuses it")


def test_what_is_flushed_is_open_for_writing(tmp_path, monkeypatch):
    """Otherwise Windows refuses it; a folder cannot be opened for writing anywhere, and is not flushed there."""
    flushed = []

    def commit(handle: int) -> None:
        if os.stat(handle).st_mode & 0o170000 != 0o040000:
            if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            flushed.append(handle)

    monkeypatch.setattr(os, "fsync", commit)
    Store.at(tmp_path).write("data/rows.txt", "whole")
    assert (tmp_path / "data" / "rows.txt").read_text() == "whole"
    assert len(flushed) == 1


@pytest.mark.parametrize(
    ("given", "root"),
    [("out", "C:/data/out"), (r"runs\out", "C:/data/runs/out"), (r"\\server\share\out", "//server/share/out")],
)
def test_a_folder_of_windows_has_the_slashes_of_arrow(monkeypatch, given, root):
    class WindowsPath(PureWindowsPath):
        def absolute(self) -> "WindowsPath":
            return WindowsPath("C:/data") / self

    monkeypatch.setattr(stores, "Path", WindowsPath)
    store = Store.at(given)
    assert store.root == root
    assert store.name == "out"
