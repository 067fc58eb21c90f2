"""A run whose writes are cut off: killed, out of room, damaged or foreign."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
import torch
from support.scenes import ROOT

from refusion.pairs.dataset import load_pairs
from refusion.system.checkpoints import CheckpointError
from refusion.tasks import get_task
from refusion.training.command import main
from refusion.training.run_folder import claimed, load_checkpoint, resume, save_checkpoint, tidy
from refusion.training.settings import TrainingSettings
from refusion.training.trainer import MetaTrainer

FLAGS = ["--task", "ir-vis", "--crop", "16", "--batch-size", "1", "--fusion-updates", "1", "--threads", "1"]


def trainer(data: Path) -> MetaTrainer:
    return MetaTrainer(load_pairs(data, get_task("ir-vis")), TrainingSettings(crop=16, batch_size=1))


def write_without_end(folder: Path, run: MetaTrainer) -> None:
    while True:
        run.step += 1
        save_checkpoint(folder, run)


def half_written(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.name.startswith(".checkpoint-")]


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has torch loaded")
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_while_a_checkpoint_is_written_leave_the_one_before(pair_folder, tmp_path, kills):
    run = trainer(pair_folder)
    save_checkpoint(tmp_path, run)
    hits = done = 0
    # On a busy machine the process may finish a file before it is killed.
    while done < kills or (not hits and done < 10 * kills):
        done += 1
        before = run.step
        file = (tmp_path / "checkpoint.pt").stat().st_ino
        process = multiprocessing.get_context("fork").Process(target=write_without_end, args=(tmp_path, run))
        process.start()
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            if half_written(tmp_path) and (tmp_path / "checkpoint.pt").stat().st_ino != file:
                break
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        hits += bool(half_written(tmp_path))
        resume(tmp_path, run)
        assert run.step > before
        tidy(tmp_path, run.step)
        assert half_written(tmp_path) == []
    assert hits >= 1


def limited(size: int):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_no_room_for_a_checkpoint_is_a_sentence_and_the_one_before_is_kept(pair_folder, tmp_path):
    """The limit on the size of files stands for a full disk: writes fail the same way, in the middle of a file."""
    out = tmp_path / "run"
    flags = [*FLAGS, "--data", str(pair_folder), "--out", str(out), "--steps"]
    assert main([*flags, "2"]) == 0
    before = (out / "checkpoint.pt").read_bytes()
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *flags, "2", "--resume"],
        preexec_fn=limited(len(before) // 2),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    error = " ".join(done.stderr.split())
    assert done.returncode == 1, error
    assert "Traceback" not in error
    assert "cannot be written" in error
    assert "The last checkpoint is intact" in error
    assert (out / "checkpoint.pt").read_bytes() == before
    assert half_written(out) == []


def test_a_second_run_into_a_folder_is_refused_and_changes_nothing(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    flags = [*FLAGS, "--data", str(pair_folder), "--out", str(out), "--steps"]
    assert main([*flags, "1"]) == 0
    (out / ".checkpoint-01234567.pt").write_bytes(b"which the first run is writing")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with claimed(out):
        assert main([*flags, "2", "--resume"]) == 2
    assert "Another run is writing to run; wait for its end, or choose another --out." in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert main([*flags, "2", "--resume"]) == 0


def test_a_stream_that_is_gone_is_not_taken_for_a_full_disk(pair_folder, tmp_path):
    files = [sorted((pair_folder / side).iterdir()) for side in ("ir", "vis")]
    rows = {name: [{"bytes": file.read_bytes()} for file in some] for name, some in zip("ab", files, strict=True)}
    features = datasets.Features({"a": datasets.Image(), "b": datasets.Image()})
    source, out = tmp_path / "pairs.parquet", tmp_path / "run"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(source)
    flags = ["--data", str(source), "--streaming", "--out", str(out), "--steps", "1000000", "--save-every", "0"]
    run = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *FLAGS, *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not (out / "checkpoint.pt").exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    source.unlink()
    error = " ".join(run.communicate(timeout=200)[1].split())
    assert run.returncode == 1, error
    assert f"The pairs in {source} cannot be read any more" in error
    assert "cannot be written" not in error
    assert "The last checkpoint is intact: continue with --resume." in error


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "other keys", "other shapes", "not a dictionary"])
def test_damaged_and_foreign_checkpoints_are_refused_by_name(pair_folder, tmp_path, capsys, damage):
    out = tmp_path / "run"
    flags = [*FLAGS, "--data", str(pair_folder), "--out", str(out), "--steps", "1"]
    out.mkdir()
    run = trainer(pair_folder)
    save_checkpoint(out, run)
    path = out / "checkpoint.pt"
    content, state = bytearray(path.read_bytes()), load_checkpoint(out)
    if damage == "flipped":
        weights = state["modules"]["fusion"]["decoder.0.attn.qkv.weight"]
        content[content.index(weights.numpy().tobytes()) + 5] ^= 64
        path.write_bytes(content)
    elif damage in ("cut", "empty"):
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    elif damage == "other keys":
        torch.save({"modules": {"generator": {}}, "epoch": 3}, path)
    elif damage == "other shapes":
        torch.save({**state, "modules": {"fusion": {"weight": torch.zeros(3)}}}, path)
    else:
        torch.save([1, 2, 3], path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt in run"):
        resume(out, run)
    if damage == "flipped":
        left = path.read_bytes()
        assert main([*flags, "--resume"]) == 2
        assert "checkpoint.pt in run is damaged" in " ".join(capsys.readouterr().err.split())
        assert path.read_bytes() == left


@pytest.mark.parametrize("which", [["--data"], ["--from", "refusion-ir-vis", "--data", "other", "--val"]])
def test_a_run_among_the_images_of_its_data_is_refused(pair_folder, tmp_path, monkeypatch, capsys, which):
    """Its previews would be sources without a partner."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pair_folder, tmp_path / "other")
    for out, folder in ((pair_folder / "ir" / "run", "ir"), (Path("pairs/vis"), "vis")):
        assert main([*FLAGS, "--steps", "1", *which, str(pair_folder), "--out", str(out)]) == 2
        assert f"The output {out.name} lies within the source {folder}" in capsys.readouterr().err
    assert not (pair_folder / "ir" / "run").exists()
