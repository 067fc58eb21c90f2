"""What happens to the fused luminance between the network and the image."""

from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from support.networks import small_network
from support.scenes import textured

from refusion.images import NEUTRAL, Picture, PictureError, to_array
from refusion.images.colour import fit_chroma, join_colour, recorded_chroma, split_colour
from refusion.inference.output_range import CONTRAST, MIDDLE, OUTLIERS, bring_to_range, ends_of
from refusion.inference.preparation import over
from refusion.models.model import ReFusion
from refusion.tasks import TASKS, OutputRange

MODEL = small_network()


def unit(seed: int) -> np.ndarray:
    return textured(seed).astype(np.float32) / 255


def in_range(output_range: OutputRange, fused: np.ndarray, *sources: np.ndarray) -> np.ndarray:
    return bring_to_range(fused, [ends_of(source) for source in sources], output_range)


def test_stretch_reaches_both_ends():
    stretched = in_range("stretch", 0.3 + 0.2 * unit(1))
    assert (stretched.min(), stretched.max()) == (0, 1)


def test_contrast_is_added_around_a_grey_that_is_the_same_for_every_picture():
    a = MIDDLE - 0.1 + 0.2 * unit(1)
    more = in_range("contrast", a)
    assert more.std() == pytest.approx(CONTRAST * a.std(), rel=0.01)
    assert in_range("contrast", np.full((8, 8), MIDDLE, np.float32)) == pytest.approx(MIDDLE)
    # Two views of a scene agree where they overlap, whatever else they show.
    beside = np.concatenate((a, np.ones_like(a)), axis=1)
    np.testing.assert_array_equal(in_range("contrast", beside)[:, : a.shape[1]], more)


@pytest.mark.parametrize("mean", [0.1, 0.5, 0.9])
def test_added_contrast_clips_nothing(mean):
    ramp = np.linspace(0, 1, 401, dtype=np.float32)
    weighted = np.concatenate([ramp, np.full(100_000, mean, dtype=np.float32)])[None]
    more = in_range("contrast", weighted)[0, :401]
    assert (more[0], more[-1]) == (0, 1)
    assert (np.diff(more) > 0.15 * np.diff(ramp)).all()


def test_a_colour_too_strong_for_its_luminance_gets_paler_and_keeps_luminance_and_hue():
    rng = np.random.default_rng(0)
    luminance = rng.random((64, 64), dtype=np.float32)
    chroma = rng.random((2, 64, 64), dtype=np.float32)
    fitted = fit_chroma(luminance, chroma)
    rgb = join_colour(luminance, fitted)
    assert rgb.min() > -1e-5
    assert rgb.max() < 1 + 1e-5
    np.testing.assert_allclose(rgb @ [0.299, 0.587, 0.114], luminance, atol=1e-5)
    fits = ((join_colour(luminance, chroma) >= 0) & (join_colour(luminance, chroma) <= 1)).all(axis=-1)
    assert 0.05 < fits.mean() < 0.95
    np.testing.assert_allclose(fitted[:, fits], chroma[:, fits], atol=1e-6)
    (before_b, before_r), (after_b, after_r) = chroma - NEUTRAL, fitted - NEUTRAL
    np.testing.assert_allclose(before_b * after_r, before_r * after_b, atol=1e-6)


def test_a_colour_too_bright_for_its_luminance_is_between_paler_and_clipped():
    rng = np.random.default_rng(0)
    luminance = rng.random((64, 64), dtype=np.float32)
    chroma = rng.random((2, 64, 64), dtype=np.float32)
    rgb = join_colour(luminance, recorded_chroma(luminance, chroma))
    bright = join_colour(luminance, chroma).max(axis=-1) > 1
    assert 0.1 < bright.mean() < 0.9
    np.testing.assert_array_equal(rgb[~bright], join_colour(luminance, chroma)[~bright])
    assert rgb[bright].min() > -1e-5
    assert rgb[bright].max() < 1 + 1e-5
    np.testing.assert_allclose(rgb @ [0.299, 0.587, 0.114], luminance, atol=1e-5)
    # A lamp in orange: a longer exposure shows it yellow, with the hue kept it would be salmon.
    lamp, chroma = split_colour(np.array([[[0.9, 0.45, 0.05]]], np.float32))
    brighter = np.full_like(lamp, 0.75)
    red, green, blue = join_colour(brighter, recorded_chroma(brighter, NEUTRAL + 1.4 * (chroma - NEUTRAL)))[0, 0]
    salmon = join_colour(brighter, fit_chroma(brighter, NEUTRAL + 1.4 * (chroma - NEUTRAL)))[0, 0]
    assert red > 0.99
    assert green > salmon[1] + 0.02
    assert blue < salmon[2] - 0.1


def test_what_is_written_has_the_luminance_that_was_fused():
    a = np.stack([textured(1), np.zeros_like(textured(1)), textured(3)], axis=-1)
    fused = MODEL.fuse(a, textured(2), output_range="stretch", anchor="none", chroma="a").picture
    written = to_array(fused).astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(written - 255 * fused.luminance).max() <= 0.501


def test_a_robust_stretch_is_not_set_by_one_hot_pixel():
    hot = 0.2 + 0.2 * unit(1)
    plain = in_range("robust", hot)
    hot[5, 5] = 1
    robust = in_range("robust", hot)
    assert (robust.min(), robust.max()) == (0, 1)
    assert np.delete(np.abs(robust - plain), 5 * 64 + 5).max() < 0.02
    assert in_range("stretch", hot).mean() < 0.5 * robust.mean()


def test_a_robust_stretch_leaves_room_for_colours():
    dim = np.linspace(0, 0.6, 64 * 64, dtype=np.float32).reshape(64, 64)
    chroma = np.full((2, 64, 64), NEUTRAL, np.float32)
    np.testing.assert_array_equal(bring_to_range(dim, (), "robust", chroma), bring_to_range(dim, (), "robust"))
    # A quarter of the pixels, from 0.425 to 0.575, is coloured, and fits up to 0.7; three in four are below 0.5375.
    coloured = np.abs(dim - 0.5) < 0.075
    chroma[0, coloured] += 0.3 / 1.772
    brought = bring_to_range(dim, (), "robust", chroma)
    assert np.percentile(brought[coloured], 75) == pytest.approx(0.7, abs=0.01)
    assert brought.max() == pytest.approx(0.6 / 0.5375 * 0.7, abs=0.01)
    # Colours that do not fit as it is are not a reason to make it darker.
    chroma[0, coloured] += 0.3 / 1.772
    assert bring_to_range(dim, (), "robust", chroma).max() == pytest.approx(0.6, abs=0.01)


def test_the_range_of_the_sources_spans_what_the_sources_span():
    a, b = 0.2 + 0.1 * unit(1), 0.5 + 0.4 * unit(2)
    matched = in_range("sources", 0.1 + 0.7 * unit(2), a, b)
    low, high = OUTLIERS, 100 - OUTLIERS
    assert np.percentile(matched, low) == pytest.approx(np.percentile(a, low), abs=1e-4)
    assert np.percentile(matched, high) == pytest.approx(np.percentile(b, high), abs=1e-4)


def test_the_range_of_the_sources_raises_contrast_only_so_far():
    haze = np.linspace(0.6, 0.9, 601, dtype=np.float32).reshape(1, -1)
    full = np.linspace(0, 1, 601, dtype=np.float32).reshape(1, -1)
    matched = in_range("sources", haze, haze, full)
    low, high = OUTLIERS, 100 - OUTLIERS
    assert np.percentile(matched, high) == pytest.approx(np.percentile(full, high), abs=1e-4)
    span = np.percentile(haze, high) - np.percentile(haze, low)
    assert np.percentile(matched, high) - np.percentile(matched, low) == pytest.approx(1.4 * span, abs=1e-4)


def test_the_range_of_the_sources_spares_highlights():
    levels = np.linspace(0.4, 1, 601, dtype=np.float32).reshape(1, -1)
    a, b = np.linspace(0.16, 1, 601, dtype=np.float32).reshape(1, -1), levels
    matched = in_range("sources", levels, a, b)[0]
    slopes = np.diff(matched) / np.diff(levels[0])
    # At the upper end differences are as large as before; what is added goes to the dark end.
    assert slopes[-1] == pytest.approx(1, abs=0.01)
    assert (slopes[1:] >= 0.98).all()
    assert (np.diff(slopes[1:]) < 1e-3).all()
    assert slopes[300] == pytest.approx(0.84 / 0.6, abs=0.02)
    # A line through the same ends would darken this bright level to 0.85.
    assert matched[levels[0] >= 0.9][0] > 0.87


def test_a_range_wider_than_that_of_the_sources_is_narrowed_evenly():
    levels, narrow = np.linspace(0, 1, 64).reshape(8, 8).astype(np.float32), np.linspace(0.2, 0.7, 64).reshape(8, 8)
    slopes = np.diff(in_range("sources", levels, narrow, narrow).ravel()[2:-2]) * 63
    np.testing.assert_allclose(slopes, slopes[0], atol=1e-4)
    assert slopes[0] == pytest.approx(0.5, abs=0.01)


def test_the_range_of_the_sources_leaves_a_copy_of_the_sources_alone():
    np.testing.assert_allclose(in_range("sources", unit(1), unit(1), unit(1)), unit(1), atol=1e-6)


def test_the_range_of_the_sources_is_not_set_by_one_hot_pixel():
    a = 0.2 + 0.2 * unit(1)
    hot = a.copy()
    hot[5, 5] = 1
    assert np.abs(in_range("sources", a, a, a) - in_range("sources", a, hot, a)).max() < 0.01


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_constant_pictures_give_finite_results(level):
    flat = np.full((16, 16), level, dtype=np.float32)
    for scaled in (in_range("stretch", flat), in_range("sources", flat, flat, flat)):
        np.testing.assert_array_equal(scaled, flat)
    for output_range in get_args(OutputRange):
        assert MODEL.fuse(flat, flat, output_range=output_range).size == (16, 16)


def test_output_ranges_differ_and_an_unknown_one_is_refused():
    pictures = [np.asarray(MODEL.fuse(unit(1), unit(2), output_range=r)) for r in get_args(OutputRange)]
    for one, other in combinations(pictures, 2):
        assert not np.array_equal(one, other)
    with pytest.raises(ValueError, match="sources, contrast, robust, stretch, network"):
        MODEL.fuse(unit(1), unit(2), output_range="full")


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_the_output_range_is_that_of_the_task(task):
    model = ReFusion(task.name, channels=8, heads=4, blocks=1).eval()
    expected = model.fuse(unit(1), unit(2), output_range=task.output_range)
    np.testing.assert_array_equal(model.fuse(unit(1), unit(2)), expected)


def test_arrays_images_and_files_give_the_same_picture(tmp_path):
    arrays = textured(1), textured(2)
    images = [Image.fromarray(x) for x in arrays]
    paths = [tmp_path / "a.png", tmp_path / "b.bmp"]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    expected = np.asarray(MODEL.fuse(*arrays))
    for sources in (images, paths, [str(path) for path in paths]):
        np.testing.assert_array_equal(np.asarray(MODEL.fuse(*sources)), expected)


def test_sizes_that_differ_are_refused():
    with pytest.raises(PictureError, match=r"64 x 48.*32 x 48"):
        MODEL.fuse(unit(1), unit(2)[:, :32])


def test_sixteen_bits_come_out_when_one_went_in_or_when_asked_for():
    shallow, deep = textured(1), textured(2).astype(np.uint16) * 257
    assert MODEL.fuse(shallow, shallow).to_image().mode == "L"
    fused = MODEL.fuse(shallow, deep)
    assert fused.to_image().mode == "I;16"
    assert len(np.unique(np.asarray(fused))) > 256
    eight = fused.to_image(8)
    assert eight.mode == "L"
    assert np.abs(np.asarray(fused) / 257 - np.asarray(eight)).max() <= 0.5
    assert MODEL.fuse(shallow, shallow).to_image(16).mode == "I;16"


def test_colour_of_sixteen_bits_is_no_pillow_image():
    deep = np.random.default_rng(1).integers(0, 65536, (16, 16, 3), dtype=np.uint16)
    fused = MODEL.fuse(deep, deep)
    assert fused.to_image().mode == "RGB"
    assert np.asarray(fused).dtype == np.uint16
    with pytest.raises(PictureError, match="bits=8"):
        fused.to_image(16)
    with pytest.raises(ValueError, match="8 or 16 bits, but 12"):
        fused.to_image(12)


def test_alpha_is_kept_if_both_have_it():
    clear = np.dstack([textured(1)] * 3 + [np.full((48, 64), 255, np.uint8)])
    clear[:10, :, 3] = 0
    other = clear.copy()
    other[:, :10, 3] = 128
    fused = MODEL.fuse(clear, other, output_range="network")
    assert fused.to_image().mode == "LA"
    alpha = np.asarray(fused)[..., 1]
    np.testing.assert_array_equal(alpha, np.maximum(clear[..., 3], other[..., 3]))
    assert MODEL.fuse(clear, textured(2)).to_image().mode == "L"


def test_a_hole_in_one_source_is_filled_from_the_other():
    hole = np.full((48, 64), 255, np.uint8)
    hole[10:30, 20:40], hole[30:34, 20:40] = 0, 51
    colour = np.dstack([textured(seed) for seed in (1, 3, 4)])
    other = np.dstack([textured(seed) for seed in (2, 5, 6)])
    share = hole[..., None] / 255
    whole = np.rint(share * colour + (1 - share) * other).astype(np.uint8)
    for pair, as_if in (
        ((np.dstack([colour, hole]), other), (whole, other)),
        ((other, np.dstack([colour, hole])), (other, whole)),
        ((textured(7), np.dstack([colour, hole])), None),
    ):
        fused = MODEL.fuse(*pair).to_array()
        assert np.isfinite(fused).all()
        if as_if is not None:
            np.testing.assert_allclose(fused.astype(int), MODEL.fuse(*as_if).to_array(), atol=2)


def test_through_a_hole_the_other_image_shows_at_its_own_opacity():
    hole, half = (
        Picture(np.full((8, 8), level, np.float32), None, "", alpha=np.full((8, 8), alpha, np.float32))
        for level, alpha in ((0, 0), (0.2, 0.5))
    )
    shown = over(hole, half)
    np.testing.assert_allclose(shown.luminance, 0.2, atol=1e-6)
    np.testing.assert_array_equal(shown.alpha, half.alpha)


def test_two_sources_of_one_opacity_are_fused_as_if_opaque():
    opacity = np.tile(np.linspace(100, 255, 64).astype(np.uint8), (48, 1))
    fused = MODEL.fuse(*(np.dstack([textured(seed)] * 3 + [opacity]) for seed in (1, 1)), output_range="network")
    np.testing.assert_allclose(np.asarray(fused)[..., 0].astype(int), textured(1), atol=2)


def test_rounding_errors_are_not_stretched_to_a_picture():
    nearly = np.float32(0.5) + np.float32(1e-6) * (unit(1) > 0.5)
    for output_range in ("stretch", "robust", "sources"):
        scaled = in_range(output_range, nearly, unit(1), unit(2))
        assert np.ptp(scaled) < 1e-5
