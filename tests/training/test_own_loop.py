"""The program in docs/training.md that trains a network of one's own with a learned loss."""

import re

import torch
from support.scenes import ROOT

from refusion.training.losses import proposed_fusion_loss


def test_the_program_of_the_docs_learns(monkeypatch):
    monkeypatch.chdir(ROOT)
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    torch.manual_seed(0)
    names: dict = {}
    exec(program, names)
    a, b, weights = (names[name] for name in ("a", "b", "weights"))
    average = proposed_fusion_loss((a + b) / 2, a, b, weights, 1.0, signed=True)
    assert names["loss"] < average
    assert weights.intensity.shape == weights.gradient.shape == (1, 2, 64, 64)
    torch.testing.assert_close(weights.intensity.sum(dim=1), torch.ones(1, 64, 64))
