"""refusion reproduce"""

from argparse import Namespace
from pathlib import Path
from typing import Annotated

import typer

from refusion.cli.say import say
from refusion.system.extras import need


def reproduce(
    run_folder: Annotated[Path, typer.Argument(help="Folder of a run of train.py.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the new run; default: RUN_FOLDER-again.")] = None,
    data: Annotated[str | None, typer.Option(help="Location of the pairs, if they were moved.")] = None,
) -> None:
    """Repeat a training run with the same settings, seed and data, and compare the weights.

    Different data are refused; different versions or source revisions are reported.
    """
    from refusion.system.processes import rank_here
    from refusion.training import reproduction
    from refusion.training.flags import make_parser

    folder = run_folder.resolve()
    run = reproduction.read_run(folder)
    need("train", "refusion reproduce")
    out = (out or folder.with_name(f"{folder.name}-again")).resolve()
    if out == folder:
        raise ValueError(f"{folder.name} is the run itself; give another folder as --out.")
    flags = ["--data", data or run["arguments"]["data"], "--out", str(out)]
    args = make_parser().parse_args(flags, reproduction.arguments_of(run))
    from refusion.training.session import start

    first, *lengthened = (Namespace(**{**vars(args), **stage}) for stage in reproduction.stages_of(run))
    code = start(first, announce=lambda processes: reproduction.differences(run, processes.count))
    for stage in lengthened:
        code = code or start(stage)
    if code == 0 and rank_here() == 0:
        say(reproduction.comparison(folder, out))
    raise typer.Exit(code)
