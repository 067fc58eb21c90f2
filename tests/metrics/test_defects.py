"""Defects as metrics: what they say about images with and without the defect."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image
from support.scenes import textured

from refusion.metrics.defects import (
    DEFECTS,
    FLOOR,
    background_level,
    border_step_ratio,
    brightness_kept,
    disagreement,
    heat_kept,
    sharpness_kept,
)


@pytest.fixture
def sources() -> tuple[np.ndarray, np.ndarray]:
    return textured(1, 64, 64), textured(2, 64, 64)


def average(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.rint((a.astype(float) + b) / 2)


def with_frame(picture: np.ndarray, grey: float) -> np.ndarray:
    framed = np.full(picture.shape, grey)
    framed[1:-1, 1:-1] = picture[1:-1, 1:-1]
    return framed


def test_plain_averaging_has_the_border_of_plain_averaging(sources):
    assert border_step_ratio(*sources, average(*sources)) == 1


def test_a_frame_raises_the_border_and_a_smooth_border_lowers_it(sources):
    fused = average(*sources)
    assert border_step_ratio(*sources, with_frame(fused, 0)) > 3
    assert border_step_ratio(*sources, np.pad(fused[1:-1, 1:-1], 1, mode="edge")) < 1


def test_contrast_alone_does_not_change_the_border(sources):
    assert border_step_ratio(*sources, average(*sources) / 2) == pytest.approx(1, abs=0.01)


def test_the_border_is_the_mean_of_the_steps_of_all_sides():
    rows, columns = np.mgrid[:6, :5]
    ramp = 20 + 10.0 * rows + 2.0 * columns  # 10 down, 2 across, everywhere
    fused = ramp.copy()
    fused[0] -= 6
    # At the border 2 x 5 vertical and 2 x 6 horizontal steps; inside 3 x 3 vertical and 4 x 2 horizontal ones.
    border, inside = (5 * 16 + 5 * 10 + 12 * 2) / 22, (9 * 10 + 8 * 2) / 17
    plain = ((10 * 10 + 12 * 2) / 22 + FLOOR) / (inside + FLOOR)
    assert border_step_ratio(ramp, ramp, fused) == pytest.approx((border + FLOOR) / (inside + FLOOR) / plain)


def test_a_border_without_a_step_in_the_average():
    black = np.pad(textured(1, 50, 50), 7)
    assert border_step_ratio(black, black, black) == 1
    assert border_step_ratio(black, black, with_frame(black, 9)) > 10


def test_pictures_that_are_constant_inside_have_a_value(sources):
    constant = np.full((64, 64), 80)
    assert border_step_ratio(constant, constant, constant) == 1
    assert border_step_ratio(*sources, with_frame(constant, 0)) > 100
    assert border_step_ratio(with_frame(constant, 0), with_frame(constant, 0), constant) < 0.01


def test_the_background_is_where_both_sources_are_black():
    a, b = np.zeros((64, 64)), np.ones((64, 64))
    a[:, :32], b[:32] = 200, 2
    fused = np.full((64, 64), 90)
    fused[32:, 32:] = 12
    fused[48:, 32:] = 14
    assert background_level(a, b, fused) == 13
    assert math.isnan(background_level(a, b + 1, fused))


def test_types_do_not_matter(sources):
    fused = with_frame(average(*sources), 0)
    for defect in DEFECTS.values():
        as_bytes = defect.function(*sources, fused.astype(np.uint8))
        assert as_bytes == pytest.approx(defect.function(*(x.astype(float) for x in sources), fused), nan_ok=True)


def two_focused(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An image that is sharp on the left only, and on the right only."""
    left = np.arange(picture.shape[1]) < picture.shape[1] // 2
    blurred = cv2.GaussianBlur(picture, (0, 0), 4)
    return np.where(left, picture, blurred), np.where(left, blurred, picture)


def test_sharpness_is_kept_by_the_picture_and_lost_by_each_source():
    picture = np.random.default_rng(0).integers(0, 256, (96, 128)).astype(np.float64)
    near, far = two_focused(picture)
    assert sharpness_kept(near, far, picture) == 1
    assert sharpness_kept(near, far, near) < 0.1
    assert sharpness_kept(near, far, (near + far) / 2) < 0.1
    assert sharpness_kept(near, far, picture) == sharpness_kept(far, near, picture)
    assert math.isnan(sharpness_kept(picture, picture, picture))


def test_what_sources_agree_on_is_left_alone_or_counted():
    a = textured(1, 64, 64).astype(np.float64)
    b = a + 2
    assert disagreement(a, b, a + 1) == 0
    assert disagreement(a, b, a + 4) == 3
    assert math.isnan(disagreement(a, a + 3, a))


def test_heat_is_the_contrast_of_hot_objects():
    infrared, visible = np.full((80, 100), 40.0), np.full((80, 100), 90.0)
    infrared[20:30, 20:30] = infrared[50:55, 60:70] = 200
    assert heat_kept(infrared, visible, infrared) == pytest.approx(1)
    assert heat_kept(infrared, visible, infrared / 2 + visible / 2) == pytest.approx(0.5)
    assert heat_kept(infrared, visible, visible) == 0
    one_lost = infrared.copy()
    one_lost[20:30, 20:30] = 40
    assert heat_kept(infrared, visible, one_lost) == pytest.approx(50 / 150)
    assert math.isnan(heat_kept(visible, visible, visible))


def test_brightness_is_that_of_the_bright_part_of_the_visible_picture():
    infrared, visible = np.zeros((60, 60)), np.full((60, 60), 100.0)
    visible[:20] = 250
    assert brightness_kept(infrared, visible, visible) == 1
    assert brightness_kept(infrared, visible, np.where(visible > 200, 200, 0)) == pytest.approx(0.8)
    assert math.isnan(brightness_kept(infrared, np.minimum(visible, 200), visible))


def test_too_small_a_part_of_the_image_tells_nothing():
    grey = np.full((60, 60), 100.0)
    for rows, defined in ((2, False), (4, True)):  # 3.3 % and 6.7 % in which they agree
        other = grey + 50
        other[:rows] = 100
        assert math.isfinite(disagreement(grey, other, grey)) == defined
    for rows, defined in ((3, False), (5, True)):  # 1 and 3 rows are not near darker ones: 1.7 % and 5 %
        visible = grey.copy()
        visible[:rows] = 250
        assert math.isfinite(brightness_kept(grey, visible, visible)) == defined
    for side, defined in ((200, False), (150, True)):  # 0.7 % and 1.3 % around a speck
        flat = np.full((side, side), 100.0)
        speck = flat.copy()
        speck[70, 70] = 255
        assert math.isfinite(sharpness_kept(speck, flat, speck)) == defined
    faint = grey.copy()
    faint[30, 30] += 1
    assert math.isnan(sharpness_kept(faint, grey, faint))


def test_specks_are_no_hot_objects_and_a_halo_is_not_around_them():
    infrared = np.full((80, 100), 40.0)
    infrared[17:33, 17:33] = 120
    infrared[20:30, 20:30] = 200
    infrared[60:63, 60:63] = 200
    fused = infrared.copy()
    fused[60:63, 60:63] = 40  # a speck of 9 pixels
    fused[fused == 120] = 40  # within 3 pixels of the object
    assert heat_kept(infrared, infrared, fused) == pytest.approx(1)


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.parametrize("shape", [(64, 63), (1, 64, 64)])
def test_shapes_that_differ_are_named(name, shape, sources):
    with pytest.raises(ValueError, match=r"\(64, 64\).* one shape") as error:
        DEFECTS[name].function(*sources, np.zeros(shape))
    assert str(shape) in str(error.value)


def test_a_picture_without_an_inside_is_refused():
    tiny = np.zeros((3, 64))
    with pytest.raises(ValueError, match="3 rows and 64 columns"):
        border_step_ratio(tiny, tiny, tiny)


@pytest.mark.parametrize("name", DEFECTS)
def test_values_that_are_no_grey_levels_are_refused(name, sources):
    fused = average(*sources)
    for given, words in (
        ([x / 255 for x in (*sources, fused)], "grey levels 0 to 255"),
        ([*sources, fused + 200], "The fused image reaches from .* finite, in 0 to 255"),
        ([*sources, np.where(fused > 90, np.nan, fused)], "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            DEFECTS[name].function(*given)


@pytest.mark.parametrize("name", DEFECTS)
def test_pillow_images_do(name, sources):
    arrays = *sources, average(*sources).astype(np.uint8)
    images = [Image.fromarray(x) for x in arrays]
    assert DEFECTS[name].function(*images) == pytest.approx(DEFECTS[name].function(*arrays), nan_ok=True)
