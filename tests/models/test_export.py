"""Exported models give what the module gives, at sizes that they were not exported at."""

import json
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import onnx
import pytest
import torch
from support.scenes import textured
from typer.testing import CliRunner

from refusion.cli.app import app
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.models.export import ExportError, export
from refusion.models.finished import export_finished
from refusion.models.model import ReFusion
from refusion.modules.fusion import FusionModule
from refusion.tasks import Anchor
from refusion.version import __version__

SIZES = ((8, 8), (21, 50), (40, 17))


@pytest.fixture(scope="module", params=[None, 20], ids=["whole picture", "window"])
def folder(request, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    ReFusion(channels=4, heads=2, blocks=1, window=request.param).save_pretrained(folder)
    return folder


def test_onnx_at_any_size(folder, tmp_path):
    path = tmp_path / "model.onnx"
    result = CliRunner().invoke(app, ["export", str(folder), "-o", str(path)])
    assert result.exit_code == 0, result.output
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    sides = [[d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in model.graph.input]
    assert sides == [[1, 1, "height", "width"]] * 2
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    image = "luminance in [0, 1], float32 (1, 1, height, width)"
    assert session.get_modelmeta().custom_metadata_map == {
        "model": folder.name,
        "task": "ir-vis",
        "licence": "cc-by-nc-4.0",
        "version": __version__,
        "batch": "1: one pair at a time",
        "a": f"infrared, {image}",
        "b": f"visible, {image}",
        "fused": f"fused image, {image}",
    }
    module = ReFusion.from_pretrained(folder)
    for size in SIZES:
        a, b = torch.rand(2, 1, 1, *size)
        with torch.no_grad():
            expected = module(a, b).numpy()
        (fused,) = session.run(["fused"], {"a": a.numpy(), "b": b.numpy()})
        np.testing.assert_allclose(fused, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_torch_program_at_any_size(folder, tmp_path):
    path = tmp_path / "model.pt2"
    module = ReFusion.from_pretrained(folder)
    assert export(module, path) <= 1e-4
    program = torch.export.load(path).module()
    for pairs, size in enumerate(SIZES, start=1):
        a, b = torch.rand(2, pairs, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(program(a, b), module(a, b), atol=1e-4, rtol=0)


def test_finished_at_any_size_with_every_anchor(folder, tmp_path):
    path = tmp_path / "finished.onnx"
    result = CliRunner().invoke(app, ["export", str(folder), "-o", str(path), "--finished"])
    assert result.exit_code == 0, result.output
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert properties["a"] == "infrared, RGB in [0, 1], float32 (1, 3, height, width)"
    assert {"model", "task", "licence", "version", "rgb"} <= {*properties}
    choices = {name: json.loads(properties[name]) for name in ("output_range", "anchor", "chroma")}
    model = ReFusion.from_pretrained(folder)
    assert choices["anchor"]["default"] == model.task.anchor
    assert set(choices["anchor"]["choices"]) == set(get_args(Anchor))
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        sources = [np.stack([textured(3 * i + c, height, width) for c in range(3)], axis=-1) for i in range(2)]
        feed = {name: np.array(entry["choices"].index(entry["default"])) for name, entry in choices.items()}
        feed |= {n: x.transpose(2, 0, 1)[None] / np.float32(255) for n, x in zip("ab", sources, strict=True)}
        for index, anchor in enumerate(choices["anchor"]["choices"]):
            (rgb,) = session.run(["rgb"], feed | {"anchor": np.array(index)})
            wanted = np.asarray(model.fuse(*sources, anchor=anchor), int)
            difference = np.abs(np.rint(255 * rgb[0].transpose(1, 2, 0)) - wanted).max(axis=2)
            assert (difference > 1).mean() <= 0.001, anchor


def test_a_file_says_what_its_weights_were_derived_from(folder, tmp_path):
    model = ReFusion.from_pretrained(folder)
    with torch.no_grad():
        model.project_out_1.weight += 1
    for module, expected in ((model, {"derived_from": folder.name}), (FusionModule(channels=4, heads=2, blocks=1), {})):
        export(module, tmp_path / "model.onnx", size=(16, 24))
        about = InferenceSession(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
        assert {key: about[key] for key in ("model", "derived_from") if key in about} == expected
        assert about["batch"] == "1: one pair at a time"
        assert about["fused"] == "fused image, luminance in [0, 1], float32 (1, 1, 16, 24)"


def test_only_onnx_holds_a_finished_model(tmp_path):
    with pytest.raises(ExportError, match=r"model\.pt2 does not end in \.onnx"):
        export_finished(ReFusion(), tmp_path / "model.pt2")


def test_another_suffix_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ExportError, match=r"ends in \.pth; .*\.onnx or \.pt2"):
        export(FusionModule(), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (".", r"\. is a folder"),
        ("folder", "folder is a folder"),
        ("model", "model has no suffix"),
        (".onnx", r"\.onnx has no suffix"),
    ],
)
def test_an_output_without_a_suffix_is_refused_with_an_example(tmp_path, monkeypatch, output, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match=rf"^{said}; .* ends in \.onnx or \.pt2, such as model\.onnx\.$"):
        export(FusionModule(), Path(output))


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_onnx_of_older_operators(folder, tmp_path, opset):
    path = tmp_path / "model.onnx"
    result = CliRunner().invoke(app, ["export", str(folder), "-o", str(path), "--opset", str(opset)])
    assert result.exit_code == 0, result.output
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert model.ir_version <= 9
    check_equal(folder, path, (21, 50))


@pytest.mark.parametrize("opset", [17, 20])
def test_onnx_of_one_size_leaves_nothing_open_and_runs_in_opencv(folder, tmp_path, opset):
    path = tmp_path / "model.onnx"
    arguments = ["export", str(folder), "-o", str(path), "--size", "50", "37", "--opset", str(opset)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "at 50 x 37" in result.output
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    for value in (*model.graph.input, *model.graph.output):
        assert [side.dim_value for side in value.type.tensor_type.shape.dim] == [1, 1, 37, 50]
    assert not {"Shape", "If", "Loop", "NonZero"} & {node.op_type for node in model.graph.node}
    check_equal(folder, path, (37, 50))
    a, b = torch.rand(2, 1, 1, 37, 50)
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(a.numpy(), "a")
    network.setInput(b.numpy(), "b")
    with torch.no_grad():
        expected = ReFusion.from_pretrained(folder)(a, b).numpy()
    np.testing.assert_allclose(network.forward(), expected, atol=1e-4, rtol=0)


def check_equal(folder, path, size):
    a, b = torch.rand(2, 1, 1, *size)
    with torch.no_grad():
        expected = ReFusion.from_pretrained(folder)(a, b).numpy()
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    (fused,) = session.run(["fused"], {"a": a.numpy(), "b": b.numpy()})
    np.testing.assert_allclose(fused, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("m.onnx", {"opset": 16}, "opset is 16; 17 to 20"),
        ("m.onnx", {"size": (4, 30)}, "size is 30 x 4; sides of 8"),
        ("m.pt2", {"opset": 17}, r"for \.onnx files"),
        ("m.pt2", {"size": (30, 40)}, r"for \.onnx files"),
    ],
)
def test_what_cannot_be_had_is_refused(tmp_path, name, asked, words):
    with pytest.raises(ExportError, match=words):
        export(FusionModule(channels=4, heads=2, blocks=1), tmp_path / name, **asked)
    assert list(tmp_path.iterdir()) == []
