"""Format reports as tables in Markdown and LaTeX."""

import math
from typing import Literal

from refusion.metrics.comparison import Estimate, Standing
from refusion.metrics.reports import P_NOTE, Report, mean_text, pairs_text, value_text
from refusion.system.lists import counted
from refusion.system.markdown import NOTHING, escape, table

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_markdown(report: Report) -> str:
    """Tables of means, of the comparison if there are several models, of the pairs of each model, and of failures.

    The best mean of a metric is bold, the second of three or more underlined; if some models lack pairs, only in the
    table of intervals, whose means are over the pairs that all of them have.
    """
    headings = [report.heading(metric) for metric in report.metrics]
    several = len(report.evaluations) > 1
    rows = []
    for name, evaluation in report.evaluations.items():
        cells = []
        for metric in report.metrics:
            text = mean_text(evaluation, metric)
            cells.append(_mark(report, name, metric, text) if report.is_over_common_pairs(metric) else text)
        rank = [value_text(report.comparison.standings[name].mean_rank, 2)] if several else []
        rows.append([name, pairs_text(evaluation), *cells, *rank])
    header = ["model", "pairs", *headings, *(["mean rank ↓"] if several else [])]
    parts = ["# Scores", table(header, rows), *report.notes]
    if several:
        parts += _compared(report, headings)
    for name, evaluation in report.evaluations.items():
        parts.append(f"## {escape(name)}")
        if evaluation.scored:
            scored = [[row.name, *(value_text(row.scores[f]) for f in report.metrics)] for row in evaluation.scored]
            parts.append(table(["pair", *headings], scored))
        if evaluation.failed:
            failed = [[failure.name, failure.reason] for failure in evaluation.failed]
            parts.append(table(["pair", "failed"], failed))
    if report.left_out:
        parts.append("## Left out")
        parts.append("\n".join(f"- {escape(sentence)}" for sentence in report.left_out))
    return "\n\n".join(parts) + "\n"


def to_latex(report: Report) -> str:
    r"""A table for a paper: one row per model, one column per metric.

    The best mean is bold, the second of three or more underlined. Needs ``\usepackage{booktabs}``; comments above it
    explain the numbers.
    """
    several = len(report.evaluations) > 1
    arrows = {metric: r"\uparrow" if more else r"\downarrow" for metric, more in report.directions.items()}
    header = ["Method", *(f"{_escape_latex(metric)} ${arrow}$" for metric, arrow in arrows.items())]
    rows = []
    for name, standing in report.comparison.standings.items():
        cells = []
        for metric in report.metrics:
            text = value_text(standing.means[metric].mean)
            cells.append("--" if text == NOTHING else _latex_mark(report, name, metric, text))
        rows.append([_escape_latex(name), *cells, *([value_text(standing.mean_rank, 2)] if several else [])])
    total = len(report.comparison.pairs)
    fewer = {metric: count for metric, count in report.comparison.counts.items() if count < total}
    if several:
        header.append(r"mean rank $\downarrow$")
    comments = [
        "Needs \\usepackage{booktabs}.",
        f"Means over the {counted(total, 'pair')} that all of them have. {report.note_on_left_out}",
        *(f"{metric}: over {counted(count, 'pair')}." for metric, count in fewer.items()),
        f"Definitions: {report.definitions}.",
    ]
    lines = [
        *(f"% {' '.join(comment.split())}" for comment in comments),
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        f"{' & '.join(header)} \\\\",
        r"\midrule",
        *(f"{' & '.join(row)} \\\\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _compared(report: Report, headings: list[str]) -> list[str]:
    standings = report.comparison.standings
    first = report.comparison.first
    ranks = [[name, *(value_text(s.ranks[f], 1) for f in report.metrics)] for name, s in standings.items()]
    intervals = [
        [name, *(_mark(report, name, f, _interval(s.means[f])) for f in report.metrics)]
        for name, s in standings.items()
    ]
    differences = [
        [name, *(_difference(s, f, report.comparison.counts[f]) for f in report.metrics)]
        for name, s in standings.items()
        if name != first
    ]
    return [
        "## Ranks",
        table(["model", *headings], ranks),
        "## Intervals",
        table(["model", *headings], intervals),
        report.interval_note,
        f"## Differences from {escape(first)}",
        table(["model", *headings], differences),
        "Means of the differences per pair, their intervals, and the number of pairs in which a model is better than "
        f"{escape(first)}. {P_NOTE}",
    ]


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.mean):
        return NOTHING
    return f"{value_text(estimate.mean)} [{value_text(estimate.low)}, {value_text(estimate.high)}]"


def _difference(standing: Standing, metric: str, count: int) -> str:
    estimate = standing.differences[metric]
    if math.isnan(estimate.mean):
        return NOTHING
    low, high = (NOTHING if math.isnan(x) else f"{x:+.3f}" for x in (estimate.low, estimate.high))
    p_value = value_text(standing.p_values[metric])
    return f"{estimate.mean:+.3f} [{low}, {high}] p = {p_value}, better in {standing.better[metric]} of {count}"


def _mark(report: Report, name: str, metric: str, text: str) -> str:
    place = _place(report, name, metric)
    if text == NOTHING or place is None:
        return text
    return f"**{text}**" if place == "best" else f"<u>{text}</u>"


def _latex_mark(report: Report, name: str, metric: str, text: str) -> str:
    number = f"${text}$" if text.startswith("-") else text
    place = _place(report, name, metric)
    if place is None:
        return number
    return rf"\textbf{{{number}}}" if place == "best" else rf"\underline{{{number}}}"


def _place(report: Report, name: str, metric: str) -> Literal["best", "second"] | None:
    """Whether a mean is marked as the best, or as the second best of at least three."""
    ranks = [standing.ranks[metric] for standing in report.comparison.standings.values()]
    ranked, rank = sum(not math.isnan(one) for one in ranks), report.comparison.standings[name].ranks[metric]
    if ranked < 2 or math.isnan(rank) or rank >= 3:
        return None
    return "best" if rank < 2 else "second" if ranked > 2 else None


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
