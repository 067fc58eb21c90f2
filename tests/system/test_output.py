"""Output that nobody reads, or that has characters which its encoding lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.scenes import ROOT

SAYS = """
import sys
from refusion.system.output import keep_working_whoever_reads
keep_working_whoever_reads()
for _ in range(3):
    print("x \\u2191 " * 20_000)
    print("y \\u2191 " * 20_000, file=sys.stderr)
open(sys.argv[1], "w").write("done")
"""


def run(tmp_path, encoding, **streams):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = tmp_path / "done"
    ended = subprocess.run([sys.executable, "-c", SAYS, done], env=environment, timeout=60, check=False, **streams)
    assert done.read_text() == "done"
    assert ended.returncode == 0
    return ended


def test_what_the_encoding_lacks_is_replaced(tmp_path):
    assert run(tmp_path, "cp1252", capture_output=True).stdout.decode("cp1252").startswith("x ? x ? ")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_pipe_ends_nothing(tmp_path, name):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        other = "stderr" if name == "stdout" else "stdout"
        run(tmp_path, "utf-8", **{name: writing, other: subprocess.DEVNULL})
    finally:
        os.close(writing)


def test_what_is_read_arrives_whole(tmp_path):
    ended = run(tmp_path, "utf-8", capture_output=True)
    assert ended.stdout.decode() == ("x \u2191 " * 20_000 + "\n") * 3


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_full_disk_is_said_once():
    says = """
import sys
from refusion.system.output import keep_working_whoever_reads
keep_working_whoever_reads()
try:
    print("x", flush=True)
except OSError as error:
    print(error, file=sys.stderr)
"""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", says],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert ended.stderr.count(b"No space left") == 1
    assert b"Traceback" not in ended.stderr
