"""The bundled models without torch: the same images, and no torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.scenes import ROOT, textured

import refusion
from refusion.hub.errors import ModelError
from refusion.hub.folder import WEIGHTS
from refusion.hub.names import ORGANISATION
from refusion.inference.network import fuse_luminance
from refusion.models.bundled import BundledModel, is_bundled, load_bundled
from refusion.models.loading import load
from refusion.models.model import ReFusion
from refusion.system.devices import runs_on_cpu
from refusion.tasks import TASKS

EXAMPLES = ROOT / "space" / "examples"


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_it_fuses_as_the_model_in_torch_does(task):
    model = load(task.name, None, "cpu")
    assert isinstance(model, BundledModel)
    assert model.task is task
    a, b = (textured(seed, 90, 70) for seed in (1, 2))
    fused = refusion.fuse((a, b), task=task.name, device="cpu").to_array()
    np.testing.assert_array_equal(fused, np.asarray(ReFusion.from_pretrained(task.model).fuse(a, b)))


def test_what_it_cannot_do_is_done_in_torch(tmp_path, monkeypatch):
    assert isinstance(load("ir-vis", None, "cpu", "onnx"), BundledModel)
    assert isinstance(load("ir-vis", None, "cpu", "whole"), ReFusion)
    bundled = load_bundled("refusion-ir-vis")
    assert load(None, bundled, "cpu") is bundled
    with pytest.raises(ValueError, match="no task 'sharpening'"):
        load("sharpening", bundled, "cpu")
    assert isinstance(load(None, bundled, "cpu", "strips"), ReFusion)
    with pytest.raises(ValueError, match=r"whole needs torch; load refusion-ir-vis with ReFusion\.from_pretrained"):
        fuse_luminance(bundled, *np.zeros((2, 16, 16), np.float32), engine="whole")
    ReFusion.from_pretrained("refusion-ir-vis").save_pretrained(tmp_path / "own")
    assert isinstance(load(None, tmp_path / "own", "cpu"), ReFusion)
    monkeypatch.setenv(ORGANISATION, "somebody")
    assert not is_bundled("refusion-ir-vis")


def test_only_bare_names_are_bundled(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert is_bundled("refusion-medical")
    for name in (
        "medical",
        "refusion-sharpening",
        "hub_configs/refusion-medical",
        Path("hub_configs/refusion-medical"),
    ):
        assert not is_bundled(name)
    with pytest.raises(KeyError):
        load_bundled("refusion-sharpening")


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "hub_configs" / "refusion-ir-vis"
    ReFusion.from_pretrained("refusion-ir-vis").save_pretrained(folder)
    monkeypatch.setattr("refusion.hub.names.resource_folders", lambda *_: [tmp_path / "hub_configs"])
    assert load_bundled("refusion-ir-vis").task.name == "ir-vis"
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_bundled("refusion-ir-vis")


def test_the_network_of_a_name_is_made_once():
    first, second = (load("medical", None, "cpu") for _ in range(2))
    assert first.network is second.network
    assert load("ir-vis", None, "cpu").network is not first.network


def test_another_device_may_need_torch():
    assert runs_on_cpu("cpu")
    assert not runs_on_cpu("cuda")
    assert not runs_on_cpu("mps")
    assert runs_on_cpu(None) == runs_on_cpu("auto")


def test_a_pair_is_fused_without_torch(tmp_path):
    arguments = [str(EXAMPLES / f"ir-vis_{name}.png") for name in ("ir", "vis")]
    arguments = ["fuse", *arguments, "-o", str(tmp_path / "fused.png"), "--device", "cpu", "--quiet"]
    code = (
        f"import sys; sys.argv = ['refusion', *{arguments!r}]\n"
        "from refusion.cli.app import app\n"
        "try:\n    app()\nfinally:\n    print('torch' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == ["False", "False"]
    assert (tmp_path / "fused.png").is_file()


def test_no_telemetry_is_prepared_or_sent(tmp_path):
    # ONNX Runtime's would leave its database and the number of its session there.
    for name in ("cache", "home", "tmp"):
        (tmp_path / name).mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    pair = [str(EXAMPLES / f"ir-vis_{name}.png") for name in ("ir", "vis")]
    command = [sys.executable, "-m", "refusion", "fuse", *pair, "-o", str(tmp_path / "fused.png")]
    subprocess.run(command, check=True, env=environment)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["fused.png"]
