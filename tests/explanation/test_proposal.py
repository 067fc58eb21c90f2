"""The proposed weights without torch are those of the module."""

import numpy as np
import pytest
import torch
from support.modules import scattered
from support.scenes import textured

from refusion.explanation.proposal import LossProposal
from refusion.inference.engines.dispatch import state_arrays
from refusion.modules.loss_proposal import LossProposalModule, propose_weights

WIDTHS = {"channels": 8, "heads": 4, "blocks": 1}


@pytest.mark.parametrize(("relative", "smoothing"), [(False, 1), (True, 1), (True, 9)])
@pytest.mark.parametrize("padding_mode", ["replicate", "reflect", "zeros"])
@pytest.mark.parametrize(("size", "window"), [((9, 33), None), ((47, 61), 15), ((8, 8), None)])
def test_weights_are_those_of_the_module(relative, smoothing, padding_mode, size, window):
    module = scattered(LossProposalModule, **WIDTHS, padding_mode=padding_mode, window=window)
    module.relative = bool(relative)
    module.gradient_smoothing = smoothing
    a, b = (textured(seed, *size) / np.float32(255) for seed in (1, 2))
    with torch.no_grad():
        expected = propose_weights(module, *(torch.from_numpy(x)[None, None] for x in (a, b)))
    weights = LossProposal(state_arrays(module), padding_mode, window).propose(a, b)
    for found, wanted in zip(weights, expected, strict=True):
        assert found.dtype == np.float32
        assert found.std() > 1e-2
        np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("level", [0, 0.4])
def test_constant_sources_too(relative, level):
    module = scattered(LossProposalModule, **WIDTHS)
    module.relative = bool(relative)
    a, b = np.full((20, 16), level, np.float32), np.zeros((20, 16), np.float32)
    with torch.no_grad():
        expected = propose_weights(module, *(torch.from_numpy(x)[None, None] for x in (a, b)))
    weights = LossProposal(state_arrays(module), "replicate", None).propose(a, b)
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4, rtol=0)
