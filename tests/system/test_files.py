"""Files that are whole or not there, also on file systems that can do less."""

import errno
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from refusion.system.files import (
    check_empty,
    expand_home,
    filling,
    remove_leftovers,
    replacing,
    write_bytes,
    write_text,
)


def refuse(*_, **__):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def fail_half_way(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("the disk is full")


def killed_while_filling(folder):
    with filling(folder) as made:
        (made / "half").write_text("half")
        os._exit(1)


def test_a_folder_that_a_killed_run_was_filling_counts_as_empty(tmp_path):
    folder = tmp_path / "space"
    process = multiprocessing.get_context("spawn").Process(target=killed_while_filling, args=(folder,))
    process.start()
    process.join()
    assert len(list(folder.iterdir())) == 1
    check_empty(folder)
    with filling(folder) as made:
        (made / "whole").write_text("whole")
    assert [path.name for path in folder.iterdir()] == ["whole"]
    with pytest.raises(ValueError, match="space is not an empty folder"):
        check_empty(folder)


@pytest.mark.parametrize("name", [".DS_Store", "._page.html", "Thumbs.db", "desktop.ini"])
def test_what_the_system_puts_into_a_folder_does_not_count(tmp_path, name):
    (tmp_path / name).write_text("kept")
    check_empty(tmp_path)
    with filling(tmp_path) as made:
        (made / "whole").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "whole"])
    assert (tmp_path / name).read_text() == "kept"


@pytest.mark.parametrize("name", [".git", ".env", "DS_Store"])
def test_other_files_and_hidden_ones_of_the_user_count(tmp_path, name):
    (tmp_path / name).write_text("kept")
    with pytest.raises(ValueError, match="is not an empty folder"):
        check_empty(tmp_path)


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "report.json"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_has_the_permissions_of_a_new_one(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "model.bin", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.bin").stat().st_mode) == 0o666 & ~mask


def test_nothing_asks_for_permissions_of_a_share_that_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)
    write_bytes(tmp_path / "fused.png", b"image")
    assert (tmp_path / "fused.png").read_bytes() == b"image"


def test_where_nothing_can_be_renamed_the_content_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", refuse)
    path = tmp_path / "fused.png"
    path.write_bytes(b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_get_its_name_is_kept_under_another(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", refuse)
    path = tmp_path / "fused.png"

    def write():
        with replacing(path) as temporary:
            temporary.write_bytes(b"work of an hour")
            # A folder in its place cannot be written over, whoever runs the tests.
            path.mkdir()

    with pytest.raises(OSError, match=r"kept as \.fused-\w+\.png") as refused:
        write()
    kept = next(file for file in tmp_path.iterdir() if file.is_file())
    assert kept.name in str(refused.value)
    assert kept.read_bytes() == b"work of an hour"


def test_a_missing_folder_is_told_by_the_name_that_was_given(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"report\.json"):
        write_text(tmp_path / "none" / "report.json", "")


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path):
    path = tmp_path / f"{'ü' * 130}.png"
    worked = False
    with pytest.raises(OSError, match=r"ü\.png") as refused, replacing(path):
        worked = True
    assert refused.value.errno == errno.ENAMETOOLONG
    assert not worked
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_bytes_and_text_are_flushed_to_disk(tmp_path, monkeypatch):
    flushed = []

    def fsync(file):
        flushed.append(Path(f"/proc/self/fd/{file}").read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "bytes", b"some bytes")
    write_text(tmp_path / "text", "ein Wörtchen")
    assert flushed == [b"some bytes", "ein Wörtchen".encode()]
    assert (tmp_path / "text").read_text(encoding="utf-8") == "ein Wörtchen"


def test_a_home_folder_is_filled_in_where_there_is_such_a_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home("~/x") == Path("/home/me/x")
    assert expand_home("~nobody-here/x") == Path("~nobody-here/x")


@pytest.mark.parametrize(("name", "suffix"), [("model.bin", ".bin"), ("fused.nii.gz", ".nii.gz")])
def test_leftovers_of_killed_processes_go(tmp_path, name, suffix):
    path = tmp_path / name
    with replacing(path) as temporary:
        left = temporary
    assert left.name.endswith(suffix)
    left.write_bytes(b"half")
    path.unlink()
    remove_leftovers(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to_and_not_replaced(tmp_path, linked):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link.json"
        path.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(path, "scores")
        assert os.read(reader, 100) == b"scores"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert path.is_symlink() == linked


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_an_open_file_is_written_to_and_not_replaced(tmp_path):
    with (tmp_path / "out.txt").open("w+") as file:
        file.write("before\n")
        file.flush()
        write_text(Path(f"/proc/self/fd/{file.fileno()}"), "scores")
    assert (tmp_path / "out.txt").read_text() == "before\nscores"
    assert len(list(tmp_path.iterdir())) == 1
