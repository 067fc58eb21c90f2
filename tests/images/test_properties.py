"""Whatever size, type and mode: an image in the right shape and range comes out, or a sentence."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from support.networks import small_network

from refusion.images import PictureError, read_picture, to_array, to_image

MODEL = small_network()

settings.register_profile("refusion", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("refusion")

DTYPES = (np.bool_, np.uint8, np.uint16, np.float16, np.float32, np.float64)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")


@st.composite
def picture_arrays(draw, sides=st.integers(8, 24)):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    channels = draw(st.sampled_from([(), (1,), (3,), (4,)]))
    shape = (draw(sides), draw(sides), *channels)
    elements = {"min_value": 0, "max_value": 1} if dtype.kind == "f" else None
    return draw(arrays.arrays(dtype, shape, elements=elements))


def is_transparent(array):
    # Opacity is kept in float32, where the smallest float64 are 0.
    return array.ndim == 3 and array.shape[2] == 4 and not array[..., 3].astype(np.float32).any()


@given(picture_arrays())
def test_arrays_are_read_into_range(array):
    if is_transparent(array):
        with pytest.raises(PictureError, match="transparent"):
            read_picture(array)
        return
    picture = read_picture(array)
    assert picture.size == array.shape[1::-1]
    assert picture.luminance.dtype == np.float32
    assert 0 <= picture.luminance.min() <= picture.luminance.max() <= 1
    assert picture.bits == (16 if array.dtype == np.uint16 else 8)
    if picture.chroma is not None:
        assert picture.chroma.shape == (2, *array.shape[:2])
        assert np.isfinite(picture.chroma).all()


@given(picture_arrays())
def test_whole_levels_come_back_exactly(array):
    bits = {"uint8": 8, "uint16": 16}.get(array.dtype.name)
    if bits is None or (array.ndim == 3 and array.shape[2] == 4):
        return
    back = to_array(read_picture(array), bits)
    expected = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if back.ndim < expected.ndim:
        expected = expected[..., 0]
    np.testing.assert_array_equal(back, expected)


@given(picture_arrays(), st.one_of(st.just("own"), st.tuples(st.floats(-9, 9), st.floats(-9, 9))))
def test_windows_give_values_in_range_or_a_sentence(array, window):
    if window != "own" and not window[0] < window[1]:
        with pytest.raises(PictureError, match="A window must be two numbers"):
            read_picture(array, window=window)
        return
    try:
        picture = read_picture(array, window=window)
    except PictureError as error:
        beside = window != "own" and (array.dtype == np.uint16 or array.dtype.kind == "f")
        if is_transparent(array) or (beside and "lies in the window" in str(error)):
            return
        raise
    assert 0 <= picture.luminance.min() <= picture.luminance.max() <= 1


@given(arrays.arrays(np.float32, (9, 11), elements=st.floats(width=32)))
def test_floats_of_any_value_are_in_range_or_a_sentence(array):
    fits = np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1
    if fits:
        assert read_picture(array).luminance.max() <= 1
    else:
        with pytest.raises(PictureError):
            read_picture(array)


@pytest.mark.filterwarnings("ignore:Saving I mode images:DeprecationWarning")
@given(st.sampled_from(MODES), st.integers(8, 20), st.integers(8, 20), st.sampled_from(["PNG", "TIFF", None]))
def test_every_mode_of_pillow_is_read_from_memory_and_from_files(mode, width, height, kind):
    grey = np.random.default_rng(width * height).integers(0, 256, (height, width), dtype=np.uint8)
    image = Image.fromarray(grey)
    if mode == "F":
        image = Image.fromarray((grey / 255).astype(np.float32))
    elif mode in ("LAB", "HSV", "CMYK", "YCbCr", "P"):
        image = image.convert("RGB").convert(mode)
    else:
        image = image.convert(mode)
    source = image
    if kind is not None:
        source = io.BytesIO()
        try:
            # Pillow cannot read the uncompressed YCbCr that it writes.
            image.save(source, kind, **({"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}))
        except (OSError, KeyError):
            return
    picture = read_picture(source)
    assert picture.size == (width, height)
    assert 0 <= picture.luminance.min() <= picture.luminance.max() <= 1


@settings(max_examples=25)
@given(picture_arrays(), st.data())
def test_fusing_any_two_gives_a_picture_of_their_size(a, data):
    b = data.draw(picture_arrays(st.just(a.shape[0])).filter(lambda x: x.shape[:2] == a.shape[:2]) | st.just(a))
    if is_transparent(a) or is_transparent(b):
        with pytest.raises(PictureError, match="transparent"):
            MODEL.fuse(a, b)
        return
    fused = MODEL.fuse(a, b).to_image(8)
    assert fused.size == a.shape[1::-1]
    assert fused.mode in ("L", "RGB", "LA", "RGBA")


@given(arrays.arrays(np.float32, (8, 9), elements=st.floats(-2, 2, width=32)), st.sampled_from([8, 16]))
def test_writing_clips_and_never_wraps(luminance, bits):
    levels = np.asarray(to_image(luminance, None, bits=bits))
    top = 2**bits - 1
    np.testing.assert_array_equal(levels[luminance <= 0], 0)
    np.testing.assert_array_equal(levels[luminance >= 1], top)
    assert np.abs(levels.astype(float) / top - np.clip(luminance, 0, 1)).max() <= 0.5001 / top


@pytest.mark.parametrize("damage", ["AVIF without its pixels"])
def test_what_fuzzing_found(damage):
    file = io.BytesIO()
    try:
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "AVIF")
    except KeyError:
        pytest.skip("this Pillow has no AVIF")
    content = bytearray(file.getvalue())
    start = content.index(b"mdat") + 4
    content[start + 4 :] = b"\x55" * (len(content) - start - 4)
    with pytest.raises(PictureError, match="cannot be decoded"):
        read_picture(io.BytesIO(bytes(content)))
