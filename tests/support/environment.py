"""Environments of their own."""

import subprocess
import sys
from pathlib import Path


def fresh_environment(folder: Path, *wanted: object, interpreter: str = sys.executable) -> str:
    """Make a virtual environment, install something into it, and return its Python."""
    subprocess.run([interpreter, "-m", "venv", "--without-pip", folder], check=True)
    python = str(folder / "bin" / "python")
    # uv links what it has unpacked before, where pip unpacks gigabytes again.
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


def installed_python(version: str) -> str | None:
    """The path of a Python of this version, if there is one."""
    command = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", version]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None
