"""The `refusion` command in this process, which is quicker than a new one for every case."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch

from refusion.cli.app import main
from refusion.hub.folder import save_model
from refusion.models.model import ReFusion


class Result(NamedTuple):
    code: int
    out: str
    err: str


def refusion(*arguments: object) -> Result:
    """Run the command with these arguments; a traceback is not caught."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["refusion", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    return Result(code, out.getvalue(), " ".join(err.getvalue().split()))


@contextlib.contextmanager
def stopped_after(count: int) -> Iterator[None]:
    """Let the command be stopped with Ctrl-C when it reports that this many pairs or frames are done."""

    def report(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    def bar(*_: object, **__: object) -> contextlib.nullcontext:
        return contextlib.nullcontext(report)

    with (
        mock.patch("refusion.cli.fuse_dataset.progress_bar", bar),
        mock.patch("refusion.cli.fuse_folders.progress_bar", bar),
        mock.patch("refusion.cli.fuse_modes.progress_bar", bar),
    ):
        yield


def check_refused(result: Result, *words: str) -> None:
    """Check that the command refused its arguments in a message that has these words."""
    assert result.code == 2, result.out + result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


def small_model(folder: Path, task: str = "ir-vis") -> Path:
    """A folder with an untrained model that is quick to run."""
    folder.mkdir()
    torch.manual_seed(0)
    model = ReFusion(task, channels=8, heads=4, blocks=1)
    save_model(folder, model, model.config)
    return folder
