"""Tables and files of scores: what `refusion evaluate` shows and writes."""

import csv
import io
import json
import math
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from refusion.metrics.defects import DEFECTS
from refusion.metrics.evaluation import Evaluation
from refusion.metrics.fusion import METRICS
from refusion.system.markdown import escape, table

NOTHING = "\N{EN DASH}"
"""What stands in a table where there is no value."""

WIDTH, WIDTH_PER_MODEL = 80, 40
"""Width in characters of a table that is not shown on a terminal: for the figures, and for each model."""

_METRIC_DEFINITIONS = (
    "8-bit luminance (BT.601); MI (nats), VIF and SSIM summed over both sources, CC their mean; "
    "Qabf after Xydeas and Petrovic; see refusion.metrics"
)


@dataclass
class Report:
    """Scores of one or more models over one data set.

    Attributes:
        figures: names of the figures, the columns of the tables.
        evaluations: scores by what the model or the folder of fused pictures is called.
        left_out: files of the data set that are in no pair, one sentence each.
    """

    figures: tuple[str, ...]
    evaluations: dict[str, Evaluation]
    left_out: list[str] = field(default_factory=list)

    @property
    def definitions(self) -> str:
        """What the figures mean, in one line."""
        defects = [f"{name}: {DEFECTS[name].definition}" for name in self.figures if name in DEFECTS]
        exposure = ["MEF-SSIM after Ma, Zeng and Wang, 3 scales"] if "MEF-SSIM" in self.figures else []
        return "; ".join([_METRIC_DEFINITIONS, *exposure, *defects])

    @property
    def notes(self) -> list[str]:
        """What the numbers of the tables are, one line each."""
        evaluations = self.evaluations.values()
        counts = {len(evaluation.scored) for evaluation in evaluations}
        complete = len(counts) == 1 and not any(evaluation.failed for evaluation in evaluations)
        pairs = f"{max(counts)} pairs" if complete else "the pairs that worked"
        notes = [
            f"Values are means over {pairs} ± population standard deviation; ↑ higher is better, ↓ lower is better."
        ]
        if any(0 < s.count < len(e.scored) for e in evaluations for s in e.statistics().values()):
            notes.append("In brackets the number of pairs, where a figure has no meaning for the others.")
        return [*notes, f"Definitions: {self.definitions}."]

    @property
    def problems(self) -> list[str]:
        """Every pair that failed and every file left out, one line each."""
        failed = [
            f"{model}: {failure.name}: {failure.reason}"
            for model, evaluation in self.evaluations.items()
            for failure in evaluation.failed
        ]
        return [*failed, *(f"left out: {sentence}" for sentence in self.left_out)]


def higher_is_better(figure: str) -> bool:
    """Whether more of a figure is better."""
    return (METRICS | DEFECTS)[figure].higher_is_better


def means_table(report: Report) -> Table:
    """A table for the terminal: one row a figure, one column a model; `Report.notes` explain it."""
    table = Table()
    table.add_column("", no_wrap=True)
    for name in report.evaluations:
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_row("pairs", *(_pairs(evaluation) for evaluation in report.evaluations.values()))
    for figure in report.figures:
        table.add_row(_heading(figure), *(_mean(evaluation, figure) for evaluation in report.evaluations.values()))
    return table


def to_json(report: Report) -> str:
    """All scores as JSON; null stands where a figure has no meaning or no pair worked.

    Keys: ``definitions``; ``figures`` (by name: ``higher_is_better`` and the ``source`` or ``definition``); ``models``
    (by name: the number of ``pairs`` that worked; ``mean``, population ``std`` and ``counts`` by figure; the rows
    ``per_pair`` with ``name`` and ``scores``, and ``failed`` with ``name`` and ``reason``); ``left_out``.
    """
    models = {}
    for name, evaluation in report.evaluations.items():
        statistics = evaluation.statistics()
        models[name] = {
            "pairs": len(evaluation.scored),
            "mean": {figure: _number(statistic.mean) for figure, statistic in statistics.items()},
            "std": {figure: _number(statistic.std) for figure, statistic in statistics.items()},
            "counts": {figure: statistic.count for figure, statistic in statistics.items()},
            "per_pair": [
                {"name": row.name, "scores": {figure: _number(value) for figure, value in row.scores.items()}}
                for row in evaluation.scored
            ],
            "failed": [{"name": failure.name, "reason": failure.reason} for failure in evaluation.failed],
        }
    figures = {
        figure: {"higher_is_better": higher_is_better(figure), "source": METRICS[figure].source}
        if figure in METRICS
        else {"higher_is_better": higher_is_better(figure), "definition": DEFECTS[figure].definition}
        for figure in report.figures
    }
    content = {
        "definitions": report.definitions,
        "figures": figures,
        "models": models,
        "left_out": report.left_out,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def to_csv(report: Report) -> str:
    """One row a model and pair: model, pair, the figures, failed.

    A figure without meaning for a pair is an empty cell; of a pair that failed all are, and ``failed`` has the
    reason. Files left out of the data set come last, with the sentence alone.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "pair", *report.figures, "failed"))
    empty = [None] * len(report.figures)
    for model, evaluation in report.evaluations.items():
        for row in evaluation.scored:
            writer.writerow((model, row.name, *(_number(row.scores[figure]) for figure in report.figures), None))
        for failure in evaluation.failed:
            writer.writerow((model, failure.name, *empty, failure.reason))
    for sentence in report.left_out:
        writer.writerow((None, None, *empty, sentence))
    return text.getvalue()


def to_markdown(report: Report) -> str:
    """A table of means, one of the pairs for every model, and what failed."""
    headings = [_heading(figure) for figure in report.figures]
    rows = []
    for name, evaluation in report.evaluations.items():
        rows.append([name, _pairs(evaluation), *(_mean(evaluation, figure) for figure in report.figures)])
    parts = ["# Scores", table(["model", "pairs", *headings], rows), *report.notes]
    for name, evaluation in report.evaluations.items():
        parts.append(f"## {escape(name)}")
        if evaluation.scored:
            scored = [[row.name, *(_value(row.scores[f]) for f in report.figures)] for row in evaluation.scored]
            parts.append(table(["pair", *headings], scored))
        if evaluation.failed:
            failed = [[failure.name, failure.reason] for failure in evaluation.failed]
            parts.append(table(["pair", "failed"], failed))
    if report.left_out:
        parts.append("## Left out")
        parts.append("\n".join(f"- {escape(sentence)}" for sentence in report.left_out))
    return "\n\n".join(parts) + "\n"


def _heading(figure: str) -> str:
    arrow = "↑" if higher_is_better(figure) else "↓"
    return f"{figure} {arrow}"


def _pairs(evaluation: Evaluation) -> str:
    worked, failed = len(evaluation.scored), len(evaluation.failed)
    return f"{worked} of {worked + failed}" if failed else str(worked)


def _mean(evaluation: Evaluation, figure: str) -> str:
    statistic = evaluation.statistic(figure)
    if statistic.count == 0:
        return NOTHING
    text = f"{_value(statistic.mean)} ± {_value(statistic.std)}"
    return text if statistic.count == len(evaluation.scored) else f"{text} ({statistic.count})"


def _value(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
