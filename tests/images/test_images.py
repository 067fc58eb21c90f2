"""Arrays, and real files in every format and mode, written with Pillow or by hand, read and written back."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image
from support.pictures import ALPHA, BLOCKS, COLOUR, DEEP, GREY, LEVEL, over_black, png_chunk, sentence, written

from refusion.images import (
    NEUTRAL,
    PictureError,
    read_picture,
    save_image,
    to_image,
)


def test_colour_conversion_by_hand():
    primaries = np.zeros((8, 8, 3), np.uint8)
    primaries[0, :4] = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    picture = read_picture(primaries)
    np.testing.assert_allclose(picture.luminance[0, :5], [0.299, 0.587, 0.114, 1, 0], atol=1e-6)
    blue_difference = [128 / 255 + d for d in (-0.299 / 1.772, -0.587 / 1.772, 0.5, 0, 0)]
    red_difference = [128 / 255 + d for d in (0.5, -0.587 / 1.402, -0.114 / 1.402, 0, 0)]
    np.testing.assert_allclose(picture.chroma[:, 0, :5], [blue_difference, red_difference], atol=1e-6)


def test_colour_agrees_with_pillow_within_its_rounding():
    picture = read_picture(COLOUR)
    theirs = np.moveaxis(np.asarray(Image.fromarray(COLOUR).convert("YCbCr")), 2, 0) / 255
    ours = np.stack([picture.luminance, *picture.chroma])
    assert np.abs(ours - theirs).max() < 1.01 * LEVEL


def test_colour_comes_back_exactly():
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[[0, 1, 2, 127, 128, 254, 255]] * 3), axis=-1).reshape(7, 49, 3)
    for pixels in (rng.integers(0, 256, (512, 512, 3)), np.repeat(lattice, 2, axis=0)):
        pixels = pixels.astype(np.uint8)
        np.testing.assert_array_equal(written(read_picture(pixels)), pixels)


def test_every_grey_level_comes_back_exactly_and_in_range():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for pixels in (levels, levels[..., None], np.repeat(levels[..., None], 3, axis=2)):
        picture = read_picture(pixels)
        assert picture.chroma is None
        assert picture.luminance.max() == 1
        np.testing.assert_array_equal(written(picture), levels)


def test_types_and_layout():
    picture = read_picture(np.asfortranarray(COLOUR[::-1]))
    assert picture.size == (24, 16)
    assert picture.luminance.dtype == picture.chroma.dtype == np.float32
    assert picture.luminance.flags.c_contiguous
    assert picture.chroma.flags.c_contiguous
    assert picture.chroma.shape == (2, 16, 24)
    assert 0 <= picture.luminance.min() < picture.luminance.max() <= 1
    for array in (GREY > 99, GREY, DEEP, GREY / 255):
        assert read_picture(np.asfortranarray(array)).luminance.flags.c_contiguous


def test_white_among_colours_is_not_above_one():
    pixels = COLOUR.copy()
    pixels[:8] = 255
    assert read_picture(pixels).luminance.max() == 1


def test_to_image_rounds_and_clips():
    luminance = np.array([[-0.5, 0.4 * LEVEL, 0.6 * LEVEL, 99.4 * LEVEL, 99.6 * LEVEL, 1.5]])
    image = to_image(luminance, None)
    assert image.mode == "L"
    assert list(np.asarray(image)[0]) == [0, 0, 1, 99, 100, 255]
    image = to_image(luminance, np.full((2, *luminance.shape), NEUTRAL))
    assert image.mode == "RGB"
    assert list(np.asarray(image)[0, :, 0]) == [0, 0, 1, 99, 100, 255]
    green = to_image(np.full((8, 8), 0.25), np.zeros((2, 8, 8)))
    assert green.getpixel((0, 0)) == (0, round(255 * (0.25 + (0.114 * 1.772 + 0.299 * 1.402) / 0.587 * NEUTRAL)), 0)


def test_to_image_refuses_what_is_no_picture():
    with pytest.raises(PictureError, match="not finite"):
        to_image(np.array([[0.5, np.nan]]), None)
    with pytest.raises(PictureError, match="not finite"):
        to_image(np.full((8, 8), 0.5), np.full((2, 8, 8), np.inf))
    with pytest.raises(PictureError) as caught:
        to_image(np.zeros((8, 9)), np.zeros((2, 9, 8)))
    sentence(caught, "(8, 9)", "(2, 9, 8)")
    with pytest.raises(PictureError, match=r"\(1, 8, 8\)"):
        to_image(np.zeros((1, 8, 8)), None)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY > 99, (GREY > 99).astype(float)),
        (GREY, GREY / 255),
        (DEEP, DEEP / 65535),
        (DEEP.astype(">u2"), DEEP / 65535),
        (DEEP[..., None], DEEP / 65535),
        ((DEEP / 65535).astype(np.float16), (DEEP / 65535).astype(np.float16)),
        ((DEEP / 65535).astype(np.float32), DEEP / 65535),
        (DEEP / 65535, DEEP / 65535),
    ],
    ids=["bool", "uint8", "uint16", "big-endian", "one channel", "float16", "float32", "float64"],
)
def test_grey_arrays(array, expected):
    picture = read_picture(array)
    assert picture.name == "array"
    assert picture.chroma is None
    assert picture.luminance.dtype == np.float32
    np.testing.assert_allclose(picture.luminance, expected, atol=1e-7)


def test_colour_arrays_of_every_type_agree():
    expected = read_picture(COLOUR)
    for array in (COLOUR.astype(np.uint16) * 257, COLOUR / 255, (COLOUR / 255).astype(np.float32)):
        picture = read_picture(array)
        np.testing.assert_allclose(picture.luminance, expected.luminance, atol=1e-6)
        np.testing.assert_allclose(picture.chroma, expected.chroma, atol=1e-6)


def test_array_alpha_is_over_black():
    pixels = np.dstack([COLOUR, ALPHA])
    np.testing.assert_array_equal(written(read_picture(pixels)), over_black(COLOUR, ALPHA))
    pixels[..., 3] = 255
    np.testing.assert_array_equal(written(read_picture(pixels)), COLOUR)


def test_an_array_is_copied():
    array = (GREY / 255).astype(np.float32)
    picture = read_picture(array)
    array[:] = 0
    assert picture.luminance.max() > 0.9


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (GREY.astype(np.int64), ["uint8", "uint16", "int64"]),
        (GREY.astype(np.uint32), ["uint32"]),
        (GREY.astype(complex), ["complex128"]),
        (GREY.astype(str), ["<U"]),
        (GREY / 100, ["from 0 to 2.55", "0 to 1"]),
        (GREY / 255 - 0.25, ["from -0.25 to 0.75"]),
        (np.full((8, 8), np.float32(1.0000001)), ["1.00000012"]),
        (np.where(GREY > 9, np.nan, 0.5), ["not finite"]),
        (np.where(GREY > 9, np.inf, 0.5), ["not finite"]),
        (np.zeros((3, 16, 24)), ["(3, 16, 24)", "channels last"]),
        (np.zeros((16, 24, 5)), ["(16, 24, 5)"]),
        (np.zeros((1, 16, 24, 3)), ["(1, 16, 24, 3)"]),
        (np.zeros(64), ["(64,)"]),
        (np.zeros((7, 24)), ["24 x 7", "8 x 8"]),
        (np.zeros((24, 7, 3)), ["7 x 24"]),
        (np.zeros((0, 0)), ["0 x 0"]),
    ],
    ids=str,
)
def test_refused_arrays(array, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError) as caught:
            read_picture(array)
    sentence(caught, *parts)


@pytest.mark.parametrize("source", [None, 3, [[0.5] * 8] * 8])
def test_refused_sources(source):
    with pytest.raises(PictureError) as caught:
        read_picture(source)
    sentence(caught, type(source).__name__, "path", "NumPy array")


def test_bytes_are_the_content_of_a_file_and_not_its_name():
    with pytest.raises(PictureError) as caught:
        read_picture(b"a.png")
    sentence(caught, "The file in memory is not", "PNG")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".webp", ".PNG"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_files_come_back_exactly(tmp_path, suffix, pixels):
    path = tmp_path / f"picture{suffix}"
    save_image(Image.fromarray(pixels), path)
    for source in (path, str(path), Image.open(path)):
        picture = read_picture(source)
        assert (picture.chroma is None) == (pixels is GREY)
        np.testing.assert_array_equal(written(picture), pixels)
    assert read_picture(path).name == path.name


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True}], ids=str)
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_jpeg(tmp_path, options, pixels):
    path = tmp_path / "picture.jpg"
    Image.fromarray(pixels).save(path, quality=100, subsampling=0, **options)
    picture = read_picture(path)
    assert (picture.chroma is None) == (pixels is GREY)
    with Image.open(path) as image:
        np.testing.assert_array_equal(written(picture), np.asarray(image))
    assert np.abs(written(picture).astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_mode_1(tmp_path, suffix):
    path = tmp_path / f"mask{suffix}"
    Image.fromarray(GREY > 99).save(path)
    picture = read_picture(path)
    assert picture.chroma is None
    np.testing.assert_array_equal(picture.luminance, GREY > 99)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_spans_the_whole_range(tmp_path, bits):
    row = bytes([0]) + bytes([0b00011011] * bits)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(row * 8))
    path = tmp_path / "few.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + png_chunk(b"IEND", b""))
    expected = {1: [0, 0, 0, 1, 1, 0, 1, 1], 2: [0, 1 / 3, 2 / 3, 1] * 2, 4: [1 / 15, 11 / 15] * 4}[bits]
    np.testing.assert_allclose(read_picture(path).luminance[3], expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_palette(tmp_path, suffix):
    image = Image.fromarray(COLOUR).quantize(64)
    image.save(tmp_path / f"palette{suffix}")
    picture = read_picture(tmp_path / f"palette{suffix}")
    np.testing.assert_array_equal(written(picture), np.asarray(image.convert("RGB")))
    grey = Image.fromarray(GREY).convert("P")
    grey.save(tmp_path / f"grey{suffix}")
    picture = read_picture(tmp_path / f"grey{suffix}")
    assert picture.chroma is None
    np.testing.assert_array_equal(written(picture), GREY)


def test_rgb_with_equal_channels_is_grey(tmp_path):
    for suffix in (".png", ".webp", ".jpg", ".tif", ".bmp"):
        save_image(Image.fromarray(GREY).convert("RGB"), tmp_path / f"grey{suffix}")
        assert read_picture(tmp_path / f"grey{suffix}").chroma is None
    nearly = np.repeat(GREY[..., None], 3, axis=2)
    nearly[5, 5, 2] ^= 1
    np.testing.assert_array_equal(written(read_picture(nearly)), nearly)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_rgba_is_over_black(tmp_path, suffix):
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(np.dstack([COLOUR, ALPHA])).save(tmp_path / f"alpha{suffix}", **options)
    picture = read_picture(tmp_path / f"alpha{suffix}")
    np.testing.assert_array_equal(written(picture), over_black(COLOUR, ALPHA))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_la_is_over_black(tmp_path, suffix):
    Image.fromarray(np.dstack([GREY, ALPHA])).save(tmp_path / f"alpha{suffix}")
    picture = read_picture(tmp_path / f"alpha{suffix}")
    assert picture.chroma is None
    np.testing.assert_array_equal(written(picture), over_black(GREY[..., None], ALPHA)[..., 0])


def test_pa_is_over_black(tmp_path):
    image = Image.fromarray(np.dstack([COLOUR, ALPHA])).convert("PA")
    image.save(tmp_path / "alpha.tif")
    with Image.open(tmp_path / "alpha.tif") as stored:
        assert stored.mode == "PA"
    expected = over_black(np.asarray(image.convert("RGB")), ALPHA)
    np.testing.assert_array_equal(written(read_picture(tmp_path / "alpha.tif")), expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_transparent_level_of_a_png_of_few_bits_is_in_these_bits(tmp_path, bits):
    top = 2**bits - 1
    levels = np.arange(16 * 24).reshape(16, 24) % (top + 1)
    parts = levels.reshape(16, -1, 8 // bits) << np.arange(8 - bits, -1, -bits)
    rows = b"".join(b"\0" + row.tobytes() for row in parts.sum(axis=2).astype(np.uint8))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 24, 16, bits, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", top)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    content = b"".join(
        struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x)) for kind, x in chunks
    )
    (tmp_path / "few.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    for source in (tmp_path / "few.png", Image.open(tmp_path / "few.png")):
        picture = read_picture(source)
        np.testing.assert_array_equal(picture.alpha, levels != top)
        np.testing.assert_allclose(picture.luminance, np.where(levels == top, 0, levels / top), atol=1e-6)


def test_png_transparency_is_black(tmp_path):
    grey = Image.fromarray(GREY)
    grey.save(tmp_path / "grey.png", transparency=int(GREY[3, 4]))
    expected = np.where(GREY[3, 4] == GREY, 0, GREY)
    np.testing.assert_array_equal(written(read_picture(tmp_path / "grey.png")), expected)

    colour = Image.fromarray(COLOUR)
    colour.save(tmp_path / "colour.png", transparency=tuple(COLOUR[3, 4].tolist()))
    expected = COLOUR.copy()
    expected[(COLOUR[3, 4] == COLOUR).all(axis=2)] = 0
    np.testing.assert_array_equal(written(read_picture(tmp_path / "colour.png")), expected)

    deep = Image.fromarray(DEEP)
    deep.save(tmp_path / "deep.png", transparency=int(DEEP[3, 4]))
    expected = np.where(DEEP[3, 4] == DEEP, 0, DEEP / 65535)
    np.testing.assert_allclose(read_picture(tmp_path / "deep.png").luminance, expected, atol=1e-7)

    palette = Image.fromarray(COLOUR).quantize(16)
    opaque = np.asarray(palette.convert("RGB"))
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    alpha = np.choose(np.minimum(np.asarray(palette), 2), [0, 128, 255])
    np.testing.assert_array_equal(written(read_picture(tmp_path / "palette.png")), over_black(opaque, alpha))


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path, suffix):
    cmyk = Image.fromarray(np.dstack([np.kron(COLOUR[:2, :3], np.ones((8, 8, 1), np.uint8)), BLOCKS]), "CMYK")
    cmyk.save(tmp_path / f"print{suffix}", **({"quality": 100} if suffix == ".jpg" else {}))
    with Image.open(tmp_path / f"print{suffix}") as stored:
        assert stored.mode == "CMYK"
    pixels = np.asarray(cmyk).astype(float)
    expected = (255 - pixels[..., :3]) * (255 - pixels[..., 3:]) / 255
    picture = read_picture(tmp_path / f"print{suffix}")
    assert np.abs(written(picture) - expected).max() <= (6 if suffix == ".jpg" else 1.5)


def test_lab(tmp_path):
    lab = Image.fromarray(COLOUR).convert("LAB")
    lab.save(tmp_path / "lab.tif")
    with Image.open(tmp_path / "lab.tif") as stored:
        assert stored.mode == "LAB"
    expected = np.asarray(lab.convert("RGB"))
    np.testing.assert_array_equal(written(read_picture(tmp_path / "lab.tif")), expected)
    np.testing.assert_array_equal(written(read_picture(lab)), expected)


def test_ycbcr(tmp_path):
    image = Image.fromarray(COLOUR).convert("YCbCr")
    assert np.abs(written(read_picture(image)).astype(int) - COLOUR).max() <= 3
    image.save(tmp_path / "ycbcr.tif", compression="tiff_adobe_deflate")
    assert np.abs(written(read_picture(tmp_path / "ycbcr.tif")).astype(int) - COLOUR).max() <= 3


def test_hsv_and_premultiplied_images():
    image = Image.fromarray(COLOUR).convert("HSV")
    np.testing.assert_array_equal(written(read_picture(image)), np.asarray(image.convert("RGB")))
    premultiplied = Image.fromarray(np.dstack([COLOUR, ALPHA])).convert("RGBa")
    difference = written(read_picture(premultiplied)).astype(int) - over_black(COLOUR, ALPHA)
    assert np.abs(difference).max() <= 2


def test_images_keep_their_own_state():
    image = Image.fromarray(GREY)
    image.getexif()[ExifTags.Base.Orientation] = 6
    assert read_picture(image).name == "PIL image"
    assert image.size == (24, 16)
    assert image.getexif()[ExifTags.Base.Orientation] == 6
