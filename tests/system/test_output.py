"""Output that nobody reads, or that has characters which its encoding lacks."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image
from support.scenes import ROOT

from refusion.images import read_picture
from refusion.system.output import leave_out_library_warnings, without_library_errors

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


@pytest.mark.parametrize("left_out", [False, True])
def test_warnings_of_libraries_on_files_are_left_out(tmp_path, monkeypatch, left_out):
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "ERROR")
    # EXIF data that end in the middle of their directory, as some cameras write them.
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x0f\x01\x02\0\xff\0\0\0\x10\0\0\0"
    Image.new("L", (16, 16)).save(tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if left_out:
            leave_out_library_warnings()
        read_picture(tmp_path / "a.jpg")
    assert bool(said) != left_out


def test_what_libraries_print_past_python_is_left_out_within_a_block_only(capfd):
    with without_library_errors():
        os.write(2, b"** ERROR: nifti_read")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
