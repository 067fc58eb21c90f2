"""Names, strict loading, and checkpoints of the authors' release."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import release
from support.scenes import ROOT, textured

from refusion.hub.errors import HubError, ModelError, NoWeightsError, UnknownModelError
from refusion.hub.folder import LOADED, PUBLISHED, save_checksums, save_model
from refusion.hub.names import bundled_folder, has_weights, local_folder, locate
from refusion.inference.output_range import bring_to_range
from refusion.models.model import ReFusion
from refusion.models.release import convert_checkpoint
from refusion.system.checkpoints import CheckpointError
from refusion.tasks import TASKS

BUNDLED = [task.model for task in TASKS.values() if has_weights(task.model)]


@pytest.fixture
def saved(tmp_path):
    model = ReFusion(task="medical", channels=8, heads=4).eval()
    save_model(tmp_path, model, model.config)
    return tmp_path, model


def test_saved_and_loaded_models_are_equal(saved):
    folder, model = saved
    loaded = ReFusion.from_pretrained(folder)
    assert loaded.config == model.config
    assert loaded.task.name == "medical"
    assert not loaded.training
    a, b = textured(1), textured(2)
    assert np.array_equal(loaded.fuse(a, b), model.fuse(a, b))


def test_config_holds_exactly_the_constructor_arguments(saved):
    folder, _ = saved
    assert json.loads((folder / "config.json").read_text()) == {
        "task": "medical",
        "channels": 8,
        "heads": 4,
        "expansion": 2,
        "blocks": 2,
        "padding_mode": "replicate",
        "window": None,
    }


def test_save_pretrained_of_the_hub_mixin_gives_the_same_folder(saved, tmp_path):
    folder, model = saved
    model.save_pretrained(tmp_path / "mixin")
    assert json.loads((tmp_path / "mixin" / "config.json").read_text()) == model.config
    assert torch.equal(
        load_file(tmp_path / "mixin" / "model.safetensors")["project_in_1.weight"],
        load_file(folder / "model.safetensors")["project_in_1.weight"],
    )
    assert ReFusion.from_pretrained(str(tmp_path / "mixin")).config == model.config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("project_in_1.weight"), "lacks the weight project_in_1.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "holds the weight extra"),
        (lambda w: w.update({"project_in_1.weight": torch.zeros(3)}), r"project_in_1.weight .* shape \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(saved, change, message):
    folder, _ = saved
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        ReFusion.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # 37 TB.
        ({"channels": 800_000}, r"The weight .* in .*model\.safetensors has shape"),
        ({"channels": 8 * 10**9}, "too large for any computer"),
        ({"channels": 8 * 10**30}, "too large for any computer"),
        ({"blocks": 10**9}, "blocks is 1000000000; it must be at most 100"),
    ],
    ids=str,
)
def test_a_configuration_that_is_larger_than_the_weights_takes_no_memory(saved, change, message):
    folder, model = saved
    (folder / "config.json").write_text(json.dumps({**model.config, **change}))
    with pytest.raises(ModelError, match=message):
        ReFusion.from_pretrained(folder)


def test_damaged_files_are_named(saved):
    folder, _ = saved
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        ReFusion.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(NoWeightsError, match=r"model\.safetensors"):
        ReFusion.from_pretrained(folder)
    (folder / "config.json").write_text('{"task": "medical", "colour": 3}')
    with pytest.raises(ModelError, match="unknown key colour"):
        ReFusion.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        ReFusion.from_pretrained(folder)


def test_unknown_names_list_the_known_ones(tmp_path, monkeypatch):
    with pytest.raises(UnknownModelError, match="refusion-ir-vis, refusion-medical"):
        ReFusion.from_pretrained("refusion-nothing")
    with pytest.raises(UnknownModelError, match="no folder"):
        ReFusion.from_pretrained(tmp_path / "nothing")
    with pytest.raises(UnknownModelError, match="There is no folder '~nobody-here/x' to load a model from"):
        ReFusion.from_pretrained("~nobody-here/x")


def test_a_file_is_no_model_and_the_message_names_the_folder_to_give(saved, monkeypatch):
    folder, _ = saved
    monkeypatch.chdir(folder.parent)
    for given in (folder / "model.safetensors", f"./{folder.name}/model.safetensors", f"{folder.name}/config.json"):
        with pytest.raises(UnknownModelError, match=r"is a file; .* the folder that holds its config\.json"):
            ReFusion.from_pretrained(given)
    monkeypatch.chdir(folder)
    with pytest.raises(UnknownModelError, match=r"^'config.json' is a file"):
        ReFusion.from_pretrained("config.json")


def test_a_configuration_is_exactly_the_constructor_arguments(saved):
    folder, model = saved
    for change, message in [
        ({"channels": "8"}, r"channels in config\.json .* type int"),
        ({"blocks": True}, "blocks in config.json .* type int"),
        ({"task": "sonar"}, "There is no task 'sonar'"),
        ({"heads": 3}, "config.json in"),
    ]:
        (folder / "config.json").write_text(json.dumps({**model.config, **change}))
        with pytest.raises(ModelError, match=message):
            ReFusion.from_pretrained(folder)
    for content, message in [
        ("[]", "not an object"),
        ("{", "is not JSON"),
        ("[" * 200_000, "is nested too deeply"),
        (json.dumps({k: v for k, v in model.config.items() if k != "task"}), "lacks the key task"),
    ]:
        (folder / "config.json").write_text(content)
        with pytest.raises(ModelError, match=message):
            ReFusion.from_pretrained(folder)


def test_checksums_are_verified_where_there_are_any(saved):
    folder, model = saved
    save_checksums(folder)
    ReFusion.from_pretrained(folder)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["config.json", "model.safetensors"]
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config + " ")
    with pytest.raises(ModelError, match=r"config\.json does not match SHA256SUMS"):
        ReFusion.from_pretrained(folder)
    (folder / "config.json").write_text(config)
    weights = load_file(folder / "model.safetensors")
    weights["project_in_1.weight"] += 1
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors does not match SHA256SUMS"):
        ReFusion.from_pretrained(folder)
    (folder / "SHA256SUMS").write_text(lines[0] + "\n")
    with pytest.raises(ModelError, match=r"SHA256SUMS has no line for model\.safetensors"):
        ReFusion.from_pretrained(folder)
    (folder / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ModelError, match="Line 1 of SHA256SUMS"):
        ReFusion.from_pretrained(folder)
    # Weights that are written anew do not keep the checksums of those before.
    save_model(folder, model, model.config)
    ReFusion.from_pretrained(folder)


def test_every_digit_of_a_checksum_counts_in_either_case(saved):
    folder, _ = saved
    save_checksums(folder)
    sums = folder / "SHA256SUMS"
    content = sums.read_text()
    lines = [line.split("  ") for line in content.splitlines()]
    sums.write_text("".join(f"{digest.upper()}  {name}\n" for digest, name in lines))
    ReFusion.from_pretrained(folder)
    sums.write_text(f"{content[:63]}{'1' if content[63] == '0' else '0'}{content[64:]}")
    with pytest.raises(ModelError, match=r"config\.json does not match SHA256SUMS"):
        ReFusion.from_pretrained(folder)


def test_arguments_that_cannot_be_followed_are_refused(saved):
    folder, _ = saved
    with pytest.raises(ModelError, match=r"revision v1 .* is a folder"):
        ReFusion.from_pretrained(folder, revision="v1")
    with pytest.raises(ModelError, match="strictly"):
        ReFusion.from_pretrained(folder, strict=False)
    with pytest.raises(TypeError, match="channels"):
        ReFusion.from_pretrained(folder, channels=8)


def test_names_paths_and_repositories_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/ir-vis", "plain", "refusion-ir-vis"):
        (tmp_path / folder).mkdir(parents=True)
    assert locate("runs/ir-vis") == locate(Path("runs/ir-vis")) == str(tmp_path / "runs" / "ir-vis")
    assert locate("./plain") == locate(Path("plain")) == locate(str(tmp_path / "plain")) == str(tmp_path / "plain")
    assert locate("lab/refusion-ir-vis") == "lab/refusion-ir-vis"
    with pytest.raises(UnknownModelError, match="refusion-medical"):
        locate("plain")
    with pytest.raises(UnknownModelError, match="OWNER/NAME"):
        locate("runs/a/b")
    monkeypatch.setenv("REFUSION_HUB_ORG", "lab")
    assert [locate(task.model) for task in TASKS.values()] == [f"lab/{task.model}" for task in TASKS.values()]
    with pytest.raises(UnknownModelError, match="refusion-medical"):
        locate("refusion-nothing")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_: object, **__: object):
        raise OSError("the test forbids connections")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_open_no_connection_and_win_over_a_folder_of_their_name(
    name, tmp_path, monkeypatch, no_network
):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFUSION_HUB_ORG", raising=False)
    model = ReFusion.from_pretrained(name)
    assert model.task.model == name
    assert sum(p.numel() for p in model.parameters()) == 59_856
    # What blocks the network does block it.
    monkeypatch.setenv("REFUSION_HUB_ORG", "lab")
    with pytest.raises(HubError, match=f"lab/{name} is not in the cache.* connection to the Hub failed"):
        ReFusion.from_pretrained(name, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_folders_hold_exactly_what_is_published(name):
    folder = bundled_folder(name)
    assert {path.name for path in folder.iterdir()} == set(PUBLISHED)
    assert (folder / "model.safetensors").stat().st_size < 1_000_000
    assert local_folder(locate(name)) == folder.resolve()
    before = (folder / "SHA256SUMS").read_text()
    assert [line.split("  ")[1] for line in before.splitlines()] == sorted(LOADED)


@pytest.fixture
def installed(tmp_path) -> Path:
    """A copy of the package as a wheel holds it; its folder ``site`` belongs on the path."""
    assert 'hub_configs = "refusion/hub_configs"' in (ROOT / "pyproject.toml").read_text()
    installed = tmp_path / "site" / "refusion"
    shutil.copytree(ROOT / "refusion", installed, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "hub_configs", installed / "hub_configs")
    return installed


def test_an_installed_package_serves_the_bare_names(installed, tmp_path):
    (tmp_path / "empty").mkdir()
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from refusion import ReFusion\n"
        "for name in sys.argv[1:]: print(ReFusion.from_pretrained(name)._origin)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *BUNDLED],
        env=environment,
        cwd=tmp_path / "empty",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str((installed / "hub_configs" / name).resolve()) for name in BUNDLED]


@pytest.mark.skipif(not BUNDLED, reason="no weights are bundled")
def test_the_list_of_models_has_their_parameters_or_says_what_is_damaged(installed, tmp_path):
    command = [sys.executable, "-m", "refusion", "models"]
    environment = {**os.environ, "PYTHONPATH": str(installed.parent)}

    def listed() -> subprocess.CompletedProcess:
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert listed().stdout.count("59,856") == len(BUNDLED)
    weights = installed / "hub_configs" / BUNDLED[0] / "model.safetensors"
    for content in (b"", b"\2" + bytes(7) + b"[]", weights.read_bytes()[:1000]):
        weights.write_bytes(content)
        done = listed()
        assert done.returncode == 2
        assert done.stderr == f"refusion: {BUNDLED[0]}/model.safetensors is damaged or not a safetensors file.\n"


@pytest.fixture
def authors_state(shared):
    return release.random_state((shared / "authors_checkpoint_keys.txt").read_text())


def test_converted_checkpoint_gives_the_release_output(authors_state, tmp_path):
    torch.save(authors_state, tmp_path / "theirs.pth")
    model = convert_checkpoint(tmp_path / "theirs.pth", "ir-vis")
    save_model(tmp_path, model, model.config)
    loaded = ReFusion.from_pretrained(tmp_path)
    for size in ((40, 56), (33, 47)):
        a, b = torch.rand(2, 1, 1, *size)
        with torch.no_grad():
            theirs, ours = release.fuse(authors_state, a, b), loaded(a, b)
        assert (theirs - ours).abs().max() < 1e-4
        assert theirs.std() > 0.01
    stretched = bring_to_range(theirs[0, 0].numpy(), (), "stretch") * 255
    picture = loaded.fuse(a[0, 0].numpy(), b[0, 0].numpy(), output_range="stretch", anchor="none")
    assert np.abs(np.asarray(picture, dtype=float) - stretched).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("FM.project_E.weight"), r"lacks FM\.project_E\.weight"),
        (lambda s: s.pop("decoder.0.attn.qkv.conv.weight"), r"decoder\.0\.attn\.qkv\.conv\.weight"),
        (lambda s: s.update({"head.bias": torch.zeros(1)}), r"head\.bias"),
        (lambda s: s.update({"FM.qkv1.weight": torch.zeros(48, 16, 1, 1)}), r"two different copies.*FM\.qkv1\.weight"),
        (lambda s: s.update({"encoder1.0.norm1.body.bias": torch.zeros(3)}), r"encoder1\.0\.norm1\.bias .*\(3,\)"),
    ],
)
def test_foreign_keys_are_named(authors_state, tmp_path, change, message):
    change(authors_state)
    torch.save(authors_state, tmp_path / "theirs.pth")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(tmp_path / "theirs.pth", "ir-vis")


class Evil:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"project_in_1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth"):
        convert_checkpoint(tmp_path / "evil.pth", "ir-vis")
    assert "code from" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_not_a_checkpoint_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        convert_checkpoint(tmp_path / "file.pth", "ir-vis")
