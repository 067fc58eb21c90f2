"""The rules for the chroma of a fused picture."""

import numpy as np
import pytest
from support.pictures import COLOUR, GREY, LEVEL, coloured, sentence

from refusion.images import (
    NEUTRAL,
    Picture,
    PictureError,
    fuse_chroma,
    read_picture,
    to_image,
)
from refusion.images.colour import colour_source


def test_chroma_of_one_source():
    a, b, grey = coloured((40, -40)), coloured((10, 20)), Picture(np.ones((1, 1), np.float32), None, "array")
    assert fuse_chroma(a, b, "a") is a.chroma
    assert fuse_chroma(a, b, "b") is b.chroma
    assert fuse_chroma(grey, b, "a") is None
    assert fuse_chroma(a, grey, "b") is None
    assert fuse_chroma(grey, b, "release") is b.chroma
    assert fuse_chroma(a, grey, "release") is a.chroma
    assert fuse_chroma(grey, grey, "release") is None


def test_chroma_of_both_by_hand():
    # Pixel by pixel (Cb, Cr): 30 and 10 give (900 + 100) / 40 = 25; 30 and -10 give (900 - 100) / 40 = 20.
    a = coloured((30, 30), (0, 0), (0, 50), (-20, 6), (0.2, -0.2))
    b = coloured((10, -10), (0, 0), (7, 0), (-20, -6), (0, 0))
    fused = fuse_chroma(a, b, "release")
    levels = (fused - NEUTRAL) / LEVEL
    expected = [[25, 0, 7, -20, 0.2], [20, 0, 50, 0, -0.2]]
    assert fused.dtype == np.float32
    np.testing.assert_allclose(levels[:, 0], expected, atol=2e-3)
    np.testing.assert_array_equal(fused, fuse_chroma(b, a, "release"))


@pytest.mark.parametrize(("scale", "negligible"), [(255, 1), (1, 4)])
def test_chroma_is_that_of_the_release_where_there_is_colour(scale, negligible):
    rng = np.random.default_rng(7)
    dull = rng.integers(100, 140, (64, 64, 3), dtype=np.uint8)
    vivid = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    a, b = read_picture(dull), read_picture(vivid)
    first, second = a.chroma.astype(float) * scale, b.chroma.astype(float) * scale
    neutral = 128 / 255 * scale
    weight_a, weight_b = np.abs(first - neutral), np.abs(second - neutral)
    release = (first * weight_a + second * weight_b) / (weight_a + weight_b + 1e-4) / scale
    there_is_colour = (weight_a + weight_b) / scale >= negligible * LEVEL
    assert there_is_colour.mean() > 0.8
    difference = np.abs(fuse_chroma(a, b, "release") - release)[there_is_colour]
    assert difference.max() < (LEVEL if scale == 1 else 0.02 * LEVEL)


def test_neutral_pixels_stay_grey_in_the_fused_picture():
    pixels = COLOUR.copy()
    pixels[:8] = GREY[:8, :, None]
    a, b = read_picture(pixels), read_picture(np.roll(pixels, 3, axis=1))
    fused = np.asarray(to_image(a.luminance, fuse_chroma(a, b, "release")))
    np.testing.assert_array_equal(fused[:8], pixels[:8])
    np.testing.assert_array_equal(np.asarray(to_image(a.luminance, fuse_chroma(a, a, "release"))), pixels)


def test_chroma_errors():
    with pytest.raises(PictureError) as caught:
        fuse_chroma(coloured((1, 1)), coloured((1, 1), (2, 2)), "release")
    sentence(caught, "1 x 1", "2 x 1")
    with pytest.raises(ValueError, match="exposure, release, saturation, choice, a, b"):
        fuse_chroma(coloured((1, 1)), coloured((1, 1)), "mean")


def test_metadata_are_of_the_source_that_the_colour_is_of():
    grey = Picture(np.ones((1, 1), np.float32), None, "array")
    one, other = coloured((40, -40)), coloured((10, 20))
    assert colour_source([grey, one, other], "a") is grey
    assert colour_source([grey, one, other], "b") is other
    assert colour_source([grey, one, other], "saturation") is one
    assert colour_source([grey, grey], "exposure") is grey
