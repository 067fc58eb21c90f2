"""The strip-wise evaluation gives what the plain forward of the fusion module gives, whatever the strips."""

import pytest
import torch
from support.modules import scattered
from support.scenes import ROOT

from refusion.inference.engines.row_convolution import RowConvolution, pad_columns
from refusion.inference.engines.strips import fuse_in_strips, strip_rows
from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (33, 8), (17, 23)])
def test_strips_of_every_height_give_the_plain_forward(padding_mode, size):
    module = scattered(padding_mode=padding_mode)
    a, b = torch.rand(2, 1, 1, *size)
    with torch.no_grad():
        expected = module(a, b)
    assert expected.std() > 1e-3
    for rows in range(1, size[0] + 2):
        fused = fuse_in_strips(module, a, b, rows=rows)
        torch.testing.assert_close(fused, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": 12, "heads": 3, "expansion": 1, "blocks": 1},
        {"channels": 8, "heads": 1, "blocks": 3, "padding_mode": "reflect"},
        {"channels": 4, "heads": 4, "expansion": 3, "blocks": 0, "padding_mode": "zeros"},
    ],
    ids=str,
)
def test_other_widths_give_the_plain_forward(arguments):
    module = scattered(**arguments)
    a, b = torch.rand(2, 1, 1, 21, 14)
    with torch.no_grad():
        expected = module(a, b)
    for rows in (4, 50):
        fused = fuse_in_strips(module, a, b, rows=rows)
        torch.testing.assert_close(fused, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_the_arrangement_that_benchmarks_compare_with_is_the_same_function(padding_mode, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from reference_arrangement import ReferenceLossProposalModule, ReferenceReconstructionModule, reference_fuse

    module = scattered(padding_mode=padding_mode)
    a, b = torch.rand(2, 2, 1, 17, 23)
    with torch.no_grad():
        torch.testing.assert_close(reference_fuse(module, a, b), module(a, b), atol=1e-5, rtol=0)
    for kind, reference, given in (
        (LossProposalModule, ReferenceLossProposalModule, (a, b)),
        (ReconstructionModule, ReferenceReconstructionModule, (a,)),
    ):
        own, other = kind(padding_mode=padding_mode), reference(padding_mode=padding_mode)
        with torch.no_grad():
            for parameter in own.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        other.load_state_dict(own.state_dict())
        with torch.no_grad():
            for one, expected in zip(other(*given), own(*given), strict=True):
                torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


def test_black_and_constant_sources_give_the_plain_forward():
    module = scattered()
    a, b = torch.zeros(1, 1, 20, 16), torch.full((1, 1, 20, 16), 0.4)
    with torch.no_grad():
        expected = module(a, b)
    torch.testing.assert_close(fuse_in_strips(module, a, b, rows=3), expected, atol=1e-4, rtol=0)


def test_double_precision_is_kept():
    module = scattered().double()
    a, b = torch.rand(2, 1, 1, 20, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = module(a, b)
    torch.testing.assert_close(fuse_in_strips(module, a, b, rows=3), expected, atol=1e-12, rtol=0)


def test_what_is_not_a_pair_is_refused():
    module = FusionModule()
    with pytest.raises(ValueError, match=r"one pair"):
        fuse_in_strips(module, *torch.rand(2, 2, 1, 16, 16))
    with pytest.raises(ValueError, match=r"at least 8"):
        fuse_in_strips(module, *torch.rand(2, 1, 1, 7, 16))
    with pytest.raises(ValueError, match=r"0 rows"):
        fuse_in_strips(module, *torch.rand(2, 1, 1, 16, 16), rows=0)


def test_strips_have_a_row_at_least_and_the_picture_at_most():
    cpu = torch.device("cpu")
    assert strip_rows(8, 5_000_000, cpu) == 1
    assert strip_rows(8, 8, cpu) == 8
    assert strip_rows(8, 8, torch.device("mps")) == 8


@pytest.mark.parametrize("room", [False, True])
@pytest.mark.parametrize("mode", ["zeros", "replicate", "reflect"])
def test_a_convolution_by_rows_says_which_rows_are_ready(mode, room):
    conv = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False, padding_mode=mode)
    picture = torch.randn(7, 6, 3)
    expected = conv(picture.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    padded = torch.full((7, 8, 3), torch.nan)
    padded[:, 1:-1] = picture
    pad_columns(padded, mode)
    rows = RowConvolution(conv, room=room)
    done = 0
    with torch.no_grad():
        for start, stop in ((0, 0), (0, 1), (1, 2), (2, 5), (5, 5), (5, 7)):
            ready, out = rows.push(padded[start:stop], stop == 7)
            if stop < 7:
                assert ready.stop == max(0, stop - 1)
            assert len(out) == ready.stop - ready.start
            if len(out):
                assert ready.start == done
                torch.testing.assert_close(out[:, 1:-1] if room else out, expected[ready])
                done = ready.stop
    assert done == 7
