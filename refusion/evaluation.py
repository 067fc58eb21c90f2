"""Scores of fused pictures over a set of pairs."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from refusion.data import Pairs, picture_files
from refusion.files import write_text
from refusion.images import read_picture
from refusion.metrics import DEFAULT_METRICS, score

DEFINITIONS = (
    "8-bit luminance (BT.601); MI (nats), VIF and SSIM summed over both sources, CC their mean; "
    "Qabf after Xydeas and Petrovic; see refusion.metrics"
)


@dataclass(frozen=True)
class PairScores:
    """Scores of one fused pair, by metric."""

    name: str
    scores: dict[str, float]


def evaluate(pairs: Pairs, fuse: Callable[..., Image.Image]) -> list[PairScores]:
    """Fuse every pair and score the pictures that come out.

    Args:
        pairs: the data set.
        fuse: takes both sources and returns the fused picture, as `refusion.model.ReFusion.fuse` does.

    Raises:
        PictureError: a pair cannot be read.
        ValueError: a pair is too small for a metric.
    """
    rows = []
    for row in pairs.dataset:
        fused = read_picture(fuse(*picture_files(row))).luminance
        a, b = (read_picture(source).luminance for source in picture_files(row))
        rows.append(PairScores(row["name"], score(*(levels(x) for x in (a, b, fused)))))
    return rows


def levels(luminance: np.ndarray) -> np.ndarray:
    """Luminance in [0, 1] as whole grey levels 0 to 255, float64."""
    return np.rint(luminance.astype(np.float64) * 255)


def means(rows: list[PairScores]) -> dict[str, float]:
    """Mean over the pairs, by metric."""
    return {name: float(np.mean([row.scores[name] for row in rows])) for name in DEFAULT_METRICS}


def save_scores(path: Path, scores: dict[str, list[PairScores]]) -> None:
    """Write means and per-pair scores of one or more models as JSON."""
    models = {
        name: {"pairs": len(rows), "mean": means(rows), "per_pair": [asdict(row) for row in rows]}
        for name, rows in scores.items()
    }
    write_text(path, json.dumps({"definitions": DEFINITIONS, "models": models}, indent=1) + "\n")
