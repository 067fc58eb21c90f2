"""Batches in the demo, and how long their files are kept."""

import errno
import os
import zipfile

import gradio as gr
import pytest
from PIL import Image
from support.demo_client import (
    assert_same_picture,
    by_command,
)
from support.demo_server import files
from support.scenes import textured

from refusion.demo.batch import finish, fuse_batch, match
from refusion.demo.batch_events import BatchEvents
from refusion.demo.results import ResultFiles
from refusion.demo.service import Settings
from refusion.demo.showcase import Showcase
from refusion.tasks import TASKS


def test_a_batch_matches_names_fuses_the_good_and_lists_the_bad(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temp"))
    task = TASKS["ir-vis"]
    names = {"ir": ["street_ir", "yard", "alone", "torn"], "vis": ["street_vis", "yard", "torn"]}
    paths = {folder: [tmp_path / folder / f"{name}.png" for name in given] for folder, given in names.items()}
    for seed, (folder, given) in enumerate(paths.items()):
        (tmp_path / folder).mkdir()
        for index, path in enumerate(given):
            Image.fromarray(textured(10 * seed + index)).save(path)
    paths["vis"][2].write_bytes(paths["vis"][2].read_bytes()[:300])
    written = ResultFiles()
    batch = match(paths["ir"], paths["vis"], task)
    settings = Settings.checked(fusing.models, task, None, None, None, None, None)
    states = [len(b.done) for b in fuse_batch(batch, "me", settings, fusing, written, lambda _: lambda *_: None)]
    assert states == [1, 1, 2]
    archived = finish(batch)
    with zipfile.ZipFile(archived) as zipped:
        assert zipped.namelist() == ["street_fused.png", "yard_fused.png", "failed.txt"]
        assert zipped.testzip() is None
        failed = zipped.read("failed.txt").decode()
        zipped.extractall(tmp_path / "out")
    assert "alone.png: There is no visible image with this name" in failed
    assert "torn: torn.png cannot be decoded" in failed
    assert_same_picture(
        tmp_path / "out/street_fused.png",
        by_command(tmp_path, tmp_path / "ir/street_ir.png", tmp_path / "vis/street_vis.png"),
    )
    previews = [path for _, path in batch.previews]
    assert sorted(files(tmp_path / "temp")) == sorted([archived, *previews])


def test_a_batch_that_takes_longer_than_files_are_kept_loses_none(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temp"))
    task = TASKS["ir-vis"]
    paths = [tmp_path / folder / f"{name}.png" for folder in ("ir", "vis") for name in "ab"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(textured(seed)).save(path)
    written = ResultFiles()
    batch = match(paths[:2], paths[2:], task)
    settings = Settings.checked(fusing.models, task, None, None, None, None, None)
    states = fuse_batch(batch, "me", settings, fusing, written, lambda _: lambda *_: None)
    next(states)
    # As Gradio leaves a preview that is older than that.
    batch.previews[0][1].unlink()
    next(states)
    assert [name for name, _ in batch.previews] == ["b"]
    with zipfile.ZipFile(finish(batch)) as zipped:
        assert zipped.namelist() == ["a_fused.png", "b_fused.png"]
        assert zipped.testzip() is None


@pytest.mark.parametrize("method", ["write", "writestr"])
def test_an_archive_that_cannot_be_written_is_told_beside_what_was_fused(fusing, tmp_path, monkeypatch, method):
    """While the pairs are fused, and when the list of those that failed is added."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    uploads = {"ir": [], "vis": []}
    for seed, (folder, given) in enumerate(uploads.items()):
        (tmp_path / folder).mkdir()
        for name in ("good", f"alone {folder}"):
            path = tmp_path / folder / f"{name}.png"
            Image.fromarray(textured(seed)).save(path)
            given.append({"path": str(path)})

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/on/the/server")

    monkeypatch.setattr(zipfile.ZipFile, method, no_space)
    events = BatchEvents(fusing, ResultFiles(), Showcase(fusing))
    request, silent = gr.Request(session_hash="me"), lambda *_, **__: None
    states = list(events.run("ir-vis", "name", uploads["ir"], uploads["vis"], request, silent, *[None] * 5))
    note, status, *rest = states[-1]
    assert note == rest[0] == gr.skip()
    assert "cannot be read or written (No space left on device)" in status
    assert "server" not in status
    assert len(states) == (2 if method == "write" else 3)


def test_what_a_running_batch_needs_counts_as_new(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    written = ResultFiles()
    path = written.save(Image.new("L", (8, 8)), "x.png")
    os.utime(path, (0, 0))
    assert written.keep(path)
    assert path.stat().st_mtime > 0
    path.unlink()
    assert not written.keep(path)


def test_a_batch_matches_by_place(tmp_path):
    firsts = [tmp_path / name for name in ("a.png", "b/a.png", "c.png")]
    seconds = [tmp_path / name for name in ("z.png", "y.png")]
    batch = match(firsts, seconds, TASKS["medical"], by_place=True)
    assert batch.pairs == [("a", (firsts[0], seconds[0])), ("a_2", (firsts[1], seconds[1]))]
    assert batch.failed == [("c.png", "There is no MRI image at this position.")]
