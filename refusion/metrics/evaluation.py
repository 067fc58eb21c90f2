"""Score fused images over a set of pairs."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from refusion.images import Picture, PictureError, read_picture
from refusion.images.picture import by, range_note
from refusion.images.profiles import share_profile
from refusion.metrics.conventions import REFUSION, Conventions, check_name, get_conventions
from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import METRICS
from refusion.metrics.scoring import SCORED, CustomMetric, score_custom, score_fused
from refusion.pairs.dataset import Pairs, named_notes, pair_notes, picture_files, read_pictures
from refusion.pairs.errors import DataError
from refusion.pairs.fused_folder import FusedFolder
from refusion.system.advice import without_options
from refusion.system.threads import in_order
from refusion.tasks import Task


@dataclass(frozen=True)
class PairScores:
    """Scores of one fused pair.

    Attributes:
        name: name of the pair.
        scores: the values of the metrics by name; nan if one is undefined for the pair.
        errors: why user-defined metrics failed for the pair, one sentence each.
    """

    name: str
    scores: dict[str, float]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairFailure:
    """A pair that could not be scored, and the reason as a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Statistic:
    """One metric over a set of pairs.

    Attributes:
        mean: mean over the pairs; nan without pairs.
        std: population standard deviation over the pairs; nan without pairs.
        count: number of pairs for which the metric is finite.
    """

    mean: float
    std: float
    count: int


@dataclass
class Evaluation:
    """Results for the pairs of one data set.

    Attributes:
        metrics: names of the metrics, in the order of the tables.
        scored: the pairs that could be scored, in the order of the data set.
        failed: the other pairs.
        notes: notes on the sources and on fused images of a folder for the user, as sentences.
    """

    metrics: tuple[str, ...]
    scored: list[PairScores] = field(default_factory=list)
    failed: list[PairFailure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def statistic(self, metric: str) -> Statistic:
        """Mean, deviation and count of a metric over the scored pairs for which it is finite."""
        numbers = [row.scores[metric] for row in self.scored if math.isfinite(row.scores[metric])]
        if not numbers:
            return Statistic(math.nan, math.nan, 0)
        return Statistic(float(np.mean(numbers)), float(np.std(numbers)), len(numbers))

    def statistics(self) -> dict[str, Statistic]:
        """Statistics of all metrics by name, see `statistic`."""
        return {metric: self.statistic(metric) for metric in self.metrics}


FusedSource = Callable[..., Any] | FusedFolder
"""Source of the fused images: a function of both sources that returns a Pillow image or an array-like, or a folder of
fused images."""

_OPAQUE = 254 / 255

_Triple = tuple[Picture, Picture, Picture]


def pair_names(pairs: Pairs) -> list[str]:
    """Names of all pairs of a data set, without decoding an image.

    Raises:
        DataError: the data set is empty.
    """
    names = [str(row["name"]) for row in pairs.dataset.select_columns(["name"])]
    if not names:
        left_out = f" Left out: {'; '.join(pairs.skipped[:5])}." if pairs.skipped else ""
        raise DataError(f"The data set has no usable pair.{left_out}")
    return names


def evaluate(
    pairs: Pairs,
    fused: FusedSource,
    metrics: tuple[str, ...] = SCORED,
    on_pair: Callable[[], None] | None = None,
    task: Task | None = None,
    *,
    conventions: Conventions | str = REFUSION,
    custom: Mapping[str, CustomMetric] | None = None,
    look: Callable[[Picture, Picture], str | None] | None = None,
) -> Evaluation:
    """Score the fused image of every pair; pairs that cannot be scored are listed with the reason.

    Images are fused one after the other, and scored in parallel on all cores. Up to twice as many pairs as cores are in
    memory at a time.

    Args:
        pairs: the data set.
        fused: takes both sources and returns the fused image, as `refusion.models.model.ReFusion.fuse` does; or a
            folder of fused images.
        metrics: keys of `METRICS`, `DEFECTS` and `custom`; see `refusion.metrics.scoring.scored_metrics`.
        on_pair: called after every pair.
        task: expected kinds of sources, for the notes.
        conventions: how metrics are computed, a set or its name.
        custom: user-defined metrics by name; called from several threads. Where one fails, only it is undefined.
        look: a further check of both sources, which returns a note, as `refusion.inference.offsets.offset_note`.

    Raises:
        ValueError: there is no such metric or preset, or the conventions have the name of a preset and other values.
        DataError: `fused` is a folder, and two pairs have one name.
        OSError: reading the data set failed.
    """
    conventions = get_conventions(conventions)
    check_name(conventions)
    known = (*METRICS, *DEFECTS, *(custom or ()))
    if unknown := [name for name in metrics if name not in known]:
        raise ValueError(f"There is no metric {', '.join(unknown)}; the metrics are {', '.join(known)}.")
    if isinstance(fused, FusedFolder):
        _refuse_same_names(pair_names(pairs), fused)
    evaluation = Evaluation(tuple(metrics))

    def score_row(
        row: dict[str, Any], outcome: _Triple | ValueError | None
    ) -> tuple[PairScores | PairFailure, list[str]]:
        name, notes = str(row["name"]), []
        try:
            images = read_triple(row, fused, pairs) if outcome is None else outcome
            if isinstance(images, ValueError):
                raise images
            sources, reading = images[:2], pairs.reading
            notes = reading.notes(sources) if task is None else pair_notes(sources, reading, task)
            if look is not None and (note := look(*sources)):
                notes.append(without_options(note))
            if isinstance(fused, FusedFolder):
                notes += _fused_notes(images[2], fused)
            for_all = _colour_notes(images, fused, conventions)
            scores = score_fused(*images, evaluation.metrics, conventions)
            own, errors = score_custom(images, custom or {})
            return PairScores(name, scores | own, errors), named_notes(name, notes) + for_all
        except ValueError as error:
            return PairFailure(name, str(error)), named_notes(name, notes)

    # A model runs here, on all cores; images in folders are read by the scoring threads.
    rows = ((row, None if isinstance(fused, FusedFolder) else _fuse(row, fused, pairs)) for row in pairs.dataset)
    outcomes = in_order(score_row, rows)
    with closing(outcomes):
        for outcome, notes in outcomes:
            evaluation.notes += (note for note in notes if note not in evaluation.notes)
            if isinstance(outcome, PairScores):
                evaluation.scored.append(outcome)
            else:
                evaluation.failed.append(outcome)
            if on_pair is not None:
                on_pair()
    return evaluation


def _fused_notes(picture: Picture, folder: FusedFolder) -> list[str]:
    """Notes on a fused image of a folder: values that use little of their scale, and transparency."""
    picture = replace(picture, name=f"{folder.path.name}/{picture.name}")
    notes = [without_options(note) for note in (*picture.notes, range_note([picture])) if note]
    if picture.alpha is not None and picture.alpha.min() < _OPAQUE:
        notes.append(f"{picture.name} is transparent in part, and is scored over black.")
    return notes


def _colour_notes(images: _Triple, fused: FusedSource, conventions: Conventions) -> list[str]:
    """A note, the same for all pairs, if a coloured image of grey sources is scored by its luminance."""
    a, b, picture = images
    if picture.chroma is None or a.chroma is not None or b.chroma is not None or conventions.colour != "luminance":
        return []
    whose = f" of {fused.path.name}" if isinstance(fused, FusedFolder) else ""
    return [f"Fused images{whose} are in colour, but their sources are grey: they are scored by their luminance."]


def _refuse_same_names(names: Iterable[str], folder: FusedFolder) -> None:
    """Refuse names by which one fused image would be scored for several pairs.

    Raises:
        DataError: two pairs have one name.
    """
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"{count} pairs are called {name}, so their fused images in {folder.path.name} cannot be told apart; give "
            "each pair a name of its own: the column output of a list, or name of other data sets."
        )


def read_triple(row: dict[str, Any], fused: FusedSource, pairs: Pairs) -> _Triple:
    """Return both sources of a row of a data set and the fused image.

    Raises:
        PictureError: a source or the fused image is missing, unreadable or of another size.
        ValueError: `fused` does not accept the sources.
    """
    a, b = read_pictures(row, pairs.reading)
    # As it is fused.
    b, _ = share_profile(b, a)
    if isinstance(fused, FusedFolder):
        try:
            picture = read_picture(fused.find(str(row["name"])))
        except PictureError as error:
            # Options of reading, such as a window, are for the sources.
            raise PictureError(without_options(error)) from error
    else:
        result = fused(*picture_files(row))
        picture = read_picture(result if isinstance(result, Image.Image) else np.asarray(result))
    if picture.size != a.size:
        raise PictureError(
            f"The fused image ({picture.name}) is {by(picture.size)}, but its sources are {by(a.size)} "
            "(width x height); fuse the pair again, or give the fused image of these sources."
        )
    return a, b, picture


def _fuse(row: dict[str, Any], fused: FusedSource, pairs: Pairs) -> _Triple | ValueError:
    """Return the result of `read_triple` or its error."""
    try:
        return read_triple(row, fused, pairs)
    except ValueError as error:
        return error
