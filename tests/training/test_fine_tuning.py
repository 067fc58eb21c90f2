"""train.py --from as a user runs it, and starting a run again."""

import itertools
import json
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.bulk import write_splits
from support.command import check_refused, refusion, small_model
from support.scenes import ROOT, textured

from refusion.pairs.dataset import load_pairs
from refusion.pairs.errors import DataError
from refusion.tasks import get_task
from refusion.training.command import main
from refusion.training.fine_tuning import hold_out, score_both
from refusion.training.run_folder import load_checkpoint

FLAGS = ["--crop", "16", "--batch-size", "1", "--fusion-updates", "1", "--meta-after", "0", "--threads", "1"]


def train(data: Path, out: Path, *extra: str) -> int:
    return main(["--data", str(data), "--out", str(out), *FLAGS, *extra])


def test_fine_tuning_takes_the_task_of_the_model_and_keeps_scores_before_and_after(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(pair_folder, out, "--from", "refusion-medical", "--task", "ir-vis", "--steps", "1") == 0
    assert train(pair_folder, tmp_path / "tuned", "--from", str(out), "--steps", "2", "--lr", "0.01") == 0
    told = capsys.readouterr()
    assert "better in" in told.out
    assert "Held out of 6 pairs, for the scores before and after: scene3." in " ".join(told.err.split())
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["task"] == "ir-vis"
    scores = json.loads((tmp_path / "tuned" / "fine-tuning.json").read_text())
    before, after = (scores["models"][name]["per_pair"] for name in ("before", "after"))
    assert [row["name"] for row in before] == ["scene3"] == [row["name"] for row in after]
    assert before[0]["scores"] != after[0]["scores"]
    assert json.loads((tmp_path / "tuned" / "settings.json").read_text())["pairs"] == 5
    assert refusion("card", tmp_path / "tuned").code == 0
    card = (tmp_path / "tuned" / "README.md").read_text()
    assert "Not scored yet" not in card
    assert f"| after | {scores['models']['after']['mean']['EN']:.3f} |" in card


def test_scores_are_of_the_pairs_that_val_names(pair_folder, tmp_path):
    for folder in ("ir", "vis"):
        (tmp_path / "val" / folder).mkdir(parents=True)
        Image.fromarray(textured(9)).save(tmp_path / "val" / folder / "mine.png")
    out = tmp_path / "run"
    extra = ["--from", "refusion-ir-vis", "--val", str(tmp_path / "val"), "--steps", "1"]
    assert train(pair_folder, out, *extra) == 0
    scores = json.loads((out / "fine-tuning.json").read_text())["models"]["before"]["per_pair"]
    assert [row["name"] for row in scores] == ["mine"]
    assert json.loads((out / "settings.json").read_text())["pairs"] == 6


def test_stopped_while_it_is_scored_the_run_is_complete(pair_folder, tmp_path):
    out, val = tmp_path / "run", tmp_path / "val"
    for folder in ("ir", "vis"):
        (val / folder).mkdir(parents=True)
        for number in range(20):
            large = Image.fromarray(textured(number)).resize((384, 288))
            large.save(val / folder / f"{number}.png")
    command = [sys.executable, str(ROOT / "train.py"), "--data", str(pair_folder), "--out", str(out), *FLAGS]
    command += ["--from", "refusion-ir-vis", "--steps", "1", "--val", str(val)]
    # What starts the tests may ignore Ctrl-C.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as run:
        said = "".join(itertools.takewhile(lambda line: not line.startswith("Done after"), run.stderr))
        run.send_signal(signal.SIGINT)
        said += run.stderr.read()
    assert run.returncode == 130, said
    assert "Stopped before the scores were complete" in said
    assert "Stopped before the first update" not in said
    assert not (out / "fine-tuning.json").exists()
    assert load_checkpoint(out)["step"] == 1


@pytest.mark.parametrize("device", ["abacus", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_scores_are_computed_on_the_device_of_the_run(pair_folder, tmp_path, device):
    out = small_model(tmp_path / "model")
    pairs = load_pairs(pair_folder, get_task("ir-vis"))

    def watch() -> None:
        assert torch.cuda.max_memory_allocated() > 0

    if device == "cuda":
        score_both(out, out, pairs, get_task("ir-vis"), watch, device)
    else:
        with pytest.raises(ValueError, match="no device 'abacus'"):
            score_both(out, out, pairs, get_task("ir-vis"), watch, device)


@pytest.mark.parametrize(
    ("total", "count", "left", "scored"), [(6, None, 5, 1), (21, None, 17, 4), (300, None, 280, 20), (5, 0, 5, 0)]
)
def test_what_is_held_out_is_spread_over_the_data(pair_folder, total, count, left, scored):
    pairs = load_pairs(pair_folder, get_task("ir-vis"))
    pairs.dataset = (
        pairs.dataset.select([0] * total).remove_columns("name").add_column("name", list(map(str, range(total))))
    )
    first, second = hold_out(pairs, count, "PAIRS")
    assert (len(first.dataset), len(second.dataset)) == (left, scored)
    assert sorted([*first.dataset["name"], *second.dataset["name"]]) == sorted(pairs.dataset["name"])
    if scored > 1:
        places = [int(name) for name in second.dataset["name"]]
        assert max(b - a for a, b in itertools.pairwise(places)) <= total / scored + 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--from", "refusion-ir-vis", "--hold-out", "2"], "needs at least 5 to train on"),
        (["--from", "refusion-ir-vis", "--hold-out", "-1"], "--hold-out is -1"),
        (["--from", "refusion-ir-vis", "--hold-out", "1", "--val", "."], "not both"),
        (["--task", "ir-vis", "--hold-out", "1"], "belong to --from"),
        ([], "Give --task"),
    ],
)
def test_what_fine_tuning_cannot_use_is_a_sentence(pair_folder, tmp_path, capsys, extra, message):
    extra = [str(pair_folder) if word == "." else word for word in extra]
    assert train(pair_folder, tmp_path / "run", *extra, "--steps", "1") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_fewer_than_a_handful_of_pairs_are_refused(pair_folder):
    pairs = load_pairs(pair_folder, get_task("ir-vis"))
    pairs.dataset = pairs.dataset.select(range(4))
    with pytest.raises(DataError, match="MINE has 4 pairs, of which 1 held out"):
        hold_out(pairs, None, "MINE")


def test_a_run_is_reproduced_bit_for_bit(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    extra = ["--task", "ir-vis", "--steps", "3", "--seed", "4", "--deterministic", "--inner-image-until", "0.5"]
    assert train(pair_folder, out, *extra, "--meta-updates", "1") == 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["git"] is None or len(settings["git"]) >= 40
    assert {"torch", "numpy", "refusion"} <= settings["versions"].keys()
    result = refusion("reproduce", out)
    assert result.code == 0, result.err
    assert "bit for bit" in result.out
    again = tmp_path / "run-again"
    assert load_checkpoint(again)["seed"] == 4
    one, other = (load_file(folder / "model.safetensors") for folder in (out, again))
    assert all((one[key] == other[key]).all() for key in one)

    settings["versions"]["torch"] = "2.0.0"
    (out / "settings.json").write_text(json.dumps(settings))
    moved = pair_folder.rename(tmp_path / "moved")
    result = refusion("reproduce", out, "--out", tmp_path / "third", "--data", moved)
    assert result.code == 0, result.err
    assert "torch was 2.0.0 and is" in result.err
    (moved / "ir" / "scene0.png").write_bytes((moved / "ir" / "scene1.png").read_bytes())
    check_refused(
        refusion("reproduce", out, "--out", tmp_path / "fourth", "--data", moved), "differ from those of the run"
    )
    assert not (tmp_path / "fourth").exists()


def test_a_lengthened_run_is_recorded_and_reproduced(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--task", "ir-vis", "--meta-updates", "1"]
    assert train(pair_folder, out, *flags, "--steps", "3") == 0
    assert train(pair_folder, out, *flags, "--steps", "14", "--resume") == 0
    first, second = json.loads((out / "training.json").read_text())["commands"]
    assert "--steps 3 " in first
    assert "--resume" not in first
    assert "--steps 14 " in second
    assert second.endswith(" --resume")
    recorded = {name: (out / name).read_bytes() for name in ("settings.json", "training.json", "history.jsonl")}
    capsys.readouterr()
    assert train(pair_folder, out, *flags, "--steps", "5", "--resume") == 0
    assert "run was complete after 14 steps" in " ".join(capsys.readouterr().err.split())
    assert {name: (out / name).read_bytes() for name in recorded} == recorded
    assert train(pair_folder, out, *flags, "--resume") == 0
    assert "run was complete after 14 steps" in " ".join(capsys.readouterr().err.split())
    result = refusion("reproduce", out)
    assert result.code == 0, result.err
    assert "bit for bit" in result.out


@pytest.mark.parametrize("first", ["--rounds", "--steps"])
def test_a_run_lengthened_by_rounds_is_recorded_and_reproduced(pair_folder, tmp_path, first):
    """With the preset `paper`, whose budget is rounds."""
    out = tmp_path / "run"
    flags = ["--task", "ir-vis", "--preset", "paper", "--meta-updates", "1", "--fusion-updates", "2", "--lr", "1e-2"]
    given = {"--rounds": "1", "--steps": "2"}[first]
    assert train(pair_folder, out, *flags, first, given) == 0
    assert main(["--out", str(out), "--rounds", "3", "--resume"]) == 0
    (earlier,) = json.loads((out / "settings.json").read_text())["earlier_budgets"]
    assert earlier["until"] == earlier["end"] == 2
    started, lengthened = json.loads((out / "training.json").read_text())["commands"]
    assert f"{first} {given} " in f"{started} "
    assert "--rounds 3 " in lengthened
    result = refusion("reproduce", out)
    assert result.code == 0, result.err
    assert "bit for bit" in result.out
    assert "Its budget was changed" not in result.err


def test_a_run_with_a_fixed_loss_is_trained_further(pair_folder, tmp_path, capsys):
    """It has no loss proposal module: one is started, or the loss is fixed again."""
    fixed = tmp_path / "fixed"
    assert train(pair_folder, fixed, "--task", "ir-vis", "--steps", "1", "--loss", "average") == 0
    again = ["--from", str(fixed), "--steps", "2", "--hold-out", "0"]
    assert train(pair_folder, tmp_path / "other", *again, "--loss", "max-both") == 0
    assert train(pair_folder, tmp_path / "learned", *again, "--new-proposal") == 0
    assert refusion("reproduce", tmp_path / "other").code == 0
    capsys.readouterr()
    assert train(pair_folder, tmp_path / "refused", *again) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "it has no loss_proposal.safetensors" in told
    assert "--new-proposal" in told
    (fixed / "reconstruction.safetensors").unlink()
    assert train(pair_folder, tmp_path / "refused", *again, "--new-proposal") == 2
    assert "it has no reconstruction.safetensors" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "refused").exists()


def test_pairs_that_are_scored_and_trained_on_are_noted(pair_folder, tmp_path, capsys):
    val = tmp_path / "val"
    for folder in ("ir", "vis"):
        (val / folder).mkdir(parents=True)
        for name in ("scene1", "scene4"):
            (val / folder / f"{name}-copy.png").write_bytes((pair_folder / folder / f"{name}.png").read_bytes())
        Image.fromarray(textured(9)).save(val / folder / "mine.png")
    extra = ["--from", "refusion-ir-vis", "--val", str(val), "--steps", "1"]
    assert train(pair_folder, tmp_path / "run", *extra) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Note: 2 of the 3 pairs of --val are among the pairs to train on" in told


@pytest.mark.parametrize(
    "extra",
    [
        ["--steps", "5", "--fusion-updates", "4", "--seed", "3", "--window-a", "0", "70000.5"],
        ["--rounds", "2", "--meta-updates", "1", "--no-equivariant", "--lr", "1e-5"],
        ["--preset", "paper", "--rounds", "2", "--meta-updates", "1", "--nodata", "0"],
        ["--from", "FIRST", "--new-proposal", "--hold-out", "1", "--steps", "1", "--skip-bad", "--bf16"],
        ["--from", "FIRST", "--val", "VAL", "--val-split", "test", "--steps", "1"],
    ],
)
def test_the_recorded_command_is_that_of_the_run(pair_folder, tmp_path, extra):
    places = {"PAIRS": str(pair_folder), "VAL": str(tmp_path / "splits"), "FIRST": str(tmp_path / "first")}
    write_splits(tmp_path / "splits", ("train", "test"))
    first = ["--task", "ir-vis", "--steps", "1"]
    if "FIRST" in extra:
        assert train(pair_folder, tmp_path / "first", *first) == 0
    extra = [places.get(word, word) for word in extra]
    assert train(pair_folder, tmp_path / "run", "--task", "ir-vis", *extra) == 0
    (command,) = json.loads((tmp_path / "run" / "training.json").read_text())["commands"]
    assert str(tmp_path) not in command
    program, script, *words = shlex.split(command)
    assert (program, script) == ("python", "train.py")
    places |= {"./first": str(tmp_path / "first"), "runs/ir-vis": str(tmp_path / "again")}
    assert main([places.get(word, word) for word in words]) == 0
    one, other = (json.loads((tmp_path / run / "settings.json").read_text()) for run in ("run", "again"))
    assert one["settings"] == other["settings"]
    assert one["arguments"] == other["arguments"]
    assert load_checkpoint(tmp_path / "run")["step"] == load_checkpoint(tmp_path / "again")["step"]


@pytest.mark.parametrize(
    ("given", "lr"), [([], 4e-4), (["--lr", "4e-3"], 4e-3), (["--new-proposal"], 4e-3)], ids=["a tenth", "given", "new"]
)
def test_fine_tuning_has_a_tenth_of_the_learning_rate_unless_one_is_given(pair_folder, tmp_path, given, lr):
    out = tmp_path / "run"
    assert train(pair_folder, out, "--from", "refusion-ir-vis", "--hold-out", "1", "--steps", "1", *given) == 0
    assert json.loads((out / "settings.json").read_text())["settings"]["lr"] == pytest.approx(lr)
    (command,) = json.loads((out / "training.json").read_text())["commands"]
    assert ("--lr" in command) == ("--new-proposal" not in given)


@pytest.mark.parametrize("given", [[], ["--intensity-brightness", "6"]])
def test_a_fine_tuning_is_reproduced_with_the_same_gains(pair_folder, tmp_path, given):
    """Gains that are not given are those of the model, and the preset's if they are given as the preset has them."""
    first = ["--task", "ir-vis", "--steps", "1", "--intensity-brightness", "5"]
    assert train(pair_folder, tmp_path / "first", *first) == 0
    extra = ["--from", str(tmp_path / "first"), "--steps", "2", "--val", str(pair_folder), *given]
    assert train(pair_folder, tmp_path / "run", *extra) == 0
    result = refusion("reproduce", tmp_path / "run")
    assert result.code == 0, result.err
    assert "bit for bit" in result.out
    (command,) = json.loads((tmp_path / "run" / "training.json").read_text())["commands"]
    assert ("--intensity-brightness 6" in command) == bool(given)


def test_what_is_no_run_is_not_reproduced(tmp_path):
    assert "not the folder of a run" in refusion("reproduce", tmp_path).err
    (tmp_path / "settings.json").write_text('{"task": "ir-vis"}')
    check_refused(refusion("reproduce", tmp_path), "does not say how the run was started")


def test_training_alone_imports_nothing_of_accelerate():
    program = "import sys, refusion.training.session; sys.exit('accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
