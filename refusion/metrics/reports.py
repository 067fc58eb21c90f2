"""Reports of `refusion evaluate`: for the terminal, and as JSON and CSV."""

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property

from rich.table import Table
from rich.text import Text

from refusion.metrics.comparison import CONFIDENCE, RESAMPLES, Comparison, Estimate, Standing, compare
from refusion.metrics.conventions import REFUSION, Conventions, check_name, get_conventions
from refusion.metrics.defects import DEFECTS
from refusion.metrics.evaluation import Evaluation
from refusion.metrics.fusion import METRICS, SAME_FOR_TOOLKITS
from refusion.metrics.scoring import CustomMetric, higher_is_better
from refusion.system.lists import counted, few_of_each_kind
from refusion.system.markdown import NOTHING

P_NOTE = (
    "p is that of a two-sided randomisation test (signs of the differences), not corrected for the number of metrics "
    "and models; with 5 pairs or fewer it cannot be below 0.05."
)

_PROBLEMS_SHOWN = 5
"""Number of problems of one kind that are printed; JSON, CSV and Markdown have all of them."""

WIDTH, WIDTH_PER_MODEL = 80, 40
"""Width in characters of a table outside a terminal: for the metrics, and per model."""

_FORMULA = ("=", "+", "-", "@", "\t")
"""What a formula of a spreadsheet starts with."""


@dataclass
class Report:
    """Scores of one or more models over one data set.

    Attributes:
        metrics: names of the metrics, the columns of the tables.
        evaluations: scores by name of the model or of the folder of fused images.
        left_out: files of the data set without a pair, one sentence each.
        conventions: how the metrics were computed; the name of a preset stands for it.
        custom: user-defined metrics by name.

    Raises:
        ValueError: there is no such preset, or the conventions have the name of one and other values.
    """

    metrics: tuple[str, ...]
    evaluations: dict[str, Evaluation]
    left_out: list[str] = field(default_factory=list)
    conventions: Conventions = REFUSION
    custom: dict[str, CustomMetric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.conventions = get_conventions(self.conventions)
        check_name(self.conventions)

    @property
    def directions(self) -> dict[str, bool]:
        """Whether higher is better, by name of the metric."""
        return {
            metric: self.custom[metric].higher_is_better if metric in self.custom else higher_is_better(metric)
            for metric in self.metrics
        }

    @cached_property
    def comparison(self) -> Comparison:
        """Comparison of all models and folders over the pairs that all of them have."""
        return compare(self.evaluations, self.directions, self.repeated)

    @property
    def repeated(self) -> dict[str, str]:
        """Metrics that equal another one by these conventions, with that one; they do not count in the mean rank."""
        both = {one: other for one, other in SAME_FOR_TOOLKITS.items() if {one, other} <= {*self.metrics}}
        return both if self.conventions.formulas == "toolkit" else {}

    def is_over_common_pairs(self, metric: str) -> bool:
        """Whether the mean of a metric is over the same pairs for all models that have scores."""
        common = self.comparison.counts[metric]
        return all(one.statistic(metric).count == common for one in self.evaluations.values() if one.scored)

    @property
    def note_on_left_out(self) -> str:
        """Which of several models have scores for no pair, as a sentence; empty if all or none have."""
        names = [name for name, evaluation in self.evaluations.items() if not evaluation.scored]
        if not names or len(names) == len(self.evaluations):
            return ""
        whose = "its" if len(names) == 1 else "their"
        return f"Not compared, since none of {whose} pairs could be scored: {', '.join(names)}."

    @property
    def definitions(self) -> str:
        """Definitions of the metrics, in one line."""
        metrics = [f"8-bit grey levels; {self.conventions}; see refusion.metrics"]
        defects = [f"{name}: {DEFECTS[name].definition}" for name in self.metrics if name in DEFECTS]
        custom = [f"{name}: {metric.definition}" for name, metric in self.custom.items()]
        return "; ".join([*metrics, *defects, *custom])

    @property
    def notes(self) -> list[str]:
        """Notes that explain the tables, one line each."""
        evaluations = self.evaluations.values()
        counts = {len(evaluation.scored) for evaluation in evaluations}
        complete = len(counts) == 1 and not any(evaluation.failed for evaluation in evaluations)
        pairs = counted(max(counts), "pair") if complete else "the pairs that could be scored"
        notes = [
            f"Values are means over {pairs} ± population standard deviation; ↑ higher is better, ↓ lower is better."
        ]
        if any(0 < s.count < len(e.scored) for e in evaluations for s in e.statistics().values()):
            notes.append(
                "In brackets: the number of pairs, where a metric is undefined for the others or they are too small."
            )
        if len(self.evaluations) > 1:
            notes.append(
                f"Ranks are those of the means over the {counted(len(self.comparison.pairs), 'pair')} that all of them "
                f"have (1 is best); the mean rank counts every metric once{self._same}. Markdown and JSON also have "
                "intervals and differences."
            )
        if self.note_on_left_out:
            notes.append(self.note_on_left_out)
        return [*notes, f"Definitions: {self.definitions}."]

    @property
    def _same(self) -> str:
        both = " and ".join(f"{one} and {other}" for one, other in self.repeated.items())
        return f", and those that are equal ({both}) as one" if both else ""

    @property
    def interval_note(self) -> str:
        """Explanation of the intervals, in one sentence."""
        return (
            f"Intervals are {CONFIDENCE:.0%} percentile intervals of {RESAMPLES} bootstrap samples of the "
            f"{counted(len(self.comparison.pairs), 'pair')} that all of them have; with few pairs they are too narrow."
        )

    @property
    def problems(self) -> list[str]:
        """Every pair and user-defined metric that failed and every file left out, with a few lines for each reason."""
        failed = [
            (model, failure.name, failure.reason)
            for model, evaluation in self.evaluations.items()
            for failure in evaluation.failed
        ]
        failed += [
            (model, row.name, error)
            for model, evaluation in self.evaluations.items()
            for row in evaluation.scored
            for error in row.errors
        ]
        left_out = [("left out", "", sentence) for sentence in self.left_out]
        return few_of_each_kind([*failed, *left_out], _PROBLEMS_SHOWN)

    def heading(self, metric: str) -> str:
        """A metric and its direction."""
        return f"{metric} {'↑' if self.directions[metric] else '↓'}"


def means_table(report: Report) -> Table:
    """A table for the terminal: one row per metric, one column per model; `Report.notes` explain it."""
    table = Table()
    table.add_column("", no_wrap=True)
    for name in report.evaluations:
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_row("pairs", *map(pairs_text, report.evaluations.values()))
    for metric in report.metrics:
        means = (mean_text(evaluation, metric) for evaluation in report.evaluations.values())
        table.add_row(report.heading(metric), *means)
    if len(report.evaluations) > 1:
        standings = report.comparison.standings.values()
        table.add_row("mean rank ↓", *(value_text(standing.mean_rank, 2) for standing in standings))
    return table


def to_json(report: Report) -> str:
    """All scores as JSON; null where a metric is undefined or no pair could be scored.

    Keys: ``definitions``; ``conventions`` (the fields of `Conventions`); ``figures`` (by name: ``higher_is_better`` and
    the ``source`` or ``definition``); ``models`` (by name: the number of scored ``pairs``; ``mean``, population
    ``std`` and ``counts`` by metric; the rows ``per_pair`` with ``name``, ``scores`` and, if user-defined metrics
    failed, ``errors``; and ``failed`` with ``name`` and ``reason``); ``comparison`` of several models over the
    ``pairs`` that all have (``note``; by model the ``mean_rank``, and by metric ``rank``, ``mean`` and ``difference``
    from the first model, both with ``low`` and ``high``, and the number of pairs for which it is ``better``);
    ``left_out``.
    """
    models = {}
    for name, evaluation in report.evaluations.items():
        statistics = evaluation.statistics()
        models[name] = {
            "pairs": len(evaluation.scored),
            "mean": {metric: _number(statistic.mean) for metric, statistic in statistics.items()},
            "std": {metric: _number(statistic.std) for metric, statistic in statistics.items()},
            "counts": {metric: statistic.count for metric, statistic in statistics.items()},
            "per_pair": [
                {"name": row.name, "scores": {metric: _number(value) for metric, value in row.scores.items()}}
                | ({"errors": list(row.errors)} if row.errors else {})
                for row in evaluation.scored
            ],
            "failed": [{"name": failure.name, "reason": failure.reason} for failure in evaluation.failed],
        }
    metrics = {
        metric: {"higher_is_better": more, **_origin(report, metric)} for metric, more in report.directions.items()
    }
    content = {
        "definitions": report.definitions,
        "conventions": asdict(report.conventions),
        "figures": metrics,
        "models": models,
        "left_out": report.left_out,
    }
    if len(report.evaluations) > 1:
        standings = report.comparison.standings.items()
        content["comparison"] = {
            "note": f"{report.interval_note} {P_NOTE}",
            "pairs": report.comparison.pairs,
            "models": {name: _standing(standing) for name, standing in standings},
        }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def to_csv(report: Report) -> str:
    """All scores as CSV, one row per model and pair: model, pair, the metrics, failed, and the name of the conventions.

    Undefined metrics are empty cells; ``failed`` has the reason if a user-defined metric or the whole pair failed.
    Files left out of the data set come last, with only the reason. Text that a spreadsheet would take for a formula has
    an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "pair", *report.metrics, "failed", "conventions"))
    empty, how = [None] * len(report.metrics), report.conventions.name
    for model, evaluation in report.evaluations.items():
        for row in evaluation.scored:
            values, reason = (_number(row.scores[metric]) for metric in report.metrics), " ".join(row.errors) or None
            writer.writerow((_cell(model), _cell(row.name), *values, _cell(reason), how))
        for failure in evaluation.failed:
            writer.writerow((_cell(model), _cell(failure.name), *empty, _cell(failure.reason), how))
    for sentence in report.left_out:
        writer.writerow((None, None, *empty, _cell(sentence), None))
    return text.getvalue()


def _cell(text: str | None) -> str | None:
    return f"'{text}" if text and text.startswith(_FORMULA) else text


def pairs_text(evaluation: Evaluation) -> str:
    """Number of scored pairs, with the total if some failed."""
    worked, failed = len(evaluation.scored), len(evaluation.failed)
    return f"{worked} of {worked + failed}" if failed else str(worked)


def mean_text(evaluation: Evaluation, metric: str) -> str:
    """Mean and deviation of a metric, with the number of pairs if it is not defined for all."""
    statistic = evaluation.statistic(metric)
    if statistic.count == 0:
        return NOTHING
    text = f"{value_text(statistic.mean)} ± {value_text(statistic.std)}"
    return text if statistic.count == len(evaluation.scored) else f"{text} ({statistic.count})"


def value_text(value: float, digits: int = 3) -> str:
    """Format a number for tables."""
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def _origin(report: Report, metric: str) -> dict[str, str]:
    if metric in METRICS:
        return {"source": METRICS[metric].source}
    return {"definition": (report.custom if metric in report.custom else DEFECTS)[metric].definition}


def _standing(standing: Standing) -> dict[str, object]:
    metrics = {
        metric: {
            "rank": _number(rank),
            "mean": _estimate(standing.means[metric]),
            "difference": _estimate(standing.differences[metric]),
            "p": _number(standing.p_values[metric]),
            "better": standing.better[metric],
        }
        for metric, rank in standing.ranks.items()
    }
    return {"mean_rank": _number(standing.mean_rank), "figures": metrics}


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: _number(value) for name, value in asdict(estimate).items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
