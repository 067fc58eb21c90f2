"""Parts of an image give what the whole gives, where the attention has a window."""

import pytest
import torch
from support.modules import scattered

from refusion.inference.engines.dispatch import run_network
from refusion.inference.engines.parts import fuse_in_parts, reach
from refusion.modules.fusion import FusionModule


@pytest.mark.parametrize(
    ("window", "height", "rows"), [(5, 90, 12), (5, 120, 30), (10, 200, 20), (10, 200, 90), (80, 900, 400)]
)
def test_parts_of_every_height_give_the_plain_forward(window, height, rows):
    module = scattered(window=window).double()
    a, b = torch.rand(2, 2, 1, height, 8, dtype=torch.float64)
    assert reach(module, window // 5) < height // 2
    with torch.no_grad():
        expected = module(a, b)
    torch.testing.assert_close(fuse_in_parts(module, a, b, rows), expected, atol=1e-12, rtol=0)


def test_the_engine_strips_takes_parts_where_there_is_a_window():
    module = scattered(window=10)
    a, b = torch.rand(2, 2, 1, 300, 20)
    with torch.no_grad():
        expected = module(a, b)
    torch.testing.assert_close(run_network(module, a, b, "strips"), expected, atol=1e-5, rtol=0)


def test_the_attention_over_a_whole_picture_has_no_parts():
    a, b = torch.rand(2, 1, 1, 40, 40)
    with pytest.raises(ValueError, match="over the whole image"):
        fuse_in_parts(FusionModule(), a, b, 16)
