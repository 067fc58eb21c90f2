"""Processes for the tests of the bulk fusion: real ones, that get a real SIGKILL, forked from one with all imports."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["refusion.bulk.run"])


def start(kill_after: int | None = None, processes: int = 1, **arguments: Any) -> list[BaseProcess]:
    """Start `fuse_dataset` in one process or in several that know each other.

    Args:
        kill_after: rows after which the main process kills itself.
        processes: how many.
        **arguments: see `fuse_dataset`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        environment = {"OMP_NUM_THREADS": "1"}
        if processes > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            environment |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        process = CONTEXT.Process(target=_work, args=(environment, kill_after, arguments), daemon=True)
        process.start()
        started.append(process)
    return started


def _work(environment: dict[str, str], kill_after: int | None, arguments: dict[str, Any]) -> None:
    import torch

    from refusion.bulk.run import fuse_dataset

    os.environ.update(environment)
    torch.set_num_threads(1)
    summary = fuse_dataset(**arguments, progress=None if kill_after is None else _suicide(kill_after))
    assert summary.processes == int(environment.get("WORLD_SIZE", 1))


def _suicide(rows: int) -> Callable[[int, int | None], None]:
    def report(done: int, _: int | None) -> None:
        if done == rows:
            os.kill(os.getpid(), signal.SIGKILL)

    return report
