"""A run is resumed by its folder alone; flags that contradict it are refused."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from refusion.training.command import main
from refusion.training.run_folder import load_checkpoint

FAST = ["--crop", "16", "--batch-size", "1", "--fusion-updates", "1", "--meta-updates", "1", "--threads", "1"]
OTHERS = ["--preset", "cpu-90min", "--seed", "4", "--lr", "0.002", "--no-equivariant", "--own-range", "--skip-bad"]


def started(data: Path, out: Path, *extra: str) -> list[str]:
    """Start a run of three steps; returns its flags without a budget."""
    flags = ["--task", "ir-vis", "--data", str(data), "--out", str(out), *FAST, *extra]
    assert main([*flags, "--steps", "3"]) == 0
    return flags


def described(out: Path) -> dict:
    return json.loads((out / "settings.json").read_text())


@pytest.mark.parametrize("extra", [OTHERS, ["--from", "refusion-ir-vis", "--hold-out", "1"]], ids=["new", "from"])
def test_flags_that_are_not_given_are_those_of_the_run(pair_folder, tmp_path, extra):
    short, whole = tmp_path / "short", tmp_path / "whole"
    started(pair_folder, short, *extra)
    flags = started(pair_folder, whole, *extra)
    assert main(["--out", str(short), "--resume", "--steps", "8"]) == 0
    assert main([*flags, "--resume", "--steps", "8"]) == 0
    assert load_checkpoint(short)["step"] == 8
    for part in ("arguments", "settings", "gains_kept", "threads", "earlier_budgets"):
        assert described(short)[part] == described(whole)[part]
    one, other = (load_file(folder / "model.safetensors") for folder in (short, whole))
    assert all((one[key] == other[key]).all() for key in one)


def test_without_a_budget_the_run_goes_on_to_its_own(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    started(pair_folder, out)
    recorded = (out / "settings.json").read_bytes()
    assert main(["--out", str(out), "--data", str(pair_folder), "--resume"]) == 0
    assert "run was complete after 3 steps" in " ".join(capsys.readouterr().err.split())
    assert (out / "settings.json").read_bytes() == recorded
    moved = pair_folder.rename(tmp_path / "moved")
    assert main(["--out", str(out), "--resume", "--steps", "4"]) == 2
    assert "There is no folder or file" in capsys.readouterr().err
    assert main(["--out", str(out), "--data", str(moved), "--resume", "--steps", "4"]) == 0
    assert described(out)["arguments"]["data"] == str(moved)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--lr", "0.5"], "other settings (lr)"),
        (["--seed", "9"], "other settings (seed)"),
        (["--preset", "paper"], "other settings ("),
        (["--task", "medical"], "functional"),
        (["--window-a", "0", "100"], "other values for --window-a"),
    ],
)
def test_flags_that_contradict_the_run_are_refused(pair_folder, tmp_path, capsys, flags, reason):
    out = tmp_path / "run"
    started(pair_folder, out)
    assert main(["--out", str(out), "--data", str(pair_folder), "--resume", "--steps", "5", *flags]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert load_checkpoint(out)["step"] == 3


def test_another_task_is_not_taken_for_that_of_the_run(pair_folder, tmp_path, capsys):
    """With a list, whose columns are the same for every task."""
    pairs = tmp_path / "pairs.csv"
    rows = [",".join(str(pair_folder / side / f"scene{i}.png") for side in ("ir", "vis")) for i in range(6)]
    pairs.write_text("\n".join(["a,b", *rows]) + "\n")
    started(pairs, tmp_path / "run")
    assert main(["--out", str(tmp_path / "run"), "--resume", "--steps", "5", "--task", "medical"]) == 2
    assert "other settings (" in " ".join(capsys.readouterr().err.split())


def test_without_a_record_the_flags_are_needed(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    flags = started(pair_folder, out)
    (out / "settings.json").write_text(json.dumps({"task": "ir-vis"}))
    assert main(["--out", str(out), "--data", str(pair_folder), "--resume", "--steps", "4"]) == 2
    assert "Give --task" in capsys.readouterr().err
    assert main([*flags, "--resume", "--steps", "4"]) == 0
    shutil.rmtree(out)
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(out), "--task", "ir-vis"])
    assert "required: --data" in capsys.readouterr().err
    assert main(["--out", str(out), "--task", "ir-vis", "--resume"]) == 2
    assert "no run to resume" in " ".join(capsys.readouterr().err.split())
    out.mkdir()
    (out / "settings.json").write_text("{")
    assert main(["--out", str(out), "--resume"]) == 2
    assert "settings.json in run is damaged" in " ".join(capsys.readouterr().err.split())
