"""train.py as a user runs it: files, resume, stop, refusals. Settings are small so that a run takes seconds."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.modules import trainer
from support.scenes import ROOT, textured
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from refusion.models.model import ReFusion
from refusion.pairs.dataset import load_pairs
from refusion.system.checkpoints import CheckpointError
from refusion.tasks import TASKS, get_task
from refusion.training.command import main
from refusion.training.flags import make_parser, settings_from
from refusion.training.forecast import memory_notes
from refusion.training.run_folder import load_checkpoint, save_checkpoint
from refusion.training.settings import DEFAULT_PRESET, PAPER, PRESET_MINUTES, PRESETS, TrainingSettings, preset_settings
from refusion.training.trainer import MetaTrainer, TrainingError, updates_in_a_round

TRAIN = ROOT / "train.py"
FAST = ["--crop", "16", "--batch-size", "1", "--fusion-updates", "1", "--meta-after", "0", "--threads", "1"]
WEIGHTS = ("model", "loss_proposal", "reconstruction")


def arguments(data: Path, out: Path, *extra: str) -> list[str]:
    return ["--task", "ir-vis", "--data", str(data), "--out", str(out), *FAST, *extra]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n in WEIGHTS for k, v in load_file(out / f"{n}.safetensors").items()}


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_leaves_a_loadable_folder(pair_folder, tmp_path):
    out = tmp_path / "run"
    assert main(arguments(pair_folder, out, "--steps", "12")) == 0
    model = ReFusion.from_pretrained(out)
    assert model.task.name == "ir-vis"
    described = json.loads((out / "settings.json").read_text())
    assert described["pairs"] == 6
    assert described["arguments"]["steps"] == 12
    assert json.loads((out / "training.json").read_text())["updates"] == {"fusion": 12}
    assert main(arguments(pair_folder, out, "--steps", "25", "--resume")) == 0
    steps = [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert steps == [10, 12, 20, 25]
    curves = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("fusion")] == steps
    preview, _ = (out / "previews").iterdir()
    with Image.open(preview) as picture:
        assert picture.width == 5 * (64 + 4)
        assert picture.height == 3 * (48 + 4)


@pytest.mark.parametrize(("preset", "optimizer"), [*product(PRESETS, ["adam"]), (DEFAULT_PRESET, "nmuon")])
def test_resumed_equals_uninterrupted(pair_folder, tmp_path, preset, optimizer):
    """Bit for bit, through both kinds of inner update, the moving average, both outer rules and larger crops."""
    extra = ["--preset", preset, "--meta-updates", "1", "--rounds", "5", "--inner-image-until", "0.6", "--ema", "0.9"]
    extra += ["--window", "10", "--crop-last", "24", "--zoom", "0.5", "--tone", "1", "--jpeg", "0.5"]
    extra += ["--optimizer", optimizer]
    assert main(arguments(pair_folder, tmp_path / "whole", *extra)) == 0
    parts = tmp_path / "parts"
    args = make_parser().parse_args(arguments(pair_folder, parts, *extra))
    parts.mkdir()
    first = MetaTrainer(load_pairs(pair_folder, get_task("ir-vis")), settings_from(args))
    for progress in first.train():
        if progress.step == 3:
            break
    save_checkpoint(parts, first)
    assert main(arguments(pair_folder, parts, *extra, "--resume")) == 0
    assert same(tmp_path / "whole", parts)


def test_a_finished_run_is_lengthened(pair_folder, tmp_path):
    out = tmp_path / "run"
    assert main(arguments(pair_folder, out, "--steps", "10", "--fusion-updates", "2")) == 0
    assert main(arguments(pair_folder, out, "--steps", "20", "--fusion-updates", "2", "--resume")) == 0
    assert load_checkpoint(out)["step"] == 20
    assert [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()] == [10, 20]
    assert json.loads((out / "training.json").read_text())["updates"] == {"fusion": 20}


def test_a_run_shorter_than_a_round_is_lengthened_by_such_rounds(pair_folder, tmp_path):
    out, flags = tmp_path / "run", ["--meta-updates", "6", "--fusion-updates", "12", "--steps"]
    assert main(arguments(pair_folder, out, *flags, "2")) == 0
    state = load_checkpoint(out)
    assert (state["step"], state["round"], state["updates_in_a_round"]) == (2, 1, (1, 2))
    assert main(arguments(pair_folder, out, *flags, "5", "--resume")) == 0
    state = load_checkpoint(out)
    assert (state["step"], state["round"], state["updates_in_a_round"]) == (5, 2, (1, 2))
    assert main(arguments(pair_folder, out, *flags, "3", "--resume")) == 0
    assert load_checkpoint(out)["step"] == 5


def test_a_half_written_line_of_history_does_not_stop_a_resume(pair_folder, tmp_path):
    out = tmp_path / "run"
    assert main(arguments(pair_folder, out, "--steps", "10")) == 0
    with (out / "history.jsonl").open("a") as file:
        file.write('{"step": 1')
    assert main(arguments(pair_folder, out, "--steps", "10", "--resume")) == 0
    assert [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()] == [10]


def test_a_folder_that_cannot_be_made_is_a_sentence(pair_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(arguments(pair_folder, tmp_path / "file" / "run", "--steps", "1")) == 2
    assert "is a file, or lies below one" in capsys.readouterr().err


def test_another_seed_gives_other_weights(pair_folder, tmp_path):
    for seed in ("0", "1"):
        assert main(arguments(pair_folder, tmp_path / seed, "--steps", "2", "--seed", seed)) == 0
    assert not same(tmp_path / "0", tmp_path / "1")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_is_saved_and_goes_on(pair_folder, tmp_path, number):
    out, steps = tmp_path / "run", ["--steps", "100000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TRAIN), *arguments(pair_folder, out, *steps, "--save-every", "0")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        _, output = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert number.name in output
    assert "Traceback" not in output
    state = load_checkpoint(out)
    assert state["step"] + state["position"] >= 1
    ReFusion.from_pretrained(out)
    resumed = trainer(pair_folder, **{**state["settings"]})
    resumed.load_state_dict(state)
    steps = [progress.step for progress, _ in zip(resumed.train(), range(4), strict=False)]
    assert steps[-1] >= state["step"] + 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--lr", "nan"], "lr is nan; it must be a finite number"),
        (["--noise", "inf"], "noise is inf; it must be a finite number"),
        (["--preview-every", "nan"], "--preview-every is nan; it must be a finite number"),
        (["--save-every", "-1"], "--save-every is -1.0; it must be a finite number of at least 0"),
        (["--val-split", "test"], "--val-split is a split of --val; give that too"),
    ],
)
def test_numbers_that_are_none_and_flags_without_effect_are_refused(pair_folder, tmp_path, capsys, flags, words):
    assert main(arguments(pair_folder, tmp_path / "run", "--steps", "2", *flags)) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_with_the_checkpoint_intact(pair_folder, tmp_path, capsys):
    broken = trainer(pair_folder)
    with torch.no_grad():
        broken.modules.fusion.project_in_1.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"not finite.*lower learning rate"):
        next(broken.train())
    out = tmp_path / "run"
    assert main(arguments(pair_folder, out, "--steps", "3")) == 0
    state = load_checkpoint(out)
    state["modules"]["fusion"]["project_in_1.weight"].fill_(float("nan"))
    state["step"] = 2
    state["round"] = 2
    torch.save(state, out / "checkpoint.pt")
    before = (out / "checkpoint.pt").read_bytes()
    assert main(arguments(pair_folder, out, "--steps", "3", "--resume")) == 1
    assert "not finite" in capsys.readouterr().err
    assert (out / "checkpoint.pt").read_bytes() == before


def test_a_last_update_that_diverges_is_not_saved(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(arguments(pair_folder, out, "--steps", "1", "--lr", "1e30")) == 1
    assert "The result of step 1 is not finite" in " ".join(capsys.readouterr().err.split())
    assert not (out / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("module", "settings", "factors"),
    [
        ("fusion", {"loss": "average"}, [math.nan]),
        ("reconstruction", {"loss": "average"}, [math.inf]),
        ("proposal", {}, [math.nan]),
        # Of the two gradients of an outer update, that of the imbalance comes first.
        ("proposal", {"balance": 0.5}, [math.nan, 1]),
        ("proposal", {"balance": 0.5}, [1, math.nan]),
    ],
)
def test_a_gradient_that_is_not_finite_is_not_applied(pair_folder, module, settings, factors):
    broken = trainer(pair_folder, meta_batches=1, **settings)
    trained = getattr(broken.modules, module)
    before = {name: weight.clone() for name, weight in trained.state_dict().items()}
    left = iter(factors)
    next(trained.parameters()).register_hook(lambda gradient: gradient * next(left))
    with pytest.raises(TrainingError, match="not finite"):
        next(broken.train())
    assert all(torch.equal(weight, before[name]) for name, weight in trained.state_dict().items())


def test_a_failed_write_keeps_the_last_checkpoint(pair_folder, tmp_path, monkeypatch):
    t = trainer(pair_folder)
    save_checkpoint(tmp_path, t)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    class Unwritable:
        def __reduce__(self):
            raise OSError("disk full")

    t.losses["broken"] = Unwritable()
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, t)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--steps", "0"], "--steps is 0"),
        (["--crop", "8"], "crop is 8"),
        (["--fusion-updates", "-1"], "fusion_updates is -1"),
        (["--warmup", "2"], "warmup is 2.0"),
        (["--window", "7"], "window is 7; it must be a multiple of 5"),
        (["--jpeg", "2"], "jpeg is 2.0"),
        (["--minutes", "0"], "--minutes is 0.0"),
        (["--streaming", "--fusion-updates", "0"], "give --fusion-updates"),
        (["--device", "nowhere"], "nowhere"),
        (["--threads", "-1"], "--threads is -1"),
        (["--seed", str(2**64)], "--seed is 18446744073709551616"),
        (["--seed", "-1"], "--seed is -1"),
        (["--lr", "-1"], "lr is -1.0"),
        (["--ema", "2"], "ema is 2.0"),
    ],
)
def test_bad_flags_are_sentences(pair_folder, tmp_path, capsys, extra, message):
    assert main(arguments(pair_folder, tmp_path / "run", *extra)) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert not (tmp_path / "run").exists()


def test_bad_data_is_a_sentence_and_skip_bad_goes_on(pair_folder, tmp_path, capsys):
    for folder in ("ir", "vis"):
        (pair_folder / folder / "scene2.png").rename(pair_folder / folder / "[red]\n2.png")
    (pair_folder / "vis" / "[red]\n2.png").write_bytes(b"")
    assert main(arguments(pair_folder, tmp_path / "run", "--steps", "1")) == 2
    assert r"[red]\n2.png" in capsys.readouterr().err
    assert main(arguments(pair_folder, tmp_path / "run", "--steps", "1", "--skip-bad")) == 0
    error = capsys.readouterr().err
    assert "1 left out" in error
    assert r"[red]\n2.png" in error


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("locked", ["parent", "ir"])
def test_data_that_may_not_be_read_is_named(pair_folder, tmp_path, locked):
    data = shutil.copytree(pair_folder, tmp_path / "outer" / "data")
    closed = data / "ir" if locked == "ir" else data.parent
    command = [sys.executable, str(TRAIN), *arguments(data, tmp_path / "run", "--steps", "1")]
    if os.geteuid() == 0:
        # Permissions bind root only without its capabilities.
        command = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *command]
    closed.chmod(0)
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        closed.chmod(0o755)
    # The console wraps long paths, too.
    error = "".join(run.stderr.split())
    assert run.returncode == 2
    assert f"Thepairsin{data}cannotberead:Permissiondenied" in error
    assert "runfolder" not in error


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(pair_folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(arguments(pair_folder, out, "--steps", "1", "--resume")) == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert main(["--out", str(out), "--resume"]) == 2
    assert "no settings.json in run, so there is no run to resume; check --out" in capsys.readouterr().err
    assert main(arguments(pair_folder, out, "--steps", "1")) == 0
    assert main(arguments(pair_folder, out, "--steps", "1")) == 2
    assert "holds a run already" in " ".join(capsys.readouterr().err.split())
    assert main(arguments(pair_folder, out, "--steps", "1", "--resume", "--lr", "0.5")) == 2
    assert "other settings (lr)" in " ".join(capsys.readouterr().err.split())


def test_a_checkpoint_from_before_a_setting_counts_as_having_its_default(pair_folder):
    state = trainer(pair_folder).state_dict()
    for newer in ("loss", "inner_reconstruction"):
        del state["settings"][newer]
    trainer(pair_folder).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"other settings \(loss\)"):
        trainer(pair_folder, loss="average").load_state_dict(state)


@pytest.mark.parametrize("content", [b"", b"rubbish", "pickle"])
def test_foreign_checkpoints_are_refused(tmp_path, content):
    if content == "pickle":
        torch.save({"weights": torch.zeros(1)}, tmp_path / "checkpoint.pt")
    else:
        (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        load_checkpoint(tmp_path)


def test_steps_are_counted_exactly_and_short_runs_shrink_the_round(pair_folder, tmp_path):
    pairs = load_pairs(pair_folder, get_task("ir-vis"))
    assert updates_in_a_round(pairs, TrainingSettings(fusion_updates=60), 60) == (600, 60)
    assert updates_in_a_round(pairs, TrainingSettings(fusion_updates=60), 3) == (30, 3)
    flags = ["--fusion-updates", "2", "--steps", "5"]
    assert main(arguments(pair_folder, tmp_path / "run", *flags)) == 0
    assert load_checkpoint(tmp_path / "run")["step"] == 5


def test_from_starts_with_all_three_modules(pair_folder, tmp_path, capsys):
    assert main(arguments(pair_folder, tmp_path / "first", "--steps", "2")) == 0
    still = ["--from", str(tmp_path / "first"), "--steps", "2", "--lr", "0", "--meta-lr", "0", "--seed", "5"]
    assert main(arguments(pair_folder, tmp_path / "second", *still)) == 0
    assert same(tmp_path / "first", tmp_path / "second")
    (tmp_path / "first" / "loss_proposal.safetensors").unlink()
    assert main(arguments(pair_folder, tmp_path / "third", *still)) == 2
    assert "loss_proposal.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


def test_a_run_has_a_window_and_one_that_starts_from_it_keeps_it(pair_folder, tmp_path):
    assert main(arguments(pair_folder, tmp_path / "one", "--steps", "2", "--window", "10")) == 0
    start = ["--from", str(tmp_path / "one"), "--hold-out", "1"]
    assert main(arguments(pair_folder, tmp_path / "other", "--steps", "2", *start)) == 0
    for name in ("one", "other"):
        assert ReFusion.from_pretrained(tmp_path / name).window == 10


def test_larger_crops_at_the_end_have_their_own_batch(pair_folder):
    training = trainer(pair_folder, crop=16, batch_size=2, crop_last=24, batch_size_last=1, rounds=4, fusion_updates=1)
    shapes = set()
    for progress in training.train():
        shapes.add((progress.share > 0.67, training.fusion_batches.batch_size, training.fusion_batches.transform.size))
    assert (False, 2, 16) in shapes
    assert (True, 1, 24) in shapes


def test_bf16_trains(pair_folder, tmp_path):
    assert main(arguments(pair_folder, tmp_path / "run", "--steps", "2", "--bf16")) == 0
    assert ReFusion.from_pretrained(tmp_path / "run").fuse(*(np.full((16, 16), 0.5),) * 2).size == (16, 16)


def test_streaming_trains(pair_folder, tmp_path):
    assert main(arguments(pair_folder, tmp_path / "run", "--steps", "2", "--streaming")) == 0
    ReFusion.from_pretrained(tmp_path / "run")


@pytest.mark.parametrize("extra", [[], ["--streaming"]])
def test_parquet_of_paths_is_refused_before_the_run(pair_folder, tmp_path, capsys, extra):
    paths = {side: [str(file) for file in sorted((pair_folder / side).iterdir())] for side in ("ir", "vis")}
    pq.write_table(pa.table(paths), tmp_path / "paths.parquet")
    assert main(arguments(tmp_path / "paths.parquet", tmp_path / "run", "--steps", "2", *extra)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("only paths") == 1
    assert "of datasets embeds them" in said
    assert not (tmp_path / "run").exists()


def test_streaming_prints_the_notes_of_the_pairs_once(pair_folder, tmp_path, capsys):
    dim = (textured(1).astype(np.uint16) + 100) * 4
    Image.fromarray(dim).save(pair_folder / "ir" / "scene1.png")
    note = "ir/scene1.png uses only"
    for name, extra in (("whole", []), ("streamed", ["--streaming"])):
        assert main(arguments(pair_folder, tmp_path / name, "--batch-size", "3", "--steps", "4", *extra)) == 0
        said = capsys.readouterr().err
        assert said.count(note) == 1
        assert "--own-range (window='own')" in said
        assert "(--window-a, --window-b LOW HIGH)" in said


def test_pairs_without_content_are_counted_once(pair_folder, tmp_path, capsys):
    for place in range(4):
        Image.new("L", (64, 48)).save(pair_folder / "ir" / f"scene{place}.png")
    shutil.copy(pair_folder / "ir" / "scene4.png", pair_folder / "vis" / "scene4.png")
    for name, extra in (("whole", []), ("streamed", ["--streaming"])):
        assert main(arguments(pair_folder, tmp_path / name, "--batch-size", "3", "--steps", "4", *extra)) == 0
        said = capsys.readouterr().err
        assert said.count("4 pairs have a source of a single grey level, such as black, so nothing can be learned") == 1
        assert said.count("1 pair has the same image twice, so nothing can be learned from it: scene4.") == 1


def test_crops_that_are_larger_than_images_are_noted_once(pair_folder, tmp_path, capsys):
    for folder in ("ir", "vis"):
        path = pair_folder / folder / "scene1.png"
        Image.open(path).crop((0, 0, 24, 40)).save(path)
    note = "In 1 of 6 pairs the images are smaller than the crops, of up to 32 x 32 pixels, and are mirrored to fill"
    flags = ["--steps", "8", "--crop", "32", "--zoom", "0"]
    assert main(arguments(pair_folder, tmp_path / "whole", *flags)) == 0
    assert " ".join(capsys.readouterr().err.split()).count(note) == 1
    assert main(arguments(pair_folder, tmp_path / "small", "--steps", "1", "--zoom", "0")) == 0
    assert "are mirrored" not in capsys.readouterr().err


def test_crops_that_take_more_memory_than_is_free_are_noted():
    settings = TrainingSettings(crop=128, batch_size=2, crop_last=256)
    assert memory_notes(settings, 16 * 10**9) == []
    (note,) = memory_notes(settings, 15 * 10**9)
    assert note.startswith("A batch of 2 crops of 256 x 256 pixels takes about 15.3 GB of memory, and 15 GB are free;")
    assert memory_notes(replace(settings, loss="average"), 10 * 10**9) == []


def test_of_many_notes_on_a_stream_the_first_are_printed_and_the_others_counted(pair_folder, tmp_path, capsys):
    for place in range(14):
        Image.fromarray((textured(place).astype(np.uint16) + 100) * 4).save(pair_folder / "ir" / f"dim{place}.png")
        Image.fromarray(textured(place)).save(pair_folder / "vis" / f"dim{place}.png")
    assert main(arguments(pair_folder, tmp_path / "run", "--batch-size", "4", "--steps", "7", "--streaming")) == 0
    said = capsys.readouterr().err
    assert said.count("uses only") == 10
    assert "There are 4 more notes of this kind." in said


def test_a_time_budget_ends_the_run(pair_folder, tmp_path):
    assert main(arguments(pair_folder, tmp_path / "run", "--minutes", "0.05")) == 0
    state = load_checkpoint(tmp_path / "run")
    assert 3 <= state["seconds"] < 60


def test_every_hyperparameter_is_a_flag_and_paper_is_published(pair_folder, tmp_path):
    parser = make_parser()
    paper = settings_from(parser.parse_args([*arguments(pair_folder, tmp_path)[:6], "--preset", "paper"]))
    assert paper == PAPER == TrainingSettings()
    published = {
        "rounds": 50, "meta_updates": 600, "fusion_updates": 0, "batch_size": 2, "crop": 128, "lr": 1e-4,
        "meta_batches": 2, "lr_schedule": "step", "meta_rule": "max", "alpha_last": 1.0,
    }  # fmt: skip
    assert {name: getattr(paper, name) for name in published} == published
    # The pieces that the paper does not have are off.
    assert (paper.noise, paper.equivariant, paper.balance, paper.inner_image_until, paper.ema) == (0, False, 0, 0, 0)


def test_the_default_preset_fits_the_task_and_brings_its_budget(pair_folder, tmp_path):
    flags = arguments(pair_folder, tmp_path)[2:6]
    settings = {task: settings_from(make_parser().parse_args(["--task", task, *flags])) for task in TASKS}
    assert settings["ir-vis"].intensity_brightness > 0
    assert settings["multi-focus"].intensity_contrast > 0
    assert settings["multi-exposure"].intensity_brightness < settings["ir-vis"].intensity_brightness
    assert {task: one.window for task, one in settings.items() if one.window} == {"multi-focus": 80}
    assert PRESET_MINUTES[DEFAULT_PRESET] == 60


def test_a_run_starts_with_the_gains_of_its_settings(pair_folder, tmp_path):
    wanted = torch.tensor([[5.0, 0.5], [1.0, 2.0]])
    gains = {"intensity_brightness": 5, "intensity_contrast": 0.5, "gradient_brightness": 1, "gradient_contrast": 2}
    torch.testing.assert_close(trainer(pair_folder, **gains).modules.proposal.gains.detach(), wanted)
    assert main(arguments(pair_folder, tmp_path / "first", "--steps", "2", "--gradient-smoothing", "5")) == 0
    flags = ["--from", str(tmp_path / "first"), "--steps", "1", "--meta-lr", "0"]
    other = ["--gradient-smoothing", "3"]
    other += [word for name, value in gains.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    preset = preset_settings(DEFAULT_PRESET, "ir-vis").gains
    for name, extra, expected, smoothing in (
        ("kept", [], preset, 5),
        ("given", other, wanted.tolist(), 3),
        ("new", ["--new-proposal", *other], wanted.tolist(), 3),
    ):
        assert main(arguments(pair_folder, tmp_path / name, *flags, *extra)) == 0
        found = load_file(tmp_path / name / "loss_proposal.safetensors")
        assert found["gradient_smoothing"] == smoothing
        torch.testing.assert_close(found["gains"], torch.tensor(expected, dtype=torch.float32), atol=0.01, rtol=0)


def test_a_new_proposal_is_the_only_module_that_starts_anew(pair_folder, tmp_path, capsys):
    assert main(arguments(pair_folder, tmp_path / "first", "--steps", "2")) == 0
    flags = ["--from", str(tmp_path / "first"), "--new-proposal", "--steps", "1", "--meta-lr", "0", "--lr", "0"]
    assert main(arguments(pair_folder, tmp_path / "second", *flags)) == 0
    weights = {
        name: [load_file(tmp_path / run / f"{name}.safetensors") for run in ("first", "second")]
        for name in ("reconstruction", "loss_proposal")
    }
    before, after = weights["reconstruction"]
    assert all(torch.equal(before[key], after[key]) for key in before)
    before, after = weights["loss_proposal"]
    assert before["intensity_head.weight"].abs().sum() > 0
    assert after["intensity_head.weight"].abs().sum() == 0
    assert main(arguments(pair_folder, tmp_path / "third", "--new-proposal", "--steps", "1")) == 2
    assert "belongs to --from" in capsys.readouterr().err


def test_the_paper_learning_rate_falls_tenfold_every_fifth(pair_folder):
    t = trainer(pair_folder, rounds=5, lr_schedule="step", meta_after=1.0)
    rates = [progress.lr for progress in t.train()]
    assert rates == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7, 1e-8])


@pytest.mark.slow
def test_training_lowers_the_losses(pair_folder):
    t = trainer(pair_folder, rounds=60, lr=3e-3, lr_schedule="cosine", crop=24, noise=0.06, inner_image_until=1.0)
    history = [dict(progress.losses) for progress in t.train()][1:]
    assert history[-1]["fusion"] < 0.9 * history[0]["fusion"]
    assert history[-1]["reconstruction"] < 0.8 * history[0]["reconstruction"]
