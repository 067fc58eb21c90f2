"""The `refusion` command in a process of its own, as a user runs it."""

import os
import subprocess
import sys

from support.command import Result
from support.scenes import ROOT


def refusion(*arguments: object) -> Result:
    """As `support.command.refusion`, which is quicker."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "refusion", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return Result(done.returncode, done.stdout, " ".join(done.stderr.split()))
