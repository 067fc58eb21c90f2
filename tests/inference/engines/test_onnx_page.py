"""The graphs for the static page: passes that are given RGB and no padding, and the matrices between them."""

import json

import numpy as np
import torch
from support.scenes import textured

from refusion.inference.engines.dispatch import as_arrays
from refusion.inference.engines.onnx_page import write_graphs
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.modules.fusion import FusionModule

ENDS = np.array([0, 0, 1, 1, 0, 0, 1, 1])


def test_passes_over_one_tile_give_what_the_module_gives(tmp_path):
    module = FusionModule(channels=8, heads=4, blocks=1).eval()
    write_graphs(tmp_path, *as_arrays(module), module.window)
    described = json.loads((tmp_path / "passes.json").read_text())
    assert described["cell"] is None

    def run(name, feed):
        return InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(None, feed)

    sources = [np.stack([textured(3 * i + c, 40, 50) for c in range(3)])[None] / np.float32(255) for i in range(2)]
    maps, matrices = sources, []
    for index, one in enumerate(described["passes"]):
        assert [x.shape[1] for x in maps] == one["inputs"]
        feed = {f"x{i}": x for i, x in enumerate(maps)} | {f"pads{layer}": ENDS for layer in one["pads"]}
        outputs = run(f"pass{index}.onnx", feed | {f"attention{i}": x for i, x in enumerate(matrices)})
        count = len(one["outputs"])
        maps, sums = outputs[:count], outputs[count:]
        if sums:
            matrices = run(f"matrices{index}.onnx", {f"sums{i}": x for i, x in enumerate(sums)})
    weights = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
    luminances = [torch.from_numpy((x[0] * weights).sum(axis=0)[None, None]) for x in sources]
    with torch.inference_mode():
        np.testing.assert_allclose(maps[0], module(*luminances).numpy(), atol=1e-4)
