"""Scores of fused pictures over a set of pairs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refusion.images import Picture, PictureError, PictureSource, read_picture
from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import DEFAULT_METRICS, MEF_SSIM_MIN_SIZE, METRICS, VIF_MIN_SIZE, score
from refusion.pairs.dataset import Pairs, pair_notes, picture_files, read_pictures
from refusion.pairs.files import DataError, refuse_doubles
from refusion.pairs.matching import files_of, nfc
from refusion.tasks import Task

FIGURES = (*DEFAULT_METRICS, "border")
"""Figures that are scored unless others are asked for."""

_TASK_FIGURES = {
    "ir-vis": (*FIGURES, "heat", "bright"),
    "medical": (*FIGURES, "background"),
    "multi-focus": (*FIGURES, "sharp", "agree"),
    "multi-exposure": (*DEFAULT_METRICS, "MEF-SSIM", "border"),
}

MIN_SIZES = {"VIF": VIF_MIN_SIZE, "MEF-SSIM": MEF_SSIM_MIN_SIZE}
"""Shortest side of a picture that a metric needs, where it is more than any picture has."""


def figures_of(task: Task) -> tuple[str, ...]:
    """Names of the figures that are scored for a task: keys of `METRICS`, then of `DEFECTS`."""
    return _TASK_FIGURES.get(task.name, FIGURES)


@dataclass(frozen=True)
class PairScores:
    """Figures of one fused pair, by name; nan where a figure has no meaning for the pair."""

    name: str
    scores: dict[str, float]


@dataclass(frozen=True)
class PairFailure:
    """A pair that could not be scored, and why, as a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Statistic:
    """One figure over a set of pairs.

    Attributes:
        mean: mean over the pairs; nan if there is none.
        std: population standard deviation over the pairs; nan if there is none.
        count: pairs for which the figure is a number.
    """

    mean: float
    std: float
    count: int


@dataclass
class Evaluation:
    """What became of the pairs of one data set.

    Attributes:
        figures: names of the figures, in the order of the tables.
        scored: the pairs that worked, in the order of the data set.
        failed: the others.
        notes: what a person should know of the sources, as sentences.
    """

    figures: tuple[str, ...]
    scored: list[PairScores] = field(default_factory=list)
    failed: list[PairFailure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def statistic(self, figure: str) -> Statistic:
        """Mean, deviation and count of a figure, over the pairs that worked and for which it is a number."""
        numbers = [row.scores[figure] for row in self.scored if not math.isnan(row.scores[figure])]
        if not numbers:
            return Statistic(math.nan, math.nan, 0)
        return Statistic(float(np.mean(numbers)), float(np.std(numbers)), len(numbers))

    def statistics(self) -> dict[str, Statistic]:
        """All figures by name, see `statistic`."""
        return {figure: self.statistic(figure) for figure in self.figures}


class FusedFolder:
    """Pictures that were fused before, one file a pair, found by the name of the pair.

    Args:
        path: the folder.

    Raises:
        DataError: there is no such folder, or two pictures in it have the same stem.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"There is no folder {str(path)!r}; give the folder that holds the fused pictures.")
        self.path = path
        files = files_of(path)
        refuse_doubles(files, DataError)
        self._by_stem = files.by_name
        self._by_name = {nfc(file.relative_to(path).as_posix()): file for file in files.by_name.values()}

    def find(self, name: str) -> Path:
        """Return the picture of the pair `name`: the one with this stem, or with exactly this file name.

        Raises:
            PictureError: there is none.
        """
        file = self._by_stem.get(nfc(name)) or self._by_name.get(nfc(name))
        if file is None:
            raise PictureError(
                f"There is no fused picture {name} in {self.path.name}; its name must be that of the pair, "
                f"as in {name}.png."
            )
        return file


Fused = Callable[..., Image.Image] | FusedFolder
"""Where fused pictures come from: a function of both sources, or a folder of finished pictures."""


def pair_names(pairs: Pairs) -> list[str]:
    """Names of all pairs of a data set, without decoding a picture.

    Raises:
        DataError: the data set is empty.
    """
    names = [str(row["name"]) for row in pairs.dataset.select_columns(["name"])]
    if not names:
        left_out = f" Left out: {'; '.join(pairs.skipped[:5])}." if pairs.skipped else ""
        raise DataError(f"The data set holds no usable pair.{left_out}")
    return names


def evaluate(
    pairs: Pairs,
    fused: Fused,
    figures: tuple[str, ...] = FIGURES,
    on_pair: Callable[[], None] | None = None,
    task: Task | None = None,
) -> Evaluation:
    """Score the fused picture of every pair; pairs that cannot be scored are listed with the reason.

    One pair is in memory at a time.

    Args:
        pairs: the data set.
        fused: takes both sources and returns the fused picture, as `refusion.models.model.ReFusion.fuse` does; or a
            folder of fused pictures.
        figures: keys of `METRICS` and `DEFECTS`; see `figures_of`.
        on_pair: called after every pair.
        task: what the sources are to be, for the notes.

    Raises:
        ValueError: there is no such figure.
        OSError: the data set itself cannot be read on.
    """
    if unknown := [name for name in figures if name not in METRICS and name not in DEFECTS]:
        raise ValueError(f"There is no figure {', '.join(unknown)}; the figures are {', '.join((*METRICS, *DEFECTS))}.")
    evaluation = Evaluation(tuple(figures))
    for row in pairs.dataset:
        name = str(row["name"])
        try:
            sources = read_pictures(row, pairs.reading)
            notes = pairs.reading.notes(sources) if task is None else pair_notes(sources, pairs.reading, task)
            evaluation.notes += (note for note in notes if note not in evaluation.notes)
            evaluation.scored.append(PairScores(name, _score_pair(row, sources, fused, evaluation.figures)))
        except ValueError as error:
            evaluation.failed.append(PairFailure(name, str(error)))
        if on_pair is not None:
            on_pair()
    return evaluation


def levels(luminance: np.ndarray) -> np.ndarray:
    """Luminance in [0, 1] as whole grey levels 0 to 255, float64."""
    return np.rint(luminance.astype(np.float64) * 255)


def _score_pair(
    row: dict[str, Any], sources: tuple[Picture, Picture], fused: Fused, figures: tuple[str, ...]
) -> dict[str, float]:
    """All figures of one pair.

    Raises:
        PictureError: a source or the fused picture is missing, unreadable, too small or of another size.
        ValueError: `fused` refuses the sources.
    """
    a, b = sources
    _check_large_enough(a.size, figures)
    result = read_picture(_fused_picture(row, fused))
    if result.size != a.size:
        raise PictureError(
            f"The fused picture ({result.name}) is {_by(result.size)}, but its sources are {_by(a.size)} "
            "(width x height); fuse them again, or give the pictures that belong to them."
        )
    pictures = levels(a.luminance), levels(b.luminance), levels(result.luminance)
    scores = score(*pictures, [name for name in figures if name in METRICS])
    scores |= {name: DEFECTS[name].function(*pictures) for name in figures if name in DEFECTS}
    return {name: scores[name] for name in figures}


def _fused_picture(row: dict[str, Any], fused: Fused) -> PictureSource:
    if isinstance(fused, FusedFolder):
        return fused.find(str(row["name"]))
    return fused(*picture_files(row))


def _check_large_enough(size: tuple[int, int], figures: tuple[str, ...]) -> None:
    for name in figures:
        if min(size) < (needed := MIN_SIZES.get(name, 0)):
            raise PictureError(
                f"The pair is {_by(size)} pixels, too small for {name}, which needs {needed} x {needed} or more."
            )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
