"""Images for a comparison: a plot of ranks, and contact sheets of the best and worst pairs."""

import io
import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from refusion.metrics.comparison import best_first
from refusion.metrics.evaluation import FusedSource, read_triple
from refusion.metrics.reports import Report, value_text
from refusion.metrics.scoring import images_of
from refusion.pairs.dataset import Pairs
from refusion.system.files import write_bytes

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
"""File formats of a plot."""

SHOWN = 3
"""Number of best and of worst pairs on a contact sheet."""

_TILE, _MARGIN, _LINE = 240, 8, 16


def check_plot(path: Path) -> None:
    """Check before scoring that a plot can be drawn.

    Raises:
        ValueError: matplotlib is not installed, or the suffix is not one of `PLOT_SUFFIXES`.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"{path.name} has no suffix of a plot; choose one of {', '.join(PLOT_SUFFIXES)}.")
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            'A plot of ranks needs matplotlib; install it with pip install "refusion[plots]", or leave --ranks out.'
        ) from error


def save_rank_plot(report: Report, path: Path) -> None:
    """Plot the rank of every contender in every metric, the best mean rank on top.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    standings = sorted(report.comparison.standings.items(), key=lambda item: item[1].mean_rank)
    columns = ["mean", *report.metrics]
    ranks = [[standing.mean_rank, *standing.ranks.values()] for _, standing in standings]
    figure = Figure(figsize=(2.5 + 0.55 * len(columns), 1.5 + 0.4 * len(ranks)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(ranks, cmap="viridis_r", vmin=1, vmax=max(2, len(ranks)), aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(ranks)), [name for name, _ in standings])
    for row, values in enumerate(ranks):
        for column, rank in enumerate(values):
            text = value_text(rank, 2 if column == 0 else 1).removesuffix(".0")
            dark = not math.isnan(rank) and rank > (1 + len(ranks)) / 2
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.axvline(0.5, color="white", linewidth=3)
    axes.set_title(f"Ranks over {len(report.comparison.pairs)} pairs, 1 is best ({report.conventions.name})")
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=150)
    write_bytes(path, content.getvalue())


def save_contact_sheets(report: Report, pairs: Pairs, sources: Mapping[str, FusedSource], folder: Path) -> list[Path]:
    """Write a PNG per contender: sources and fused images of its worst and its best pairs.

    Args:
        report: the scores.
        pairs: the data set that was scored.
        sources: source of the fused images by name of the contender.
        folder: existing folder for the files.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
        PictureError: a scored image can no longer be read.
    """
    chosen = {name: _chosen(report, name) for name in sources}
    wanted = {pair for labels in chosen.values() for pair in labels}
    found = {str(row["name"]): row for row in pairs.dataset if str(row["name"]) in wanted}
    files = []
    for number, (name, fused) in enumerate(sources.items(), 1):
        lines = [
            (f"{label}: {pair}", images_of(read_triple(found[pair], fused, pairs)))
            for pair, label in chosen[name].items()
            if pair in found
        ]
        content = io.BytesIO()
        _sheet(name, lines).save(content, "PNG")
        safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in name)
        files.append(folder / f"{number}-{safe.strip('._') or 'contender'}.png")
        write_bytes(files[-1], content.getvalue())
    return files


def _chosen(report: Report, contender: str) -> dict[str, str]:
    """The pairs of a sheet with their labels, worst first."""
    counted = {metric: more for metric, more in report.directions.items() if metric not in report.repeated}
    names = best_first(report.evaluations, contender, counted)
    worst = names[-SHOWN:][::-1]
    best = [name for name in names[:SHOWN] if name not in worst]
    return dict.fromkeys(worst, "worst") | dict.fromkeys(best, "best")


def _sheet(title: str, lines: list[tuple[str, tuple[Image.Image, Image.Image, Image.Image]]]) -> Image.Image:
    width = 3 * _TILE + 4 * _MARGIN
    tiles = [[_fitted(image) for image in images] for _, images in lines]
    heights = [max(tile.height for tile in row) + _LINE + _MARGIN for row in tiles]
    sheet = Image.new("RGB", (width, sum(heights) + _LINE + 2 * _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), f"{title}: source A, source B, fused", "black")
    top = _LINE + _MARGIN
    for (label, _), row, height in zip(lines, tiles, heights, strict=True):
        draw.text((_MARGIN, top), label, "black")
        for column, tile in enumerate(row):
            sheet.paste(tile, (_MARGIN + column * (_TILE + _MARGIN), top + _LINE))
        top += height
    return sheet


def _fitted(image: Image.Image) -> Image.Image:
    factor = _TILE / max(image.size)
    size = tuple(max(1, round(side * factor)) for side in image.size)
    return image.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
