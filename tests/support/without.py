"""Programs in a process of their own in which packages cannot be imported, as if they were not installed."""

import os
import subprocess
import sys

from support.scenes import ROOT

HEAVY = ("accelerate", "datasets", "gradio", "huggingface_hub", "pandas", "timm", "torch", "torchvision")


def without(packages: tuple[str, ...], program: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run a program where importing some packages fails as if they were not installed."""
    start = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
    command = [sys.executable, "-c", start + program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)
