"""refusion evaluate"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from refusion.commands.options import RangeOption, StretchOption, TaskOption
from refusion.tasks import get_task


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Pairs: a folder with the task's two sub-folders, an imagefolder or Parquet.")
    ],
    task: TaskOption = "ir-vis",
    model: Annotated[
        list[str] | None, typer.Option(help="Bare name, folder or OWNER/NAME; may be given several times.")
    ] = None,
    output_range: RangeOption = "sources",
    stretch: StretchOption = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the scores, pair by pair.")] = None,
) -> None:
    """Fuse every pair of a data set and score the results."""
    chosen = get_task(task)

    from rich.console import Console
    from rich.table import Table

    from refusion.data import load_pairs
    from refusion.evaluation import DEFINITIONS, evaluate, means, save_scores
    from refusion.metrics import DEFAULT_METRICS
    from refusion.model import ReFusion

    pairs = load_pairs(data, chosen)
    scores = {}
    for name in model or [chosen.model]:
        loaded = ReFusion.from_pretrained(name)
        fuse_pair = partial(loaded.fuse, output_range="stretch" if stretch else output_range, chroma=chosen.chroma)
        scores[name] = evaluate(pairs, fuse_pair)
    table = Table("model", *DEFAULT_METRICS, caption=f"means over {len(pairs.dataset)} pairs; {DEFINITIONS}")
    for name, rows in scores.items():
        table.add_row(name, *(f"{value:.3f}" for value in means(rows).values()))
    Console(width=140).print(table)
    if json_path is not None:
        save_scores(json_path, scores)
