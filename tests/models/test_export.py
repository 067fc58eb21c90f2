"""Exported models give what the module gives, at sizes that they were not exported at."""

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from refusion.cli.app import app
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.models.export import ExportError, export
from refusion.models.model import ReFusion
from refusion.modules.fusion import FusionModule

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
    module = ReFusion.from_pretrained(folder)
    for size in SIZES:
        a, b = torch.rand(2, 1, 1, *size)
        with torch.no_grad():
            expected = module(a, b).numpy()
        (fused,) = session.run(["fused"], {"a": a.numpy(), "b": b.numpy()})
        np.testing.assert_allclose(fused, expected, atol=1e-4, rtol=0)


def test_torch_program_at_any_size(folder, tmp_path):
    path = tmp_path / "model.pt2"
    module = ReFusion.from_pretrained(folder)
    assert export(module, path) <= 1e-4
    program = torch.export.load(path).module()
    for size in SIZES:
        a, b = torch.rand(2, 1, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(program(a, b), module(a, b), atol=1e-4, rtol=0)


def test_another_suffix_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ExportError, match=r"ends in \.pth; .*\.onnx, \.pt2"):
        export(FusionModule(), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []
