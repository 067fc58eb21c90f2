"""Images of more than 8 bits."""

import numpy as np
import pytest
from PIL import Image
from support.pictures import DEEP, GREY, grey_tiff, sentence, written

from refusion.images import (
    Picture,
    PictureError,
    read_picture,
    to_array,
)


@pytest.mark.parametrize("suffix", [None, ".png", ".tif"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_read_at_full_depth(tmp_path, mode, suffix):
    stored = DEEP.astype(">u2" if mode == "I;16B" else "<u2")
    image = Image.frombytes(mode, (24, 16), stored.tobytes())
    source = image if suffix is None else tmp_path / f"deep{suffix}"
    if suffix is not None:
        image.save(source)
    picture = read_picture(source)
    assert picture.chroma is None
    np.testing.assert_array_equal(np.rint(picture.luminance.astype(float) * 65535), DEEP)


def test_little_endian_image():
    image = Image.frombytes("I;16L", (24, 16), DEEP.astype("<u2").tobytes())
    np.testing.assert_allclose(read_picture(image).luminance, DEEP / 65535, atol=1e-7)


def test_mode_i_is_sixteen_bits(tmp_path):
    image = Image.fromarray(DEEP.astype(np.int32))
    image.save(tmp_path / "deep.tif")
    for source in (image, tmp_path / "deep.tif"):
        np.testing.assert_allclose(read_picture(source).luminance, DEEP / 65535, atol=1e-7)


def test_mode_f_is_zero_to_one(tmp_path):
    image = Image.fromarray((DEEP / 65535).astype(np.float32))
    image.save(tmp_path / "float.tif")
    for source in (image, tmp_path / "float.tif"):
        np.testing.assert_allclose(read_picture(source).luminance, DEEP / 65535, atol=1e-7)


@pytest.mark.parametrize(
    ("pixels", "parts"),
    [
        (DEEP.astype(np.int32) - 30_000, ["from -", "0 to 65535"]),
        (DEEP.astype(np.int32) * 2, [f"to {int(DEEP.max()) * 2}", "0 to 65535"]),
        (DEEP.astype(np.float32), [f"to {int(DEEP.max())}", "0 to 1"]),
        (np.full((16, 24), np.nan, np.float32), ["not finite"]),
    ],
    ids=["negative", "too large", "float", "not a number"],
)
def test_deep_values_out_of_range(tmp_path, pixels, parts):
    Image.fromarray(pixels).save(tmp_path / "deep.tif")
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "deep.tif")
    sentence(caught, "deep.tif", *parts)
    with pytest.raises(PictureError) as caught:
        read_picture(Image.fromarray(pixels))
    sentence(caught, "PIL image", *parts)


def test_tiff_of_twelve_bits_spans_the_whole_range(tmp_path):
    values = np.linspace(0, 4095, 64).astype(int)
    pairs = values.reshape(-1, 2)
    data = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist())
    (tmp_path / "twelve.tif").write_bytes(grey_tiff(12, 1, data, 8, 8))
    np.testing.assert_allclose(read_picture(tmp_path / "twelve.tif").luminance.ravel(), values / 4095, atol=1e-7)


def test_tiff_with_white_as_zero_is_not_a_negative(tmp_path):
    (tmp_path / "deep.tif").write_bytes(grey_tiff(16, 0, DEEP.astype("<u2").tobytes(), 24, 16))
    np.testing.assert_allclose(read_picture(tmp_path / "deep.tif").luminance, 1 - DEEP / 65535, atol=1e-7)
    (tmp_path / "shallow.tif").write_bytes(grey_tiff(8, 0, GREY.tobytes(), 24, 16))
    np.testing.assert_array_equal(written(read_picture(tmp_path / "shallow.tif")), 255 - GREY)


def test_values_between_two_levels_of_sixteen_bits_are_rounded_to_the_nearest():
    values = np.float32((np.arange(65535) + 0.5) / 65535)[None]
    expected = np.rint(values.astype(np.float64) * 65535)
    np.testing.assert_array_equal(to_array(Picture(values, None, "a.png"), 16), expected)
