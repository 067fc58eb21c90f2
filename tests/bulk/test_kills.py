"""What a kill leaves, at whatever moment and of whichever process: every row is there once, and the same."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from support.bulk import finish, kill_when, pairs, results, shards, spoil, start, write
from support.command import refusion, stopped_after

import refusion as package

MODEL = "refusion-ir-vis"
"""The workers load it without torch."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, Path]:
    """Twenty rows, four of which fail, and what becomes of them if nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    source, out = write(folder / "pairs.parquet", spoil(pairs(20))), folder / "out"
    finish(start(source=source, out=out, model=MODEL, rows_per_shard=4, workers=1))
    assert sorted(results(out)) == list(range(20))
    return source, out


# One after the other on the same folder: before the first shard, right after one, while one is written.
def test_kills_lose_and_double_nothing(uninterrupted, tmp_path):
    source, whole = uninterrupted
    out = tmp_path / "out"
    arguments = {"source": source, "out": out, "model": MODEL, "rows_per_shard": 4, "workers": 1}
    counts = []
    for rows in (0, 4, 4):
        process = start(kill_after=rows, **arguments)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        counts.append(len(shards(out)) if (out / "data").exists() else 0)
    assert counts == [0, 1, 2]
    kill_when(start(**arguments), lambda: any((out / ".unfinished").glob("rows-*")))
    assert len(results(out)) < 20
    process = start(**arguments)
    finish(process)
    assert results(out) == results(whole)
    assert shards(out) == shards(whole)
    assert not list((out / ".unfinished").iterdir())


def test_ctrl_c_says_that_the_same_command_resumes(uninterrupted, tmp_path):
    source, whole = uninterrupted
    command = "fuse-dataset", source, tmp_path / "out", "--model", MODEL, "--rows-per-shard", 4, "--workers", 1
    with stopped_after(4):
        stopped = refusion(*command)
    assert stopped.code == 130
    assert stopped.err == "The run was stopped. Its finished parts are kept; the same command fuses the others."
    assert len(shards(tmp_path / "out")) == 1
    assert "4 of these rows done before" in refusion(*command).out
    assert results(tmp_path / "out") == results(whole)


def test_kills_of_several_workers_and_of_the_process_that_started_them(uninterrupted, tmp_path):
    source, whole = uninterrupted
    out = tmp_path / "out"
    arguments = {"source": source, "out": out, "model": MODEL, "rows_per_shard": 4}
    process = start(workers=2, **arguments)
    workers: list[psutil.Process] = []

    def a_shard_is_there() -> bool:
        workers[:] = psutil.Process(process.pid).children(recursive=True)
        return any(out.glob("data/*"))

    kill_when(process, a_shard_is_there)
    assert len(workers) >= 2
    # They end by themselves.
    assert not psutil.wait_procs(workers, timeout=60)[1]
    assert 1 <= len(shards(out)) < 5
    # An earlier run left this; its shard is finished now or later.
    (out / ".unfinished" / "rows-000000000016-0.parquet").write_bytes(b"half")
    result = refusion("fuse-dataset", source, out, "--model", MODEL, "--workers", 2)
    assert result.code == 1
    assert "16 fused, 4 failed" in result.out
    assert shards(out) == shards(whole)
    assert not list((out / ".unfinished").iterdir())


def test_a_worker_that_is_killed_ends_the_run_with_a_sentence(uninterrupted, tmp_path):
    source, whole = uninterrupted
    out = tmp_path / "out"

    def is_worker(process: psutil.Process) -> bool:
        try:
            return "LokyProcess" in " ".join(process.cmdline())
        except psutil.NoSuchProcess:  # it has ended, as one of an earlier test may have
            return False

    killed: list[psutil.Process] = []

    def kill_a_worker(done: int, _: int) -> None:
        if done and not killed:
            killed.extend(p for p in psutil.Process().children(recursive=True) if is_worker(p))
            os.kill(killed[0].pid, signal.SIGKILL)

    with pytest.raises(ChildProcessError, match="run the same command again to resume"):
        package.fuse_dataset(source, out, model=MODEL, rows_per_shard=2, workers=2, progress=kill_a_worker)
    assert shards(out)
    summary = package.fuse_dataset(source, out, model=MODEL, workers=1)
    assert (summary.fused, len(summary.failures)) == (16, 4)
    assert results(out) == results(whole)


def test_two_runs_in_one_folder_make_the_same_files(uninterrupted, tmp_path):
    source, whole = uninterrupted
    arguments = {"source": source, "out": tmp_path / "out", "model": MODEL, "rows_per_shard": 4, "workers": 1}
    both = [start(**arguments) for _ in range(2)]
    for process in both:
        finish(process)
    assert shards(tmp_path / "out") == shards(whole)
    assert results(tmp_path / "out") == results(whole)
