"""Progress of long runs whose standard error is a file, as under nohup."""

import re

import pytest
from support.command import refusion, small_model

from refusion.cli import progress


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)


def test_evaluate_says_how_far_it_is(impatient, pair_folder, tmp_path):
    done = refusion("evaluate", "--data", pair_folder, "--fused", pair_folder / "vis", "--metrics", "EN")
    assert done.code == 0, done.err
    assert "Scoring vis: 1 of 6 done" in done.err
    assert "Scoring vis: 6 of 6 done" in done.err


def test_fuse_dataset_says_how_far_it_is_and_how_fast(impatient, pair_folder, tmp_path):
    model = small_model(tmp_path / "model")
    done = refusion("fuse-dataset", pair_folder, tmp_path / "out", "--model", model, "--workers", 1)
    assert done.code == 0, done.err
    assert re.search(r"Fusing: 6 of 6 done, \d+\.\d\d pairs/s", done.err)
