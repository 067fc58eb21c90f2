"""What ties the fused luminance to its sources."""

import numpy as np
import pytest
import torch
from conftest import textured

from refusion.anchors import anchor_luminance, blend_of_sources
from refusion.model import ReFusion
from refusion.tasks import TASKS

MODEL = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()


def unit(seed: int) -> np.ndarray:
    return textured(seed).astype(np.float32) / 255


@pytest.mark.parametrize("anchor", ["blend", "bounds"])
def test_every_pixel_lies_between_its_sources(anchor):
    a, b = unit(1), unit(2)
    noisy = np.random.default_rng(0).uniform(-0.5, 1.5, a.shape).astype(np.float32)
    tied = anchor_luminance(noisy, a, b, anchor)
    assert tied.dtype == np.float32
    assert (tied >= np.minimum(a, b) - 1e-6).all()
    assert (tied <= np.maximum(a, b) + 1e-6).all()


@pytest.mark.parametrize("anchor", ["blend", "bounds"])
def test_exchanging_the_sources_changes_nothing(anchor):
    fused = MODEL(*(torch.from_numpy(unit(k))[None, None] for k in (1, 2)))[0, 0].detach().numpy()
    one, other = anchor_luminance(fused, unit(1), unit(2), anchor), anchor_luminance(fused, unit(2), unit(1), anchor)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_blend_of_halves_takes_out_the_noise_of_the_network():
    a, b = unit(1), unit(2)
    wanted = a.copy()
    wanted[:, 32:] = b[:, 32:]
    noise = np.random.default_rng(0).normal(0, 0.05, a.shape).astype(np.float32)
    away_from_the_seam = np.abs(np.arange(64) - 31.5) > 6
    error = np.abs(blend_of_sources(wanted + noise, a, b) - wanted)[:, away_from_the_seam]
    assert error.mean() < 0.3 * np.abs(noise).mean()


def test_what_is_black_in_both_sources_stays_black():
    a, b = unit(1), unit(2)
    a[:20], b[:20] = 0, 0
    assert anchor_luminance(np.full_like(a, 0.1), a, b, "bounds")[:20].max() == 0


def test_none_leaves_the_picture_alone_and_the_task_has_its_own():
    fused = unit(3)
    assert anchor_luminance(fused, unit(1), unit(2), "none") is fused
    for task in TASKS.values():
        model = ReFusion(task.name, channels=8, heads=4, blocks=1).eval()
        expected = model.fuse(unit(1), unit(2), anchor=task.anchor)
        np.testing.assert_array_equal(model.fuse(unit(1), unit(2)), expected)
    with pytest.raises(ValueError, match="blend, bounds, none"):
        MODEL.fuse(unit(1), unit(2), anchor="tight")
