"""Provenance of a run: versions of its dependencies, revision of the source code, and the model it started from."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, WEIGHTS
from refusion.system.resources import PACKAGE
from refusion.version import __version__


def start_digest(base: Path) -> str:
    """SHA-256 over the files of the three modules that exist."""
    files = (base / name for name in (WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS))
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files if f.is_file())).hexdigest()


def versions() -> dict[str, str]:
    """Versions by name."""
    import torch

    packages = {name: version(name) for name in ("numpy", "pillow", "timm")}
    return {"refusion": __version__, "torch": torch.__version__, **packages, "python": platform.python_version()}


def git_revision() -> str | None:
    """The commit of this source code, with "-dirty" where files differ from it; None outside a checkout of it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=PACKAGE,
                capture_output=True,
                # Git writes UTF-8, whatever the encoding of the system is.
                encoding="utf-8",
                errors="replace",
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie in the checkout of something else.
    if git("ls-files", "--error-unmatch", "version.py") is None:
        return None
    revision, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", ".")
    return revision if revision is None or not changed else f"{revision}-dirty"
