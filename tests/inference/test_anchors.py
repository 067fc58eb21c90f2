"""What ties the fused luminance to its sources."""

import numpy as np
import pytest
import torch
from support.scenes import textured

from refusion.images.colour import fuse_chroma
from refusion.images.picture import NEUTRAL, Picture
from refusion.inference import anchors
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.output_range import ends_of
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

MODEL = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()


def unit(seed: int) -> np.ndarray:
    return textured(seed).astype(np.float32) / 255


@pytest.mark.parametrize("anchor", ["guided", "choice", "bounds"])
def test_every_pixel_lies_between_its_sources(anchor):
    a, b = unit(1), unit(2)
    noisy = np.random.default_rng(0).uniform(-0.5, 1.5, a.shape).astype(np.float32)
    tied = anchor_luminance(noisy, a, b, anchor)
    assert tied.dtype == np.float32
    assert (tied >= np.minimum(a, b) - 1e-6).all()
    assert (tied <= np.maximum(a, b) + 1e-6).all()


@pytest.mark.parametrize("anchor", ["guided", "detail", "full-detail", "choice", "bounds"])
def test_exchanging_the_sources_changes_nothing(anchor):
    fused = MODEL(*(torch.from_numpy(unit(k))[None, None] for k in (1, 2)))[0, 0].detach().numpy()
    one, other = anchor_luminance(fused, unit(1), unit(2), anchor), anchor_luminance(fused, unit(2), unit(1), anchor)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_guided_by_the_sources_takes_out_the_noise_of_the_network():
    a, b = unit(1), unit(2)
    wanted = 0.6 * a + 0.3 * b + 0.02
    noise = np.random.default_rng(0).normal(0, 0.05, a.shape).astype(np.float32)
    error = anchor_luminance(wanted + noise, a, b, "guided") - np.clip(wanted, np.minimum(a, b), np.maximum(a, b))
    assert np.abs(error).mean() < 0.3 * np.abs(noise).mean()


def test_a_choice_takes_each_half_whole_from_the_source_that_is_nearer():
    a, b = unit(1), unit(2)
    wanted = a.copy()
    wanted[:, 32:] = b[:, 32:]
    hesitating = 0.8 * wanted + 0.2 * (a + b - wanted)
    away_from_the_seam = np.abs(np.arange(64) - 31.5) > 14
    chosen = anchor_luminance(hesitating, a, b, "choice")[:, away_from_the_seam]
    np.testing.assert_allclose(chosen, wanted[:, away_from_the_seam], atol=0.02)


def test_a_choice_is_carried_into_flat_areas_by_what_is_around_them():
    a, b = unit(1), unit(2)
    a[20:44, 20:44], b[20:44, 20:44] = 0.5, 0.52
    hesitating = 0.8 * a + 0.2 * b
    hesitating[20:44, 20:44] = 0.51
    chosen = anchor_luminance(hesitating, a, b, "choice")
    np.testing.assert_allclose(chosen[26:38, 26:38], 0.5, atol=0.003)


@pytest.mark.parametrize("anchor", ["guided", "detail", "full-detail", "heat", "choice", "bounds"])
def test_equal_sources_are_left_as_they_are(anchor):
    a = unit(1)
    for fused in (np.zeros_like(a), np.ones_like(a)):
        np.testing.assert_allclose(anchor_luminance(fused, a, a, anchor), a, atol=1e-6)


@pytest.mark.parametrize("anchor", ["guided", "full-detail", "choice"])
@pytest.mark.parametrize("rows", [1, 5, 14, 63])
def test_strips_leave_no_seam(anchor, rows, monkeypatch):
    a, b, fused = unit(1), unit(2), unit(3)
    whole = anchor_luminance(fused, a, b, anchor)
    monkeypatch.setattr(anchors, "STRIP_PIXELS", rows * a.shape[1])
    np.testing.assert_allclose(anchor_luminance(fused, a, b, anchor), whole, atol=1e-6)


@pytest.mark.parametrize(("anchor", "excess"), [("detail", 0.15), ("full-detail", 0.2)])
def test_detail_on_a_bright_surface_may_exceed_both_sources(anchor, excess):
    warm, letters = np.full((64, 64), 0.75, np.float32), np.full((64, 64), 0.1, np.float32)
    letters[:, ::8] = 0.3
    letters[0, 0], letters[-1, -1] = 0, 1
    fused = warm + (letters - 0.1)
    inside = slice(16, -16)
    np.testing.assert_allclose(anchor_luminance(fused, warm, letters, "guided")[inside], 0.75, atol=1e-6)
    kept = anchor_luminance(fused, warm, letters, anchor)[inside] - 0.75
    assert kept[:, ::8].mean() == pytest.approx(excess, abs=0.02)
    assert np.abs(kept[:, 4::8]).max() < 0.01


def test_what_is_hot_stands_out_more_on_a_bright_wall():
    wall, road, person = np.full((64, 64), 0.8, np.float32), slice(32, 64), (slice(10, 30), slice(28, 36))
    wall[road] = 0.3
    infrared = np.full((64, 64), 0.2, np.float32)
    infrared[person] = 0.9
    fused = wall.copy()
    fused[person] = 0.7
    fused[0] = 1
    before, heated = (anchor_luminance(fused, infrared, wall, anchor) for anchor in ("full-detail", "heat"))
    cold = np.ones((64, 64), bool)
    cold[person] = False
    np.testing.assert_array_equal(heated[cold], before[cold])
    assert (heated[person] - before[person]).min() > 0.04
    assert ends_of(heated) == pytest.approx(ends_of(before))
    exchanged = anchor_luminance(fused, wall, infrared, "heat")
    np.testing.assert_allclose(exchanged, before, atol=1e-5)


@pytest.mark.parametrize("anchor", ["guided", "detail", "full-detail", "heat", "choice", "bounds"])
def test_a_pair_at_half_the_brightness_is_treated_alike(anchor):
    a, b, fused = unit(1), unit(2), np.clip(unit(1) + unit(2), 0, 1)
    half = anchor_luminance(fused / 2, a / 2, b / 2, anchor)
    np.testing.assert_allclose(2 * half, anchor_luminance(fused, a, b, anchor), atol=1e-4)


@pytest.mark.parametrize("anchor", ["guided", "detail", "full-detail", "heat", "choice", "bounds"])
def test_what_is_black_in_both_sources_stays_black(anchor):
    a, b = unit(1), unit(2)
    a[:20], b[:20] = 0, 0
    assert anchor_luminance(np.full_like(a, 0.1), a, b, anchor)[:20].max() == 0


def test_none_leaves_the_picture_alone_and_the_task_has_its_own():
    fused = unit(3)
    assert anchor_luminance(fused, unit(1), unit(2), "none") is fused
    for task in TASKS.values():
        model = ReFusion(task.name, channels=8, heads=4, blocks=1).eval()
        expected = model.fuse(unit(1), unit(2), anchor=task.anchor)
        np.testing.assert_array_equal(model.fuse(unit(1), unit(2)), expected)
    with pytest.raises(ValueError, match="guided, choice, bounds, none"):
        MODEL.fuse(unit(1), unit(2), anchor="tight")


def test_the_colour_of_a_choice_is_that_of_the_chosen_source():
    a, b = unit(1), unit(2)
    fused = np.where(np.arange(64) < 32, a, b)
    shares = choice_shares(fused, a, b)
    red, blue = (np.stack([np.full_like(a, x) for x in pair]) for pair in ((0.4, 0.7), (0.7, 0.4)))
    sources = [Picture(x, chroma, "source") for x, chroma in ((a, red), (b, blue))]
    chroma = fuse_chroma(*sources, "choice", shares)
    np.testing.assert_allclose(chroma[:, :, :18], red[:, :, :18], atol=0.01)
    np.testing.assert_allclose(chroma[:, :, 46:], blue[:, :, 46:], atol=0.01)
    grey = fuse_chroma(sources[0], Picture(b, None, "grey"), "choice", shares)
    np.testing.assert_allclose(grey[:, :, 46:], NEUTRAL, atol=0.01)
    with pytest.raises(ValueError, match="shares of the first source"):
        fuse_chroma(*sources, "choice")


def test_the_seam_of_a_choice_is_soft_only_where_the_sources_differ_in_brightness():
    """A sharp seam between a dark and a bright out-of-focus halo is a visible cut."""

    def mixed_columns(brighter: float) -> int:
        noise = np.random.default_rng(0).normal(0, 0.03, (2, 48, 64)).astype(np.float32)
        a, b = unit(1) / 2 + noise[0], unit(1) / 2 + brighter + noise[1]
        shares = choice_shares(np.where(np.arange(64) < 32, a, b), a, b)
        assert shares[:, :14].min() > 0.99
        assert shares[:, 50:].max() < 0.01
        return int(np.count_nonzero(np.abs(shares.mean(axis=0) - 0.5) < 0.45))

    assert 1 <= mixed_columns(0) <= 5
    assert mixed_columns(0.2) >= 8


@pytest.mark.parametrize("anchor", ["guided", "choice"])
@pytest.mark.parametrize(("scale", "offset"), [(0.5, 0), (0.1, 0.4)])
def test_half_the_contrast_gives_half_the_contrast(anchor, scale, offset):
    fused, a, b = unit(1), unit(2), unit(3)
    expected = scale * anchor_luminance(fused, a, b, anchor) + offset
    found = anchor_luminance(*(np.float32(scale) * x + np.float32(offset) for x in (fused, a, b)), anchor)
    np.testing.assert_allclose(found, expected, atol=2e-4 * scale, rtol=0)


@pytest.mark.parametrize("anchor", ["guided", "choice"])
def test_a_constant_pair_stays_constant(anchor):
    a, b = np.full((20, 20), 0.9, np.float32), np.full((20, 20), 0.7, np.float32)
    found = anchor_luminance(np.full((20, 20), 0.8, np.float32), a, b, anchor)
    np.testing.assert_allclose(found, 0.8, atol=1e-3)
