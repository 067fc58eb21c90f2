"""Environments of their own."""

import subprocess
import sys
from pathlib import Path


def fresh_environment(folder: Path, *wanted: object) -> str:
    """Make a virtual environment, install something into it, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = str(folder / "bin" / "python")
    # uv links what it has unpacked before, where pip unpacks gigabytes again.
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python
