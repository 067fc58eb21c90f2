"""Compare contenders over the pairs that all of them have: ranks, bootstrap intervals and paired differences."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refusion.metrics.evaluation import Evaluation

RESAMPLES = 2000
"""Bootstrap samples of the pairs; their seed is 0."""

CONFIDENCE = 0.95
"""Confidence level of the percentile intervals."""

_DECIMALS = 9
"""Decimals to which values are compared for a rank."""

_EXACT = 14
"""Most pairs for which the randomisation test goes through all signs."""


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs and its bootstrap interval; nan without pairs, the interval also for a single pair."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """Results of one contender relative to the others.

    Attributes:
        means: mean of each metric, with its interval.
        ranks: rank of each mean, 1 is best; ties share the mean of their ranks; nan if the mean is nan.
        mean_rank: mean of the ranks, each quantity once.
        differences: mean paired difference of each metric from the first contender, with its interval.
        p_values: p value of each of these differences, see `sign_flip_p`; nan without pairs.
        better: number of pairs for which each metric is better than that of the first contender.
    """

    means: dict[str, Estimate]
    ranks: dict[str, float]
    mean_rank: float
    differences: dict[str, Estimate]
    p_values: dict[str, float]
    better: dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """Comparison of all contenders over the same pairs, without those that have scores for no pair.

    Attributes:
        pairs: names of the pairs that every contender has scores for.
        counts: by metric, the number of pairs for which it is finite for every contender.
        standings: by name of the contender; all numbers are nan, or 0 pairs, for those that are left out.
        first: name of the contender that the differences are from.
    """

    pairs: tuple[str, ...]
    counts: dict[str, int]
    standings: dict[str, Standing]
    first: str


def compare(
    evaluations: Mapping[str, Evaluation], higher_is_better: Mapping[str, bool], repeated: Collection[str] = ()
) -> Comparison:
    """Compare contenders by the metrics of `higher_is_better`.

    Args:
        evaluations: scores over one data set by name of the contender, one or more.
        higher_is_better: direction of each metric.
        repeated: metrics that equal another one, and do not count in the mean rank.
    """
    every, evaluations = list(evaluations), _with_scores(evaluations)
    names = _shared(evaluations.values())
    means: list[dict[str, Estimate]] = [{} for _ in evaluations]
    differences: list[dict[str, Estimate]] = [{} for _ in evaluations]
    ranks: list[dict[str, float]] = [{} for _ in evaluations]
    p_values: list[dict[str, float]] = [{} for _ in evaluations]
    better: list[dict[str, int]] = [{} for _ in evaluations]
    counts = {}
    for metric, more in higher_is_better.items():
        values = _values(evaluations.values(), names, metric)
        values = values[:, np.isfinite(values).all(axis=0)]
        counts[metric] = values.shape[1]
        estimates, gaps = _estimates(values), _estimates(values - values[:1])
        placed = _ranks([estimate.mean for estimate in estimates], more)
        for index, row in enumerate(values):
            means[index][metric], differences[index][metric] = estimates[index], gaps[index]
            ranks[index][metric] = placed[index]
            p_values[index][metric] = sign_flip_p(row - values[0])
            better[index][metric] = int((row > values[0] if more else row < values[0]).sum())
    standings = {
        name: Standing(mean, rank, _mean(rank[x] for x in rank if x not in repeated), difference, p_value, more)
        for name, mean, rank, difference, p_value, more in zip(
            evaluations, means, ranks, differences, p_values, better, strict=True
        )
    }
    left_out = _nothing(higher_is_better)
    return Comparison(
        names, counts, {name: standings.get(name, left_out) for name in every}, next(iter(evaluations), "")
    )


def best_first(
    evaluations: Mapping[str, Evaluation], contender: str, higher_is_better: Mapping[str, bool]
) -> list[str]:
    """Sort the pairs that all contenders have, from the best to the worst result of one contender.

    The order is that of the mean rank over the metrics: of the difference from the mean of all contenders, or of the
    metrics themselves if there is only one contender. Contenders that have scores for no pair do not count.
    """
    evaluations = _with_scores(evaluations)
    if contender not in evaluations:
        return []
    names = _shared(evaluations.values())
    place = list(evaluations).index(contender)
    ranks = []
    for metric, more in higher_is_better.items():
        values = _values(evaluations.values(), names, metric)
        lead = values[place] - values.mean(axis=0) if len(values) > 1 else values[place]
        ranks.append(_ranks(lead, more))
    return [name for _, name in sorted(zip([_mean(row) for row in zip(*ranks, strict=True)], names, strict=True))]


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p value of a mean paired difference, by Fisher's randomisation test (The Design of Experiments, 1935).

    The share of all assignments of signs to the differences whose mean is at least as far from 0; for more than 14
    pairs, of 10,000, the one that was found and random ones. It is at least 2 / 2^n with n pairs, or 1 / 10,000.

    Args:
        differences: (n,), finite.
    """
    pairs = len(differences)
    if pairs == 0:
        return math.nan
    if not differences.any():
        return 1.0
    if pairs <= _EXACT:
        signs = 1 - 2 * (np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1)
        sums = signs @ differences
    else:
        rng = np.random.default_rng(0)
        blocks = _blocks(10_000, pairs)
        sums = np.concatenate([rng.choice([-1, 1], (rows, pairs)) @ differences for rows in blocks])
        sums[0] = differences.sum()
    # Sums that are equal but for rounding count as equal.
    threshold = abs(differences.sum()) * (1 - 1e-9)
    return float(np.mean(np.abs(sums) >= threshold))


def _blocks(rows: int, columns: int) -> Iterator[int]:
    """Numbers of rows that add up to `rows`, each of a block of at most a million values."""
    height = max(1, 2**20 // columns)
    yield from (min(height, rows - first) for first in range(0, rows, height))


def _with_scores(evaluations: Mapping[str, Evaluation]) -> Mapping[str, Evaluation]:
    """Those that have scores for a pair; all if none has."""
    return {name: evaluation for name, evaluation in evaluations.items() if evaluation.scored} or evaluations


def _nothing(metrics: Iterable[str]) -> Standing:
    empty = dict.fromkeys(metrics, Estimate(math.nan, math.nan, math.nan))
    return Standing(
        empty, dict.fromkeys(empty, math.nan), math.nan, empty, dict.fromkeys(empty, math.nan), dict.fromkeys(empty, 0)
    )


def _shared(evaluations: Iterable[Evaluation]) -> tuple[str, ...]:
    sets = [dict.fromkeys(row.name for row in evaluation.scored) for evaluation in evaluations]
    return tuple(name for name in sets[0] if all(name in others for others in sets))


def _values(evaluations: Iterable[Evaluation], names: tuple[str, ...], metric: str) -> np.ndarray:
    """One metric, (contenders, pairs)."""
    rows = ({row.name: row.scores[metric] for row in evaluation.scored} for evaluation in evaluations)
    return np.array([[scores[name] for name in names] for scores in rows], dtype=np.float64)


def _estimates(values: np.ndarray) -> list[Estimate]:
    """Mean and interval of each row."""
    pairs = values.shape[1]
    if pairs == 0:
        return [Estimate(math.nan, math.nan, math.nan)] * len(values)
    means = values.mean(axis=1)
    if pairs == 1:
        return [Estimate(float(mean), math.nan, math.nan) for mean in means]
    rng, shares = np.random.default_rng(0), np.full(pairs, 1 / pairs)
    blocks = _blocks(RESAMPLES, pairs)
    drawn = np.concatenate([rng.multinomial(pairs, shares, size=rows) @ values.T / pairs for rows in blocks])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0)
    return [Estimate(*map(float, row)) for row in zip(means, low, high, strict=True)]


def _ranks(values: Sequence[float], higher_is_better: bool) -> list[float]:
    """Ranks from 1, ties share the mean of theirs; the rank of nan is nan.

    Values that differ by rounding errors only are ties.
    """
    keys = np.round(values, _DECIMALS) * (-1 if higher_is_better else 1)
    ordered = np.sort(keys[~np.isnan(keys)])
    ranks = (np.searchsorted(ordered, keys) + np.searchsorted(ordered, keys, side="right") + 1) / 2
    return np.where(np.isnan(keys), np.nan, ranks).tolist()


def _mean(values: Iterable[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
