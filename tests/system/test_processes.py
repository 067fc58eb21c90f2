"""Training in two processes on this machine, over gloo: the weights, the files, and what becomes of a dead process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.scenes import ROOT, textured
from support.train_in_double import train

from refusion.models.model import ReFusion
from refusion.pairs.dataset import fingerprint, load_pairs
from refusion.system.processes import Processes, join_processes
from refusion.tasks import get_task
from refusion.training.command import main
from refusion.training.crops import CropBatches, CropTransform, PairReader
from refusion.training.run_folder import load_checkpoint
from refusion.training.settings import TrainingSettings
from refusion.training.trainer import MetaTrainer

TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
FLAGS = ["--task", "ir-vis", "--crop", "16", "--meta-after", "0", "--threads", "1", "--device", "cpu"]


def run(*command: object, code: int = 0) -> str:
    done = subprocess.run([str(word) for word in command], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return " ".join((done.stdout + done.stderr).split())


def state_differences(one: Path, other: Path) -> tuple[float, float]:
    """Largest difference of any weight of two runs, and the largest weight."""
    first, second = (load_checkpoint(folder)["modules"] for folder in (one, other))
    pairs = [(first[m][k], second[m][k]) for m in first for k in first[m]]
    assert all(a.dtype == torch.float64 for a, _ in pairs)
    return max((a - b).abs().max().item() for a, b in pairs), max(a.abs().max().item() for a, _ in pairs)


@pytest.fixture
def half_empty(pair_folder) -> Path:
    """Pairs of which some are mostly empty, so that crops are tried again."""
    for index in (1, 4):
        for offset, folder in ((0, "ir"), (100, "vis")):
            picture = textured(index + offset)
            picture[:, :44] = 7
            Image.fromarray(picture).save(pair_folder / folder / f"scene{index}.png")
    return pair_folder


@pytest.mark.slow
def test_two_processes_and_resumes_with_another_number_give_the_weights_of_one(half_empty, tmp_path):
    """Both kinds of inner update, both sums that are accumulated, noise, balance and the moving average."""
    program = ROOT / "tests" / "support" / "train_in_double.py"
    extra = {
        "noise": 0.06, "equivariant": True, "balance": 0.5, "ema": 0.9, "inner_image_until": 0.01, "inner_lr": 0.05,
        "meta_batches": 2, "lr": 0.001, "meta_lr": 0.001, "gradient_contrast": 1.0, "intensity_brightness": 1.0,
        "optimizer": "nmuon",
    }  # fmt: skip
    train(half_empty, tmp_path / "one", 8, **extra)
    words = [f"{name}={value!r}" for name, value in extra.items()]
    run(*TWO, program, half_empty, tmp_path / "two", 8, *words)
    difference, largest = state_differences(tmp_path / "one", tmp_path / "two")
    assert difference < 1e-9
    assert largest > 0.1
    shutil.copytree(tmp_path / "one", tmp_path / "from one to two")
    train(half_empty, tmp_path / "one", 9, **extra)
    train(half_empty, tmp_path / "two", 9, **extra)
    run(*TWO, program, half_empty, tmp_path / "from one to two", 9, *words)
    one = load_checkpoint(tmp_path / "one")
    for name in ("two", "from one to two"):
        assert state_differences(tmp_path / "one", tmp_path / name)[0] < 1e-9
        other = load_checkpoint(tmp_path / name)
        assert one["step"] == other["step"] == 9
        assert one["batches"][0]["order"] == other["batches"][0]["order"]
        assert torch.equal(one["batches"][1]["generator"], other["batches"][1]["generator"])


@pytest.mark.slow
def test_two_processes_write_one_run_and_a_resume_with_two_goes_on(pair_folder, tmp_path):
    out = tmp_path / "run"
    flags = [*FLAGS, "--data", pair_folder, "--lr", "1e-3"]
    run(*TWO, ROOT / "train.py", *flags, "--out", out, "--steps", 10)
    assert [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()] == [10]
    assert len(list((out / "tensorboard").iterdir())) == len(list((out / "previews").iterdir())) == 1
    assert json.loads((out / "settings.json").read_text())["processes"] == 2
    assert main([str(word) for word in (*flags, "--out", tmp_path / "one", "--steps", 10)]) == 0
    alone, together = (load_file(folder / "model.safetensors") for folder in (tmp_path / "one", out))
    assert max((alone[key] - together[key]).abs().max().item() for key in alone) < 2e-3
    settings = [json.loads((folder / "settings.json").read_text()) for folder in (tmp_path / "one", out)]
    assert settings[0]["data"] == settings[1]["data"]
    ReFusion.from_pretrained(out)


def process_of_rank(starter: int, rank: int) -> int:
    """Id of the process that a starter started with this rank."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if int(words[1]) == starter and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_that_dies_ends_the_run_with_a_sentence_and_one_process_goes_on(pair_folder, tmp_path, rank):
    out = tmp_path / "run"
    flags = [*FLAGS, "--data", pair_folder, "--out", out, "--steps", 20, "--save-every", 0]
    command = [str(word) for word in (*TWO, ROOT / "train.py", *flags)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while not (out / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process_of_rank(process.pid, rank), signal.SIGKILL)
        _, output = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "Another process of the run has ended" in " ".join(output.split())
    before = load_checkpoint(out)
    assert 20 > before["step"] + before["position"] >= 1
    assert main([str(word) for word in (*flags, "--resume")]) == 0
    assert load_checkpoint(out)["step"] == 20


def test_a_batch_that_cannot_be_split_is_refused(pair_folder):
    pairs = load_pairs(pair_folder, get_task("ir-vis"))
    with pytest.raises(ValueError, match="batch of 2 cannot be split evenly over 3 processes"):
        MetaTrainer(pairs, TrainingSettings(crop=16), processes=Processes(0, 3))


def test_accelerate_with_cpu_is_refused_instead_of_training_alone(monkeypatch):
    """It starts one process, whatever --num_processes says, with this environment."""
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("ACCELERATE_MIXED_PRECISION", "no"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="torchrun --nproc-per-node"):
        join_processes(cpu=True)
    monkeypatch.delenv("MASTER_PORT")
    assert join_processes(cpu=True).count == 1


@pytest.mark.parametrize("count", [2, 4])
def test_the_parts_of_the_processes_make_the_batch_of_one(half_empty, count):
    """The processes take turns here; what they would tell each other is at hand."""
    pairs = load_pairs(half_empty, get_task("ir-vis"))
    transform = CropTransform(16, min_deviation=0.05)
    whole = CropBatches(PairReader(pairs), transform, 4, seed=3)
    alone = [torch.stack(next(whole)) for _ in range(8)]
    rewound = CropBatches(PairReader(pairs), transform, 4, seed=3)
    tries = [[transform.cut(*rewound._next_pair(), rewound._generator)[2] for _ in range(4)] for _ in range(8)]
    assert max(map(max, tries)) > 1
    for rank in range(count):
        batches = CropBatches(PairReader(pairs), transform, 4, 3, Informed(rank, count))
        for expected, told in zip(alone, tries, strict=True):
            batches.processes.told.append(told)
            own = batches.processes.part(4)
            assert torch.equal(torch.stack(next(batches)), expected[:, own.start : own.stop])
        assert torch.equal(batches._generator.get_state(), whole._generator.get_state())


class Informed(Processes):
    """Knows what the other processes found."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__(rank, count)
        object.__setattr__(self, "told", [])

    def gather(self, numbers):
        return self.told[-1]


def test_a_fingerprint_knows_content_and_names_but_not_the_place(pair_folder, tmp_path):
    task = get_task("ir-vis")
    first = fingerprint(load_pairs(pair_folder, task))
    moved = pair_folder.rename(tmp_path / "moved")
    assert fingerprint(load_pairs(moved, task)) == first
    (moved / "ir" / "scene0.png").rename(moved / "ir" / "other.png")
    (moved / "vis" / "scene0.png").rename(moved / "vis" / "other.png")
    renamed = fingerprint(load_pairs(moved, task))
    Image.fromarray(np.roll(textured(0), 1)).save(moved / "ir" / "other.png")
    assert len({first, renamed, fingerprint(load_pairs(moved, task))}) == 3
