"""What the command line says before it imports anything heavy, and its last line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.scenes import EXAMPLES, ROOT
from support.without import HEAVY, without

from refusion.version import __version__

PAIR = [str(EXAMPLES / "ir-vis_ir.png"), str(EXAMPLES / "ir-vis_vis.png")]

RUN_ALL = """
import contextlib, io, json
from unittest import mock
from refusion.cli.app import main
from refusion.demo.command import main as demo

def run(program, arguments):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if program == "demo":
                code = demo(arguments)
            else:
                with mock.patch.object(sys, "argv", ["refusion", *arguments]):
                    main()
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), " ".join(err.getvalue().split())

print(json.dumps([run(program, arguments) for program, arguments in json.loads(sys.argv[1])]))
"""


def run_light(tmp_path, *calls: tuple[str, list[str]]) -> list[tuple[int, str, str]]:
    """Run commands in one process in which nothing heavy can be imported."""
    start = f"import os; os.chdir({str(tmp_path)!r})\n"
    done = without(HEAVY, start + RUN_ALL, json.dumps(calls))
    assert done.returncode == 0, done.stderr
    return [tuple(result) for result in json.loads(done.stdout)]


REFUSED = {
    "a source": (["fuse", "nope.png", PAIR[1], "-o", "f.png"], "nope.png"),
    "a folder of sources": (["fuse", "nope_a", "nope_b", "-o", "out"], "nope_a"),
    "a list": (["fuse", "nope.csv", "-o", "out"], "nope.csv"),
    "a video": (["fuse", "nope.mp4", "nope.mp4", "-o", "f.mp4"], "nope.mp4"),
    "an output folder": (["fuse", *PAIR, "-o", "nowhere/f.png"], "no folder nowhere"),
    "an engine": (["fuse", *PAIR, "-o", "f.png", "--engine", "steam"], "steam"),
    "a device": (["fuse", *PAIR, "-o", "f.png", "--device", "abacus"], "abacus"),
    "a model": (["fuse", *PAIR, "-o", "f.png", "--model", "nope"], "no model 'nope'"),
    "a model's path": (["fuse", *PAIR, "-o", "f.png", "--model", "runs/nope"], "no folder 'runs/nope'"),
    "a model's file": (["fuse", *PAIR, "-o", "f.png", "--model", "theirs/nope.pth"], "no folder 'theirs/nope.pth'"),
    "a source to explain": (["explain", "nope.png", PAIR[1]], "nope.png"),
    "a file to explain into": (["explain", *PAIR, "-o", PAIR[0]], "is a file"),
    "a format": (["export", "refusion-ir-vis", "-o", "m.txt"], ".onnx or .pt2"),
    "a model to export": (["export", "./nope", "-o", "m.onnx"], "nope"),
    "a checkpoint": (["convert", "nope.pth", "out"], "nope.pth"),
    "pairs to score": (["evaluate", "--data", "nope"], "'nope'"),
    "fused images": (["evaluate", "--data", str(EXAMPLES), "--fused", "nope"], "nope"),
    "a report's folder": (["evaluate", "--data", str(EXAMPLES), "--json", "nowhere/s.json"], "no folder nowhere"),
    "a data set": (["fuse-dataset", "nope", "out"], "'nope'"),
    "a folder with a card": (["card", "nope"], "nope"),
    "a folder to push": (["push", "./nope", "a/b"], "nope"),
    "a run": (["reproduce", "nope"], "nope"),
}


def test_what_is_missing_is_said_first_by_its_name(tmp_path):
    (tmp_path / "runs").mkdir()
    results = run_light(tmp_path, *(("refusion", arguments) for arguments, _ in REFUSED.values()))
    for (what, (_, words)), (code, _, err) in zip(REFUSED.items(), results, strict=True):
        assert code == 2, (what, err)
        assert words in err, (what, err)
    assert not {path.name for path in tmp_path.iterdir()} - {"runs"}


def test_help_imports_nothing_heavy(tmp_path):
    commands = ["fuse", "evaluate", "explain", "train", "fuse-dataset", "push"]
    calls = [("refusion", ["--help"]), ("demo", ["--help"]), *(("refusion", [name, "--help"]) for name in commands)]
    for code, out, err in run_light(tmp_path, *calls):
        assert (code, err) == (0, "")
        assert "--" in out


@pytest.mark.parametrize("flags", [["--port", "0"], ["--device", "abacus"], ["--model", "nope"], ["--queue-size", "x"]])
def test_the_demo_refuses_flags_as_quickly(tmp_path, flags):
    ((code, _, err),) = run_light(tmp_path, ("demo", flags))
    assert code == 2
    assert flags[-1] in err


def test_train_is_train_py(tmp_path):
    (tmp_path / "pairs").mkdir()
    program = subprocess.run([sys.executable, ROOT / "train.py", "--help"], capture_output=True, text=True, check=True)
    (help_text,) = run_light(tmp_path, ("refusion", ["train", "--help"]))
    assert help_text[1].split("options:")[1] == program.stdout.split("options:")[1]


def test_a_refusal_after_torch_was_imported_is_one_sentence_too(pair_folder, tmp_path):
    """Triton, which torch imports, lists its objects on stderr if they are not collected at exit."""
    flags = ["--task", "ir-vis", "--data", pair_folder, "--out", tmp_path / "run", "--steps", "0"]
    command = [sys.executable, "-m", "refusion", "train", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "refusion: --steps is 0; it must be at least 1.\n"


def test_the_version():
    assert refusion("--version").out == f"refusion {__version__}\n"


def test_the_last_line_says_what_was_written(tmp_path):
    output = tmp_path / "fused.png"
    result = refusion("fuse", *PAIR, "-o", output)
    width, height = Image.open(output).size
    assert result.out == f"Written to {output}: {width} x {height} pixels.\n"
    quiet = refusion("fuse", *PAIR, "-o", tmp_path / "again.png", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    for name, source in zip("ab", PAIR, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".hidden.png").write_bytes(b"")
        Image.open(source).save(tmp_path / name / "one.png")
    folders = ("fuse", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "fused")
    quiet = refusion(*folders, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert "hidden" in refusion(*folders).err
    assert np.array_equal(Image.open(output), Image.open(tmp_path / "again.png"))


def test_a_folder_with_the_name_of_a_model_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "refusion-ir-vis"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (tmp_path / name / file).write_bytes((ROOT / "hub_configs/refusion-medical" / file).read_bytes())
    mine = refusion("fuse", *PAIR, "-o", "mine.png", "--model", "mine")
    assert mine.code == 0
    assert "./mine would be unambiguous" in mine.err
    bundled = refusion("fuse", *PAIR, "-o", "bundled.png", "--model", "refusion-ir-vis")
    assert "the folder is given as ./refusion-ir-vis" in bundled.err
    own = refusion("fuse", *PAIR, "-o", "own.png")
    assert own.err == ""
    assert np.array_equal(Image.open("bundled.png"), Image.open("own.png"))
    assert not np.array_equal(Image.open("mine.png"), Image.open("own.png"))
