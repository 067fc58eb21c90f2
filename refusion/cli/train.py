"""refusion train"""

import typer


def train(context: typer.Context) -> None:
    """Train a model on pairs, as train.py does; refusion train --help lists the flags."""
    from refusion.training.command import main

    raise typer.Exit(main(context.args, "refusion train"))
