"""Fine-tuning: hold out pairs, and score the model before and after."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from refusion.hub.folder import TUNING_SCORES
from refusion.inference.fuse import fuse_function
from refusion.inference.options import Options
from refusion.metrics.evaluation import Evaluation, evaluate
from refusion.metrics.reports import NOTHING, Report, to_json
from refusion.metrics.scoring import higher_is_better, scored_metrics
from refusion.models.loading import load_module
from refusion.pairs.dataset import Pairs, picture_files
from refusion.pairs.errors import DataError
from refusion.system.files import write_text
from refusion.tasks import Task

MIN_PAIRS = 5
"""Fewest training pairs; with less, a model memorises them."""

MAX_HELD_OUT = 20


def hold_out(pairs: Pairs, count: int | None, source: str) -> tuple[Pairs, Pairs]:
    """Split a data set into pairs to train on and pairs to score, which are spread evenly over it.

    Args:
        pairs: the data set, not a streamed one.
        count: pairs to score; if not given, a fifth of them, at least one and at most `MAX_HELD_OUT`.
        source: what to call the data set in a message.

    Raises:
        DataError: fewer than `MIN_PAIRS` are left to train on.
        ValueError: `count` is negative.
    """
    total = len(pairs.dataset)
    if count is None:
        count = min(MAX_HELD_OUT, max(1, total // 5))
    if count < 0:
        raise ValueError(f"--hold-out is {count}; it must be 0 or more.")
    if total - count < MIN_PAIRS:
        held = f", of which {count} held out for the scores" if count else ""
        raise DataError(
            f"{source} has {total} {'pair' if total == 1 else 'pairs'}{held}; fine-tuning needs at least {MIN_PAIRS} "
            "to train on. Add pairs" + (", or give other pairs for the scores with --val." if count else ".")
        )
    scored = {(2 * i + 1) * total // (2 * count) for i in range(count)}
    chosen = (index for index in range(total) if index not in scored), sorted(scored)
    trained, held_out = (replace(pairs, dataset=pairs.dataset.select(list(part))) for part in chosen)
    return trained, held_out


def also_trained_on(scored: Pairs, trained: Pairs) -> list[str]:
    """Names of the pairs to score whose two images are also a pair to train on.

    Args:
        scored: the pairs to score.
        trained: the pairs to train on, not a streamed data set.
    """
    known = {digest for _, digest in _digests(trained)}
    return [name for name, digest in _digests(scored) if digest in known]


def _digests(pairs: Pairs) -> Iterator[tuple[str, bytes]]:
    for row in pairs.dataset:
        contents = (f.read_bytes() if isinstance(f, Path) else f.getvalue() for f in picture_files(row))
        yield str(row["name"]), b"".join(hashlib.sha256(content).digest() for content in contents)


def score_both(
    before: Path, after: Path, pairs: Pairs, task: Task, on_pair: Callable[[], None], device: str = "cpu"
) -> Report:
    """Score two model folders over the same pairs, fused with the defaults of the task, and save the scores in `after`.

    Args:
        before: the model that the run started from.
        after: the folder of the run, into which `TUNING_SCORES` is written.
        pairs: the pairs to score.
        task: the task.
        on_pair: called after every fused pair.
        device: where to fuse, see `refusion.system.devices.choose_device`.

    Raises:
        ModelError: a folder holds no whole model.
        ValueError: there is no such device.
        OSError: the scores cannot be written.
    """
    metrics = scored_metrics(task)
    reading = pairs.reading
    options = Options(window=reading.window, temperatures=reading.temperatures, nodata=reading.nodata)
    evaluations = {
        name: evaluate(pairs, fuse_function(load_module(folder, device), options, task), metrics, on_pair)
        for name, folder in (("before", before), ("after", after))
    }
    report = Report(metrics, evaluations, pairs.skipped)
    write_text(after / TUNING_SCORES, to_json(report))
    return report


def change_table(report: Report) -> Table:
    """A row for each metric: means before and after, the change, and how many of the pairs improved."""
    before, after = report.evaluations["before"], report.evaluations["after"]
    table = Table()
    table.add_column("", no_wrap=True)
    for heading in ("before", "after", "change", "better in"):
        table.add_column(heading, justify="right")
    for metric in report.metrics:
        old, new = before.statistic(metric).mean, after.statistic(metric).mean
        arrow = "\N{UPWARDS ARROW}" if higher_is_better(metric) else "\N{DOWNWARDS ARROW}"
        cells = [NOTHING if math.isnan(x) else f"{x:{sign}.3f}" for x, sign in ((old, ""), (new, ""), (new - old, "+"))]
        table.add_row(f"{metric} {arrow}", *cells, _better(before, after, metric))
    return table


def _better(before: Evaluation, after: Evaluation, metric: str) -> str:
    old = {row.name: row.scores[metric] for row in before.scored}
    changes = [row.scores[metric] - old[row.name] for row in after.scored if row.name in old]
    changes = [change if higher_is_better(metric) else -change for change in changes if not math.isnan(change)]
    return f"{sum(change > 0 for change in changes)} of {len(changes)}"
