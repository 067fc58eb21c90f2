"""What the shells and consoles of Windows do differently, emulated."""

import os
import shutil
import subprocess
import sys

import typer.core
from PIL import Image
from support.command import check_refused, refusion
from support.scenes import EXAMPLES, ROOT

PAIR = (EXAMPLES / "ir-vis_ir.png", EXAMPLES / "ir-vis_vis.png")


class WindowsSystem:
    """`os` for Typer, which expands the arguments of commands on Windows."""

    name = "nt"

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


def test_patterns_reach_the_command_that_they_are_for(tmp_path, monkeypatch):
    for source in PAIR:
        shutil.copy(source, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(typer.core, "os", WindowsSystem())
    given = ("fuse", ".", "-o", "fused", "--match", "*_ir.*", "*_vis.*")
    result = refusion(*given)
    assert result.code == 0, result.err
    assert [file.name for file in (tmp_path / "fused").glob("*.png")] == ["ir-vis.png"]


def test_a_stack_in_folders_that_a_pattern_names(tmp_path, monkeypatch):
    for number, source in enumerate(PAIR):
        (tmp_path / f"shot {number} [raw]").mkdir()
        shutil.copy(source, tmp_path / f"shot {number} [raw]" / "frame.png")
    monkeypatch.chdir(tmp_path)
    for patterns in (["shot */frame.png"], [f"shot {number} [[]raw]/frame.png" for number in range(2)]):
        assert refusion("fuse", *patterns, "-o", "fused.png", "--task", "multi-focus").code == 0
    assert refusion("fuse", *(f"shot {n} [raw]/fr*.png" for n in range(2)), "-o", "fused.png").code == 0
    check_refused(refusion("fuse", "shot 0 [raw]/none.png", "-o", "f.png"), "There is no file none.png")


def test_names_in_a_report_for_standard_output_are_whole(tmp_path):
    for folder, source in zip(("ir", "vis", "fused"), (*PAIR, PAIR[1]), strict=True):
        (tmp_path / folder).mkdir()
        with Image.open(source) as image:
            image.resize((64, 48)).save(tmp_path / folder / "near → far.png")
    command = ["evaluate", "--data", tmp_path, "--fused", tmp_path / "fused", "--metrics", "SD", "--csv", "-"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, "-m", "refusion", *map(str, command)], env=environment, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "near → far" in done.stdout.decode("utf-8")
