"""Worker processes of this machine: what becomes of one that has grown too large."""

import os
import subprocess
import sys

from support.scenes import ROOT

PROGRAM = """
import os
import sys
import time
from functools import partial
from pathlib import Path

from refusion.system.pool import in_processes

kept = []


def grow(folder, item):
    # Only its growth after the first item counts, and only once a second.
    first = not any(folder.iterdir())
    (folder / str(os.getpid())).touch()
    if not first and len(list(folder.iterdir())) == 1:
        kept.append(bytearray(b"x" * 400_000_000))
    time.sleep(1.1)
    return "grows", os.getpid()


def stay(folder, item):
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.1)
    return "stays", os.getpid()


if __name__ == "__main__":
    works = [partial(work, Path(sys.argv[1])) for work in (grow, stay)]
    for name, process in in_processes(works, range(6)):
        print(name, process)
"""


def test_a_worker_that_has_grown_is_replaced_by_one_with_the_same_function(tmp_path):
    program, folder = tmp_path / "program.py", tmp_path / "processes"
    program.write_text(PROGRAM)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOKY_MAX_MEMORY_LEAK_SIZE": "1e8"}
    command = [sys.executable, str(program), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert sorted(line.split()[0] for line in set(lines)) == ["grows", "grows", "stays"]
