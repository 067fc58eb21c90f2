"""A training run as a program: determinism, and errors as sentences and exit codes."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from rich.console import Console

from refusion.system.errors import sentence_of
from refusion.system.processes import LostProcessError, Processes, error_line
from refusion.training.run import run
from refusion.training.stop_signal import StopSignal
from refusion.training.trainer import TrainingError


def start(args: argparse.Namespace, announce: Callable[[Processes], list[str]] = lambda _: []) -> int:
    """Train with the given flags; errors are printed as sentences on stderr.

    Args:
        args: as from `make_parser`.
        announce: gives sentences to print before the training.

    Returns:
        The exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user.
    """
    console = Console(stderr=True)

    def fail(sentence: str, code: int) -> int:
        console.print(error_line(sentence), style="red", markup=False, highlight=False, soft_wrap=True)
        return code

    # Until an error is printed, a launcher that stops the other processes must not end this one.
    with StopSignal() as stop:
        try:
            with repeatable(args.deterministic):
                return run(args, console, announce, stop)
        except ValueError as error:
            return fail(str(error), 2)
        except OSError as error:
            return fail(sentence_of(error), 1)
        except (TrainingError, LostProcessError) as error:
            return fail(str(error), 1)
        except KeyboardInterrupt:
            console.print("Stopped before the first update; nothing was written.")
            return 130


@contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Let torch refuse nondeterministic operations, if wanted."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
