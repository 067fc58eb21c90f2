"""Scores over a set of pairs, through the command that prints them."""

import json

import numpy as np
import pytest
from test_cli import check_refused, refusion

from refusion.data import load_pairs, read_row
from refusion.evaluation import evaluate, levels, means
from refusion.hub import save_model
from refusion.metrics import score
from refusion.model import ReFusion
from refusion.tasks import get_task


@pytest.fixture
def model(tmp_path) -> ReFusion:
    model = ReFusion(channels=8, heads=4, blocks=1).eval()
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", model, model.config)
    return model


def test_scores_are_those_of_the_pictures_that_a_user_gets(pair_folder, model):
    pairs = load_pairs(pair_folder, get_task("ir-vis"))
    rows = evaluate(pairs, model.fuse)
    assert [row.name for row in rows] == [f"scene{i}" for i in range(6)]
    a, b = read_row(pairs.dataset[2])
    fused = np.asarray(model.fuse(a, b)).astype(float)
    assert rows[2].scores == pytest.approx(score(levels(a), levels(b), fused))
    assert means(rows)["EN"] == pytest.approx(np.mean([row.scores["EN"] for row in rows]))


def test_the_command_prints_a_table_and_writes_json(pair_folder, model, tmp_path):
    folder, out = tmp_path / "model", tmp_path / "scores.json"
    result = refusion("evaluate", "--data", pair_folder, "--model", folder, "--json", out)
    assert result.returncode == 0, result.stderr
    assert "means over 6 pairs" in " ".join(result.stdout.split())
    written = json.loads(out.read_text())["models"][str(folder)]
    assert written["pairs"] == len(written["per_pair"]) == 6
    assert f"{written['mean']['Qabf']:.3f}" in result.stdout


def test_bad_data_is_a_sentence(pair_folder, model, tmp_path):
    (pair_folder / "ir" / "scene4.png").write_bytes(b"")
    result = refusion("evaluate", "--data", pair_folder, "--model", tmp_path / "model")
    check_refused(result, "scene4.png is an empty file")
