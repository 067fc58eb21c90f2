"""Model cards, and the commands that show and write them."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from support.scenes import textured
from typer.testing import CliRunner

from refusion.cli.app import app
from refusion.hub.card_texts import TASK_TEXTS
from refusion.hub.checksums import write_checksums
from refusion.hub.errors import ModelError
from refusion.hub.folder import save_checksums, save_model
from refusion.hub.names import bundled_folder, has_weights
from refusion.models.model import ReFusion
from refusion.pairs.dataset import load_pairs
from refusion.system.processes import ALONE
from refusion.tasks import TASKS, get_task
from refusion.training.flags import make_parser, settings_from
from refusion.training.record import description, save_record, training_of_run

BUNDLED = [task.model for task in TASKS.values() if has_weights(task.model)]


def refusion(*arguments: object) -> str:
    """Run a command that has to work; its output on one line."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture
def folder(tmp_path) -> Path:
    """An untrained model, as train.py leaves it after a few steps."""
    path = tmp_path / "mine"
    path.mkdir()
    model = ReFusion("multi-focus", channels=8, heads=4, blocks=1)
    save_model(path, model, model.config)
    return path


def card_of(folder: Path, name: str | None = None) -> str:
    return str(ReFusion.from_pretrained(folder).generate_model_card(name))


@pytest.mark.parametrize("name", BUNDLED)
def test_what_is_generated_in_the_bundled_folders_is_current(name, tmp_path):
    folder = bundled_folder(name)
    renew = f"`refusion card hub_configs/{name}` renews it"
    model = ReFusion.from_pretrained(name)
    assert str(model.generate_model_card()) == (folder / "README.md").read_text(encoding="utf-8"), renew
    assert json.dumps(model.config, indent=2, sort_keys=True) + "\n" == (folder / "config.json").read_text()
    shutil.copytree(folder, tmp_path / name)
    save_checksums(tmp_path / name)
    assert (tmp_path / name / "SHA256SUMS").read_text() == (folder / "SHA256SUMS").read_text(), renew


@pytest.mark.parametrize("name", BUNDLED)
def test_saving_bundled_weights_gives_their_folder_again(name, tmp_path):
    ReFusion.from_pretrained(name).save_pretrained(tmp_path / "copy")
    folder = bundled_folder(name)
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", BUNDLED)
def test_the_front_matter_is_what_the_hub_reads(name):
    folder = bundled_folder(name)
    data = ModelCard((folder / "README.md").read_text(encoding="utf-8")).data
    info = ReFusion._hub_mixin_info.model_card_data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-nc-4.0", "refusion", "image-to-image")
    assert (info.license, info.library_name, info.pipeline_tag) == (data.license, data.library_name, data.pipeline_tag)
    assert set(info.tags) < set(data.tags)
    assert data.datasets
    first = next(iter(json.loads((folder / "scores.json").read_text())["models"].values()))
    measured = {metric: round(value, 4) for metric, value in first["mean"].items() if value is not None}
    assert {result.metric_type: result.metric_value for result in data.eval_results} == measured
    assert data.metrics == list(measured)
    assert {result.task_type for result in data.eval_results} == {"image-to-image"}


@pytest.mark.parametrize("name", BUNDLED)
def test_the_snippet_of_the_card_runs_as_it_stands(name, tmp_path, monkeypatch):
    text = (bundled_folder(name) / "README.md").read_text(encoding="utf-8")
    task = next(task for task in TASKS.values() if task.model == name)
    monkeypatch.chdir(tmp_path)
    for seed, picture in enumerate(TASK_TEXTS[task.name].pictures):
        Image.fromarray(textured(seed)).save(picture)
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(snippet, {})
    assert Image.open("fused.png").size == (64, 48)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_cards_say_what_a_user_has_to_know(name):
    text = (bundled_folder(name) / "README.md").read_text(encoding="utf-8")
    for needed in (
        "Not for diagnosis",
        "CC BY-NC 4.0",
        "research-only",
        "python train.py",
        "authors' release",
        "| step |",
    ):
        assert needed in " ".join(text.split())
    assert "@article{bai2024refusion" in text
    assert max(len(line) for line in text.splitlines() if line[:1] not in "| ") <= 160


def test_a_training_module_with_another_checksum_is_not_passed_on(tmp_path):
    shutil.copytree(bundled_folder(BUNDLED[0]), tmp_path / "source")
    (tmp_path / "source" / "loss_proposal.safetensors").write_bytes(b"swapped")
    model = ReFusion.from_pretrained(tmp_path / "source")
    with pytest.raises(ModelError, match=r"loss_proposal\.safetensors does not match SHA256SUMS"):
        model.save_pretrained(tmp_path / "copy")


def test_every_task_has_a_text():
    assert list(TASK_TEXTS) == list(TASKS)


def test_a_model_without_facts_claims_nothing(folder):
    text = card_of(folder, "me/mine")
    assert "How these weights were trained is not recorded." in text
    assert "Without training.json, the card says that the training is not recorded." in refusion("card", "--help")
    assert "Not scored yet" in text
    assert "terms of the training images are not recorded" in text
    assert 'from_pretrained("me/mine")' in text
    assert ModelCard(text).data.eval_results is None
    assert "# refusion-multi-focus" in str(ReFusion("multi-focus").generate_model_card())


def test_a_run_is_told_from_its_settings(folder, pair_folder):
    flags = ["--task", "multi-focus", "--data", str(pair_folder), "--out", "runs/x", "--from", "/home/otto/runs/before"]
    flags += ["--val", str(pair_folder), "--new-proposal", "--minutes", "90", "--seed", "3", "--bf16"]
    args = make_parser().parse_args([*flags, "--device", "cpu", "--meta-lr", "0.0123", "--no-equivariant"])
    pairs = load_pairs(pair_folder, get_task("ir-vis"))
    settings = description(args, settings_from(args), pairs, ALONE, None, None)
    settings |= {"pairs": 1234, "threads": 2, "versions": {"torch": "2.15.0"}}
    settings["settings"]["of_old"] = 7
    rows = [{"step": 10 * i, "seconds": 60.0 * i, "fusion": 0.5 / i, "reconstruction": 0.4 / i} for i in range(1, 91)]
    history = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "history.jsonl").write_text(history + '{"step": 910, "half wri')
    save_record(folder, settings)
    text = card_of(folder)
    assert "1,234 registered pairs" in text
    command = "python train.py --task multi-focus --data PAIRS --out runs/multi-focus"
    command += (
        " --from ./before --new-proposal --val VAL --minutes 90 --seed 3 --bf16 --meta-lr 0.0123 --no-equivariant"
    )
    assert f"    {command}\n" in text
    known = "`VAL` is another one and `./before` is the folder of the model before):"
    assert known in " ".join(text.split())
    assert "90 minutes on device cpu, 2 threads, 900 fusion updates, torch 2.15.0." in text
    assert ModelCard(text).data.base_model == "before"
    assert "from the weights of before" in " ".join(text.split())
    assert "otto" not in text
    (folder / "history.jsonl").write_text(json.dumps(rows[0] | {"seconds": 2.0}) + "\n")
    save_record(folder, settings)
    assert "Less than 0.1 minutes on device cpu" in " ".join(card_of(folder).split())
    assert str(pair_folder) not in text
    curve = text[text.index("| step |") :].split("\n\n")[0].splitlines()[2:]
    assert len(curve) == 6
    assert curve[0].startswith("| 10 | 1 | 0.5 |")
    assert curve[-1].startswith("| 900 | 90 | 0.00556 |")


def test_a_run_of_before_a_setting_was_there_had_its_default():
    (command,) = training_of_run({"task": "multi-focus", "settings": {"of_old": 7}}, []).commands
    assert command == "python train.py --task multi-focus --data PAIRS --out runs/multi-focus --preset paper"


def test_scores_are_compared_with_the_release(folder):
    models = {
        "./runs/mine": {"pairs": 4, "mean": {"EN": 7.0, "VIF": 0.5, "SSIM": 1.302, "border": 1.0, "MI": None}},
        "authors' release (stretched)": {
            "pairs": 4,
            "mean": {"EN": 6.0, "VIF": 1.0, "SSIM": 1.3, "border": 2.0, "MI": 3.0},
        },
        "a | b": {"pairs": 3, "mean": {"EN": 1.0}},
    }
    metrics = {name: {"higher_is_better": name != "border"} for name in ("EN", "VIF", "SSIM", "border", "MI")}
    content = {"definitions": "as usual", "figures": metrics, "models": models}
    (folder / "scores.json").write_text(json.dumps(content))
    text = card_of(folder, "me/mine")
    assert "better in EN, border; level (within 0.5 %) in SSIM; worse in VIF (50 %)." in text
    assert "|  | pairs | EN ↑ | VIF ↑ | SSIM ↑ | border ↓ | MI ↑ |" in text
    assert "| mine | 4 | 7.000 | 0.500 | 1.302 | 1.000 | \N{EN DASH} |" in text
    assert "| a \\| b | 3 | 1.000 | \N{EN DASH} |" in text
    assert ModelCard(text).data.metrics == ["EN", "VIF", "SSIM", "border"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("training.json", '{"data": {"pears": 3}}', r"training\.json has the unknown key data\.pears"),
        ("training.json", '{"minuets": 3}', r"training\.json has the unknown key minuets"),
        ("training.json", '{"minutes": "3"}', r"minutes in training\.json is '3'"),
        ("training.json", "[]", r"content in training\.json must be an object"),
        ("training.json", "{", r"training\.json in mine is not JSON"),
        ("scores.json", '{"models": {"x": {"pairs": 1, "mean": {"EN": "7"}}}}', r"EN of x in scores\.json is '7'"),
        ("scores.json", '{"models": {"x": {"mean": {"EN": 7}}}}', r"pairs of x in scores\.json"),
        ("scores.json", '{"models": []}', r"models in scores\.json must be an object"),
        ("history.jsonl", "{}\nnonsense\n", r"Line 2 of history\.jsonl is not JSON"),
    ],
)
def test_damaged_facts_are_named(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match=message):
        card_of(folder)


def test_changed_weights_keep_no_claims(tmp_path):
    model = ReFusion.from_pretrained(BUNDLED[0])
    with torch.no_grad():
        model.project_out_1.weight += 1
    model.save_pretrained(tmp_path / "tuned")
    assert {path.name for path in (tmp_path / "tuned").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "SHA256SUMS",
    }
    text = (tmp_path / "tuned" / "README.md").read_text()
    assert ModelCard(text).data.base_model == BUNDLED[0]
    assert "Not scored yet" in text
    assert f"The licence of {BUNDLED[0]}" in text
    assert f"are derived from those of {BUNDLED[0]}" in " ".join(text.split())
    again = ReFusion.from_pretrained(tmp_path / "tuned")
    assert torch.equal(again.project_out_1.weight, model.project_out_1.weight)
    with torch.no_grad():
        again.project_out_1.weight += 1
    with pytest.raises(ModelError, match="save to another folder"):
        again.save_pretrained(tmp_path / "tuned")


def test_weights_saved_over_others_do_not_inherit_their_scores(tmp_path):
    best = tmp_path / "best"
    model = ReFusion.from_pretrained(BUNDLED[0])
    model.save_pretrained(best)
    assert (best / "scores.json").is_file()
    with torch.no_grad():
        model.project_out_1.weight += 1
    model.save_pretrained(best)
    assert {path.name for path in best.iterdir()} == {"config.json", "model.safetensors", "README.md", "SHA256SUMS"}
    assert "Not scored yet" in card_of(best)


def test_a_training_run_is_not_overwritten(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoint.pt").write_bytes(b"state")
    (run / "history.jsonl").write_text("{}\n")
    with pytest.raises(ModelError, match="run is the folder of a training run"):
        ReFusion.from_pretrained(BUNDLED[0]).save_pretrained(run)
    assert (run / "history.jsonl").read_text() == "{}\n"
    assert not (run / "model.safetensors").exists()


def test_saving_replaces_an_old_card(folder, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "README.md").write_text("an old card")
    ReFusion.from_pretrained(folder).save_pretrained(tmp_path / "there")
    text = (tmp_path / "there" / "README.md").read_text()
    assert 'from_pretrained("./there")' in text


def test_the_card_command_renews_card_and_checksums(folder, tmp_path):
    write_checksums(folder, ["model.safetensors"])
    weights = load_file(folder / "model.safetensors")
    weights["project_in_1.weight"] += 1
    save_file(weights, folder / "model.safetensors")
    (folder / "checkpoint.pt").write_bytes(b"a pickle")
    refusion("card", folder)
    assert 'from_pretrained("./mine")' in (folder / "README.md").read_text()
    ReFusion.from_pretrained(folder)
    save_record(folder, {"task": "multi-focus", "pairs": 12, "settings": {}})
    refusion("card", folder, "--output", tmp_path / "hub_configs" / "refusion-multi-focus")
    made = tmp_path / "hub_configs" / "refusion-multi-focus"
    assert {path.name for path in made.iterdir()} == {
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
        "training.json",
    }
    card = (made / "README.md").read_text()
    assert 'from_pretrained("refusion-multi-focus")' in card
    assert json.loads((made / "training.json").read_text())["data"]["pairs"] == 12
    refusion("card", made)
    assert (made / "README.md").read_text() == card


def test_every_command_of_the_card_of_a_run_works_as_printed(folder, pair_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pair_folder, "VAL")
    for ours, name in (("ir", "near"), ("vis", "far")):
        (tmp_path / "VAL" / ours).rename(tmp_path / "VAL" / name)
    shutil.move(folder, "runs/my run")
    refusion("card", Path("runs/my run"))
    text = Path("runs/my run/README.md").read_text()
    assert "where `./runs/my run` is the folder of this card" in " ".join(text.split())
    snippet = re.search(r"(from refusion .*\nmodel = .*?\n)", text, re.DOTALL)
    exec(snippet[1], {})
    commands = re.findall(r"^    refusion (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["evaluate", "card"]
    for command in commands:
        refusion(*shlex.split(command))
    assert "| 6 pairs | EN" in Path("runs/my run/README.md").read_text()


def test_models_are_listed(monkeypatch):
    monkeypatch.delenv("REFUSION_HUB_ORG", raising=False)
    listed = refusion("models")
    for task in TASKS.values():
        source = "this package" if task.model in BUNDLED else "not trained yet"
        assert re.search(rf"{task.model} . {task.name} .*?CC BY-NC 4.0 . {source}", listed), listed
    assert "59,856 │ 0.25 MB" in listed
    monkeypatch.setenv("REFUSION_HUB_ORG", "lab")
    assert "the Hub: lab/refusion-medical" in refusion("models")
