"""The weights that come with the package, on real pairs."""

import json
import math
import statistics

import pytest

from refusion.hub.folder import SCORES
from refusion.hub.names import bundled_folder
from refusion.metrics.evaluation import evaluate
from refusion.metrics.scoring import scored_metrics
from refusion.models.model import ReFusion
from refusion.pairs.dataset import load_pairs, picture_files
from refusion.tasks import TASKS, Task

READY = [task for task in TASKS.values() if bundled_folder(task.model)]
SHARED_NAMES = {task.name: task.name.replace("-", "_") for task in TASKS.values()}


def stated(task: Task) -> dict:
    """The scores that the model's card is made from, of the model as it is used."""
    return json.loads((bundled_folder(task.model) / SCORES).read_text(encoding="utf-8"))["models"][task.model]


@pytest.mark.parametrize("task", READY, ids=lambda task: task.name)
def test_the_stated_scores_are_those_of_the_weights(shared, task):
    pairs = load_pairs(shared / "data" / SHARED_NAMES[task.name] / "val", task)
    smallest = sorted(range(len(pairs.dataset)), key=lambda i: picture_files(pairs.dataset[i])[0].stat().st_size)[:2]
    pairs.dataset = pairs.dataset.select(smallest)
    model = ReFusion.from_pretrained(task.model)
    found = evaluate(pairs, lambda a, b: model.fuse(a, b).to_image(), scored_metrics(task))
    assert not found.failed
    expected = {
        row["name"]: {name: math.nan if value is None else value for name, value in row["scores"].items()}
        for row in stated(task)["per_pair"]
    }
    for row in found.scored:
        # A grey level more or less, from another processor's arithmetic, is within this.
        assert row.scores == pytest.approx(expected[row.name], rel=2e-3, abs=2e-3, nan_ok=True)


@pytest.mark.parametrize("task", READY, ids=lambda task: task.name)
def test_the_stated_means_are_those_of_the_pairs_and_free_of_defects(task):
    scores = stated(task)
    for metric, mean in scores["mean"].items():
        values = [row["scores"][metric] for row in scores["per_pair"]]
        assert mean == pytest.approx(statistics.fmean(v for v in values if v is not None))
    assert scores["mean"]["border"] <= 1.15
    assert scores["mean"].get("background", 0) <= 1
