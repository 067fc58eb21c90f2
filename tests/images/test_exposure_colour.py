"""The colour of fused exposures."""

import numpy as np
import pytest

from refusion.images import Picture, read_picture
from refusion.images import colour as colours
from refusion.images.colour import fuse_chroma, join_colour
from refusion.images.exposure_colour import KEPT_FROM, MOST, darkened, evened, unclipped
from refusion.images.picture import NEUTRAL


def taken(scene: np.ndarray, stops: float, noise: float = 0) -> Picture:
    """A scene, (H, W, 3) in [0, 1], as taken with another exposure, in 8 bits."""
    shown = (scene**2.2 * 2**stops).clip(0, 1) ** (1 / 2.2)
    shown = shown + np.random.default_rng(0).normal(0, noise, shown.shape)
    return read_picture((shown * 255).round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(("stops", "share"), [((-2, 2), 0.65), ((-1, 3), 0.5)])
def test_colour_of_exposures_is_that_of_the_scene(stops, share):
    hues = np.stack(np.meshgrid(*[np.linspace(0.15, 0.85, 9)] * 3, indexing="ij"), -1).reshape(27, 27, 3)
    scene = taken(hues, 0)
    under, over = (taken(hues, stop, noise=0.005) for stop in stops)
    off = {
        rule: np.abs(fuse_chroma(under, over, rule, luminance=scene.luminance) - scene.chroma).mean()
        for rule in ("exposure", "release", "saturation")
    }
    assert off["exposure"] < share * min(off["release"], off["saturation"])
    swapped = fuse_chroma(over, under, "exposure", luminance=scene.luminance)
    np.testing.assert_array_equal(swapped, fuse_chroma(under, over, "exposure", luminance=scene.luminance))
    same = fuse_chroma(scene, scene, "exposure", luminance=scene.luminance)
    np.testing.assert_allclose(same, scene.chroma, atol=0.5 / 255)


def test_noise_of_a_dark_exposure_gets_no_colour():
    grey = np.full((32, 32, 3), 0.5)
    noisy, clean = taken(grey * 0.04, 0, noise=0.01), taken(grey, 0, noise=0.004)
    fused = fuse_chroma(noisy, clean, "exposure", luminance=clean.luminance)
    amplified = np.abs(noisy.chroma - NEUTRAL).mean() * clean.luminance.mean() / noisy.luminance.mean()
    assert np.abs(fused - NEUTRAL).mean() < 0.1 * amplified
    with pytest.raises(ValueError, match="give the fused luminance"):
        fuse_chroma(noisy, clean, "exposure")


def flat(red: float, green: float, blue: float) -> np.ndarray:
    return np.full((24, 32, 3), (red, green, blue))


def test_an_orange_that_is_clipped_does_not_become_olive():
    """A longer exposure records it as yellow, since its red is clipped first."""
    scene = flat(0.75, 0.5, 0.28)
    under, over = taken(scene, -3), taken(scene, 1.5)
    level = np.full((24, 32), 0.5, np.float32)
    red, green, blue = join_colour(level, fuse_chroma(under, over, "exposure", luminance=level))[12, 16]
    wanted = scene[0, 0] * 0.5 / taken(scene, 0).luminance[0, 0]
    np.testing.assert_allclose([red, green, blue], wanted, atol=0.05)


def test_what_is_clipped_is_estimated_from_the_other_exposure():
    scene = np.concatenate([flat(0.7, 0.5, 0.3), flat(0.4, 0.4, 0.3), flat(1, 1, 1)]).astype(np.float32)
    over, under = (scene * 1.6).clip(0, 1), scene / 4
    found = unclipped(over, under)
    assert (found >= over).all()
    assert 1.05 < found[8, 16, 0] <= MOST
    np.testing.assert_array_equal(found[30:40], over[30:40])
    np.testing.assert_array_equal(found[60:], over[60:])
    np.testing.assert_array_equal(unclipped(over, np.zeros_like(over)), over)


@pytest.mark.parametrize("power", [1, 0.5, 0.25])
def test_the_estimate_follows_the_tone_curve_between_the_exposures(power):
    """A dark exposure is more saturated, so a beige wall whose red is clipped in the bright one must not be pink."""
    beige = flat(1.06, 0.88, 0.76).astype(np.float32)
    under = 0.3 * beige ** (1 / power)
    found = unclipped(beige.clip(0, 1), under)
    np.testing.assert_allclose(found[8, 16], beige[8, 16], atol=0.09)
    np.testing.assert_array_equal(found[..., 1:], beige[..., 1:])


def test_one_recorded_value_is_enough_for_an_estimate():
    over = flat(1, 1, 0.5).astype(np.float32)
    red, green, blue = unclipped(over, flat(0.2, 0.14, 0.06).astype(np.float32))[8, 16]
    assert 1.1 < red <= MOST
    assert 1 <= green < red
    assert blue == 0.5


def test_values_below_black_are_taken_for_black():
    """As moving an image to another can leave them."""
    over = flat(1, 0.6, 0.5).astype(np.float32)
    found = unclipped(over, flat(0.4, 0.2, -0.05).astype(np.float32))
    np.testing.assert_array_equal(found, unclipped(over, flat(0.4, 0.2, 0).astype(np.float32)))


@pytest.mark.parametrize(
    ("dark", "order"), [((0.14, 0.02, 0.004), "red green blue"), ((0.02, 0.05, 0.22), "blue green red")]
)
def test_a_dark_colour_that_is_brightened_becomes_neither_pink_nor_violet(dark, order):
    level = np.full((24, 32), 0.6, np.float32)
    fused = fuse_chroma(taken(flat(*dark), 0), taken(flat(1, 1, 1), 0), "exposure", luminance=level)
    shown = dict(zip(("red", "green", "blue"), join_colour(level, fused)[12, 16], strict=True))
    most, middle, least = (shown[name] for name in order.split())
    assert most - middle > 0.1
    assert middle - least > 0.2 * (most - middle)


@pytest.mark.parametrize("pale", [(0.87, 0.94, 0.75), (0.95, 0.8, 0.75), (0.75, 0.85, 0.95)])
def test_a_pale_colour_that_is_darkened_becomes_stronger(pale):
    rgb = flat(*pale)
    luminance = read_picture(rgb).luminance
    half = darkened(rgb, luminance, luminance / 2)
    np.testing.assert_allclose(read_picture(half.astype(np.float32)).luminance, luminance / 2, atol=0.05)
    assert np.array_equal(np.argsort(half[0, 0]), np.argsort(pale))
    assert np.ptp(half[0, 0]) > 1.2 * np.ptp(rgb[0, 0] / 2)
    np.testing.assert_allclose(darkened(rgb, luminance, luminance), rgb, atol=1e-6)
    np.testing.assert_allclose(darkened(rgb, luminance, np.ones_like(luminance)), rgb, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_stay_as_they_are_when_darkened(level):
    rgb = flat(level, level, level)
    dark = darkened(rgb, rgb[..., 0], np.full(rgb.shape[:2], level / 2, np.float32))
    assert np.isfinite(dark).all()
    np.testing.assert_allclose(np.ptp(dark, axis=-1), 0, atol=1e-6)


def test_a_lawn_that_was_nearly_white_becomes_green_again():
    lawn, s_curve = np.array([0.42, 0.55, 0.3]), lambda x: x**2 * (3 - 2 * x)
    scene, under, over = (
        read_picture((flat(*s_curve((lawn * share).clip(0, 1))) * 255).round().astype(np.uint8))
        for share in (1, 0.3, 1.6)
    )
    fused = fuse_chroma(under, over, "exposure", luminance=scene.luminance) - NEUTRAL
    plain = (over.chroma - NEUTRAL) * scene.luminance.mean() / over.luminance.mean()
    assert np.hypot(*fused).mean() > 1.15 * np.hypot(*plain).mean()
    assert np.abs(fused + NEUTRAL - scene.chroma).max() < np.abs(plain + NEUTRAL - scene.chroma).max()


def blotched(height: int, width: int) -> np.ndarray:
    """Chroma as JPEG leaves it on a dark grey surface: float32 (2, H, W), another value in some blocks of 16 x 16."""
    values = 2 / 255 * (np.random.default_rng(1).random((2, -(-height // 16), -(-width // 16))) < 0.15)
    return (NEUTRAL + values.repeat(16, 1).repeat(16, 2)[:, :height, :width]).astype(np.float32)


def test_blotches_on_a_dark_surface_are_evened_and_a_lamp_on_it_stays():
    luminance, chroma = np.full((160, 200), 0.05, np.float32), blotched(160, 200)
    even = evened(luminance, chroma)
    assert even.std(axis=(1, 2)).max() < 0.5 * chroma.std(axis=(1, 2)).min()
    np.testing.assert_allclose(even.mean(axis=(1, 2)), chroma.mean(axis=(1, 2)), atol=0.2 / 255)
    lamp = slice(80, 86), slice(100, 106)
    luminance[lamp], chroma[1][lamp] = 0.06, NEUTRAL + 40 / 255
    np.testing.assert_allclose(evened(luminance, chroma)[1][lamp], chroma[1][lamp], atol=1 / 255)


def test_two_dark_surfaces_of_different_brightness_keep_their_colours():
    luminance = np.full((64, 96), 0.02, np.float32)
    chroma = np.full((2, 64, 96), NEUTRAL, np.float32)
    luminance[:, 48:], chroma[1, :, 48:] = 0.06, NEUTRAL + 4 / 255
    even = evened(luminance, chroma)
    np.testing.assert_allclose(even, chroma, atol=0.5 / 255)


def test_colours_that_are_not_dark_are_not_evened():
    luminance, chroma = np.full((64, 64), KEPT_FROM, np.float32), blotched(64, 64)
    np.testing.assert_array_equal(evened(luminance, chroma), chroma)
    luminance[:32] = 0.02
    np.testing.assert_array_equal(evened(luminance, chroma)[:, 32:], chroma[:, 32:])


@pytest.mark.parametrize("grey", [False, True])
def test_the_rows_at_a_time_do_not_matter(monkeypatch, grey):
    scene = np.random.default_rng(1).random((70, 40, 3))
    under, over = taken(scene, -2), taken(scene.mean(axis=2, keepdims=True).repeat(3, axis=2) if grey else scene, 2)
    level = (under.luminance + over.luminance) / 2
    whole = fuse_chroma(under, over, "exposure", luminance=level)
    for rows in (7, 500):
        monkeypatch.setattr(colours, "ROWS", rows)
        np.testing.assert_allclose(fuse_chroma(under, over, "exposure", luminance=level), whole, atol=1e-6)
