"""The `refusion` command. Nothing heavy is imported before a command runs, so that --help answers at once."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from refusion.tasks import TASKS, get_task

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fuse registered pictures of one scene into one.",
)

TaskOption = Annotated[str, typer.Option("--task", help=f"One of {', '.join(TASKS)}.")]
RangeOption = Annotated[
    str, typer.Option(help="sources: the range that both sources span; stretch: the full range; network: as it comes.")
]
StretchOption = Annotated[
    bool, typer.Option("--stretch", help="Short for --output-range stretch, which the authors' release does.")
]


def main() -> None:
    """Run the command line; bad input and paths that cannot be used are one sentence, exit code 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"refusion: {error}", err=True)
        raise SystemExit(2) from error


@app.callback()
def _root() -> None:
    """Fuse registered pictures of one scene into one."""


@app.command()
def fuse(
    a: Annotated[Path, typer.Argument(help="First source: infrared, functional, near focus or under-exposed.")],
    b: Annotated[Path, typer.Argument(help="Second source: visible, MRI, far focus or over-exposed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write: .png, .jpg, .tif, .bmp or .webp.")],
    task: TaskOption = "ir-vis",
    model: Annotated[
        str | None, typer.Option(help="Bare name, folder or OWNER/NAME on the Hub; the task's own if not given.")
    ] = None,
    output_range: RangeOption = "sources",
    stretch: StretchOption = False,
) -> None:
    """Fuse one pair of pictures."""
    chosen = get_task(task)
    refuse_overwriting(output, (a, b))

    from refusion.images import save_image
    from refusion.model import ReFusion

    loaded = ReFusion.from_pretrained(model or chosen.model)
    fused = loaded.fuse(a, b, output_range="stretch" if stretch else output_range, chroma=chosen.chroma)
    save_image(fused, output)


@app.command()
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


@app.command()
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of the authors' release, such as ReFusion_IVIF.pth.")
    ],
    out_dir: Annotated[Path, typer.Argument(help="Folder to write config.json and model.safetensors into.")],
    task: TaskOption = "ir-vis",
) -> None:
    """Turn a checkpoint of the authors' release into a folder that `--model` accepts."""
    chosen = get_task(task)

    from refusion.authors import convert_checkpoint
    from refusion.hub import save_model

    model = convert_checkpoint(checkpoint, chosen.name)
    out_dir.mkdir(parents=True, exist_ok=True)
    save_model(out_dir, model, model.config)


def refuse_overwriting(output: Path, sources: tuple[Path, ...]) -> None:
    """Refuse to write over a source.

    Raises:
        ValueError: `output` is one of the sources.
    """
    for source in sources:
        if output.exists() and source.exists() and output.samefile(source):
            raise ValueError(f"The output {output.name} is one of the sources; choose another name.")
