"""Describe the machine and the versions of a measurement, and write them with its results."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch


def describe(threads: int | None = None, device: str = "cpu") -> str:
    """The machine and the versions, in one line.

    Args:
        threads: CPU threads that torch was given; its own choice if not given.
        device: ``cpu`` or ``cuda``, what was measured on.
    """
    processor = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    return (
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()} with "
        f"{processor}, {os.cpu_count()} CPU cores, {threads or torch.get_num_threads()} thread(s), "
        f"load {os.getloadavg()[0]:.1f}"
    )


def write_json(path: Path | None, machine: str, results: Any) -> None:
    """Write figures and what they were measured on, if there is a path."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
