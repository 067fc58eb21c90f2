"""The loss proposal and reconstruction modules in ONNX Runtime give what their forward in torch gives."""

import numpy as np
import pytest
import torch
from support.modules import scattered

from refusion.inference.engines.dispatch import state_arrays
from refusion.inference.engines.onnx_tiles import OnnxModule
from refusion.inference.engines.onnx_training_modules import PROPOSAL, RECONSTRUCTION
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule

TILES = ((4, 5), (50, 50))

ARGUMENTS = [
    {"channels": 8, "heads": 4, "blocks": 1, "padding_mode": "zeros"},
    {"channels": 8, "heads": 4, "blocks": 1, "padding_mode": "reflect", "window": 10},
    {"padding_mode": "replicate"},
    {"channels": 12, "heads": 3, "expansion": 1, "blocks": 1, "window": 15},
    {"channels": 4, "heads": 1, "blocks": 0},
    {"channels": 1, "heads": 1, "blocks": 1},
]


def batch(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x)[None, None]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("size", [(9, 31), (33, 17)])
def test_scores_are_those_of_the_module(arguments, size):
    module = scattered(LossProposalModule, **arguments)
    with torch.no_grad():
        module.gains.zero_()  # the gains are not part of the graph
    a, b = np.random.default_rng(0).random((2, *size), np.float32)
    with torch.no_grad():
        expected = module.logits(batch(a), batch(b))[0].numpy()
    assert expected.std() > 1e-2
    ready = OnnxModule(state_arrays(module), module.project_in_1.padding_mode, arguments.get("window"), PROPOSAL)
    for tile in TILES:
        (scores,) = ready.run(a, b, tile=tile)
        np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("size", [(9, 31), (33, 17)])
def test_reconstructions_are_those_of_the_module(arguments, size):
    module = scattered(ReconstructionModule, **arguments)
    (fused,) = np.random.default_rng(0).random((1, *size), np.float32)
    with torch.no_grad():
        expected = [x[0].numpy() for x in module(batch(fused))]
    assert min(x.std() for x in expected) > 1e-4
    padding_mode = module.project_in.padding_mode
    ready = OnnxModule(state_arrays(module), padding_mode, arguments.get("window"), RECONSTRUCTION)
    for tile in TILES:
        for result, wanted in zip(ready.run(fused, tile=tile), expected, strict=True):
            np.testing.assert_allclose(result, wanted, atol=1e-4, rtol=0)
