"""The strip-wise evaluation gives what the plain forward of the fusion module gives, whatever the strips."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import textured

from refusion.engines import run_network
from refusion.fusion import FusionModule
from refusion.model import ReFusion
from refusion.pictures import PictureError
from refusion.pipeline import fuse_luminance
from refusion.row_convolution import RowConvolution, pad_columns
from refusion.strips import fuse_in_strips, strip_rows
from refusion.tasks import TASKS


def scattered(**arguments) -> FusionModule:
    """A module in which every weight matters: scales, shifts and temperatures are not at their start."""
    module = FusionModule(**arguments).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name or "temperature" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
            else:
                parameter.mul_(1.5)
    return module


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


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_trained_weights_give_the_plain_forward(task):
    module = ReFusion.from_pretrained(task.model)
    a, b = (textured(seed, 131, 97).astype(np.float32) / 255 for seed in (1, 2))
    with torch.no_grad():
        expected = module(*(torch.from_numpy(x)[None, None] for x in (a, b)))[0, 0].numpy()
    np.testing.assert_allclose(fuse_luminance(module, a, b), expected, atol=1e-4, rtol=0)


def test_the_engine_is_a_choice_that_does_not_change_the_picture():
    model = ReFusion(channels=8, heads=4, blocks=1).eval()
    a, b = textured(1, 96, 128), textured(2, 96, 128)
    pictures = [np.asarray(model.fuse(a, b, engine=engine), dtype=int) for engine in (None, "strips", "whole")]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] - pictures[2]).max() <= 1
    with pytest.raises(ValueError, match="strips, whole"):
        model.fuse(a, b, engine="tiles")


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_the_arrangement_that_benchmarks_compare_with_is_the_same_function(padding_mode, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from reference_arrangement import reference_fuse

    module = scattered(padding_mode=padding_mode)
    a, b = torch.rand(2, 2, 1, 17, 23)
    with torch.no_grad():
        torch.testing.assert_close(reference_fuse(module, a, b), module(a, b), atol=1e-5, rtol=0)


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


def test_a_picture_that_memory_cannot_hold_is_refused_before_it_is_begun():
    huge = torch.zeros(1, 1, 1, 1).expand(1, 1, 10**7, 10**7)
    with pytest.raises(PictureError, match=r"10000000 x 10000000 pixels needs 14800000\.0 GB .* make the pictures"):
        run_network(FusionModule(), huge, huge)


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
            ready, (out,) = rows.push(padded[start:stop], stop == 7)
            if stop < 7:
                assert ready.stop == max(0, stop - 1)
            assert len(out) == ready.stop - ready.start
            if len(out):
                assert ready.start == done
                torch.testing.assert_close(out[:, 1:-1] if room else out, expected[ready])
                done = ready.stop
    assert done == 7


MEMORY = """
    import sys
    from pathlib import Path

    import torch
    from refusion.fusion import FusionModule
    from refusion.strips import fuse_in_strips

    def megabytes(line):
        return int(Path("/proc/self/status").read_text().split(line)[1].split()[0]) / 1024

    bands = int(sys.argv[1])
    module = FusionModule(blocks=1)
    fuse_in_strips(module, *torch.rand(2, 1, 1, 64, 64), bands=bands)
    sources = torch.rand(2, 1, 1, 700, 1000)
    before = megabytes("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    fuse_in_strips(module, *sources, bands=bands)
    print(megabytes("VmHWM:") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read from Linux's /proc")
@pytest.mark.parametrize("bands", [1, 2])
def test_memory_is_little_more_than_the_features(bands):
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(bands)]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    features = 700 * 1000 * 32 * 4 / 2**20
    assert features < grown < features + 100 * bands
