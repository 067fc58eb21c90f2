"""Real files in every format and mode, written with Pillow or by hand, read and written back."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

from refusion.images import (
    NEUTRAL,
    Picture,
    PictureError,
    fuse_chroma,
    read_pair,
    read_picture,
    save_image,
    to_image,
)
from refusion.images.failures import READ_FORMATS, READ_NAMES
from refusion.system.advice import without_options

LEVEL = 1 / 255
GREY = np.random.default_rng(1).integers(0, 256, (16, 24), dtype=np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (16, 24, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(3).integers(0, 256, (16, 24), dtype=np.uint8)
DEEP = np.random.default_rng(4).integers(0, 65536, (16, 24), dtype=np.uint16)
BLOCKS = np.kron(np.array([[10, 60, 110], [150, 190, 250]], np.uint8), np.ones((8, 8), np.uint8))

UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


def written(picture: Picture) -> np.ndarray:
    return np.asarray(to_image(picture.luminance, picture.chroma))


def over_black(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(colour.astype(float) * alpha[..., None] / 255).astype(np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def grey_tiff(bits: int, photometric: int, data: bytes, width: int, height: int) -> bytes:
    entries = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 0,
        277: 1,
        278: height,
        279: len(data),
    }
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + data


def sentence(caught: pytest.ExceptionInfo, *parts: str) -> None:
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    for part in parts:
        assert part in text


def coloured(*colours: tuple[float, float]) -> Picture:
    """An image of one row whose pixels lie these numbers of levels from neutral in Cb and Cr."""
    chroma = NEUTRAL + np.array(colours, np.float32).T[:, None, :] * np.float32(LEVEL)
    return Picture(np.full(chroma.shape[1:], 0.5, np.float32), chroma, "array")


# Colour


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


# Arrays


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


# Files: formats and modes


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


# Depth


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


# EXIF


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", {"quality": 100}),
        (".png", {}),
        (".tif", {}),
        (".tif", {"compression": "tiff_adobe_deflate"}),
        (".webp", {"lossless": True}),
    ],
    ids=str,
)
def test_orientation_of_files(tmp_path, suffix, options, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"turned{suffix}"
    for stored in (BLOCKS, np.ascontiguousarray(BLOCKS.T)):
        Image.fromarray(stored).save(path, exif=exif, **options)
        expected = UPRIGHT[orientation](stored)
        for source in (path, Image.open(io.BytesIO(path.read_bytes()))):
            picture = read_picture(source)
            assert picture.size == expected.shape[::-1]
            assert np.abs(written(picture).astype(int) - expected).max() <= (2 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_sixteen_bits(tmp_path, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(DEEP).save(tmp_path / f"turned{suffix}", exif=exif)
    picture = read_picture(tmp_path / f"turned{suffix}")
    np.testing.assert_allclose(picture.luminance, np.rot90(DEEP, -1) / 65535, atol=1e-7)
    assert picture.luminance.flags.c_contiguous


def test_orientation_of_an_image_in_memory():
    image = Image.fromarray(COLOUR)
    image.getexif()[ExifTags.Base.Orientation] = 8
    np.testing.assert_array_equal(written(read_picture(image)), np.rot90(COLOUR))


@pytest.mark.parametrize("exif", [b"garbage!", b"Exif\0\0XX\0*\0\0\0\x08", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"], ids=str)
def test_unreadable_exif_names_no_orientation(tmp_path, exif):
    for suffix in (".png", ".webp"):
        options = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(COLOUR).save(tmp_path / f"odd{suffix}", exif=exif, **options)
        np.testing.assert_array_equal(written(read_picture(tmp_path / f"odd{suffix}")), COLOUR)


def test_exif_that_pillow_cannot_write_back(tmp_path):
    # ImageWidth as text: a reader does not mind, but Pillow fails to write it again as a number.
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHI4s", 0x0100, 2, 4, b"abc\0")
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries + bytes(4)
    Image.fromarray(COLOUR).save(tmp_path / "odd.png", exif=exif)
    np.testing.assert_array_equal(written(read_picture(tmp_path / "odd.png")), np.rot90(COLOUR, -1))


# ICC profiles


@pytest.fixture(scope="module")
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_an_rgb_profile_is_handed_on(tmp_path, profile, suffix):
    Image.fromarray(COLOUR).save(tmp_path / f"in{suffix}", icc_profile=profile)
    picture = read_picture(tmp_path / f"in{suffix}")
    assert picture.icc_profile == profile
    save_image(to_image(picture.luminance, picture.chroma, picture.icc_profile), tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == profile


def test_a_profile_for_other_than_coloured_rgb_is_dropped(tmp_path, profile):
    sources = [Image.fromarray(GREY), Image.fromarray(GREY).convert("RGB"), Image.fromarray(COLOUR).convert("CMYK")]
    for image in sources:
        image.save(tmp_path / "in.tif", icc_profile=profile)
        assert read_picture(tmp_path / "in.tif").icc_profile is None
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for odd in (lab, b"odd"):
        Image.fromarray(COLOUR).save(tmp_path / "in.tif", icc_profile=odd)
        assert read_picture(tmp_path / "in.tif").icc_profile is None
    assert "icc_profile" not in to_image(GREY / 255, None, profile).info


# Frames


def test_files_with_several_frames_are_refused(tmp_path):
    frames = [Image.fromarray(np.roll(COLOUR, shift, axis=0)) for shift in range(3)]
    for name in ("pages.tif", "moving.png", "moving.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / name)
        sentence(caught, name, "several frames")


def test_not_all_pages_of_a_tiff_are_counted():
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size=-1):
            content = super().read(size)
            self.taken += len(content)
            return content

    page = Image.fromarray(GREY)
    stored = Counted()
    page.save(stored, "TIFF", save_all=True, append_images=[page] * 500)
    stored.taken = 0
    with pytest.raises(PictureError, match="several frames"):
        read_picture(stored)
    assert stored.taken < len(stored.getvalue()) // 10


def test_an_open_image_is_taken_at_its_frame(tmp_path):
    frames = [Image.fromarray(np.roll(COLOUR, shift, axis=0)) for shift in range(3)]
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "pages.tif") as image:
        image.seek(2)
        np.testing.assert_array_equal(written(read_picture(image)), np.roll(COLOUR, 2, axis=0))


def test_the_first_of_a_multi_picture_jpeg_is_taken(tmp_path):
    first, second = Image.fromarray(BLOCKS), Image.fromarray(255 - BLOCKS)
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second], quality=100)
    with Image.open(tmp_path / "phone.jpg") as image:
        assert image.n_frames == 2
    assert np.abs(written(read_picture(tmp_path / "phone.jpg")).astype(int) - BLOCKS).max() <= 2


# Sizes


def test_a_giant_header_is_refused_without_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "bomb.png")
    sentence(caught, "bomb.png", "3600000000 pixels", "MAX_IMAGE_PIXELS")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_header_is_refused_without_decoding(tmp_path):
    (tmp_path / "large.png").write_bytes(png_header(12_000, 11_000))
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "large.png")
    sentence(caught, "large.png", "12000 x 11000", "100,000,000")
    # Allowed to go on, it finds that no pixels follow the header.
    with pytest.raises(PictureError, match="cannot be decoded"):
        read_picture(tmp_path / "large.png", max_pixels=12_000 * 11_000)


def test_pillows_warning_made_an_error_is_a_sentence(tmp_path):
    (tmp_path / "large.png").write_bytes(png_header(12_000, 11_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / "large.png")
    sentence(caught, "large.png", "132000000 pixels")


def test_pillows_limit_is_left_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    read_picture(tmp_path / "a.png")
    with pytest.raises(PictureError):
        read_picture(tmp_path / "a.png", max_pixels=24 * 16 - 1)
    assert before == Image.MAX_IMAGE_PIXELS


def test_max_pixels_holds_for_every_kind_of_source(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    for source, name in ((tmp_path / "a.png", "a.png"), (Image.fromarray(COLOUR), "PIL image"), (COLOUR, "array")):
        assert read_picture(source, max_pixels=24 * 16).size == (24, 16)
        with pytest.raises(PictureError) as caught:
            read_picture(source, max_pixels=24 * 16 - 1)
        sentence(caught, name, "24 x 16", "383")
        with pytest.raises(PictureError, match="24 x 16"):
            read_pair(source, source, max_pixels=100)


@pytest.mark.parametrize("size", [(7, 30), (30, 7), (1, 1)])
def test_small_pictures_are_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "small.png")
    for source in (tmp_path / "small.png", Image.new("RGB", size)):
        with pytest.raises(PictureError) as caught:
            read_picture(source)
        sentence(caught, f"{size[0]} x {size[1]}", "8 x 8")
    assert read_picture(Image.new("RGB", (8, 8))).size == (8, 8)


# Files that are no images


def test_missing_files_and_folders(tmp_path):
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "file").write_text("x")
    cases = {
        folder / "gone.png": ["no file gone.png"],
        folder / "gone" / "a.png": ["no file a.png"],
        folder / "file" / "a.png": ["no file a.png"],
        folder: ["secret is a folder"],
        folder / ("x" * 300 + ".png"): ["cannot be opened"],
        folder / "nul\0.png": ["cannot be opened"],
    }
    for path, parts in cases.items():
        for source in (path, str(path)):
            with pytest.raises(PictureError) as caught:
                read_picture(source)
            sentence(caught, *parts)
            assert str(tmp_path) not in without_options(caught.value)
    with pytest.raises(PictureError, match="The path of an image is empty"):
        read_picture("")


def test_a_pipe_is_not_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match=r"pipe\.png is not a regular file"):
        read_picture(tmp_path / "pipe.png")


def test_files_of_another_kind(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "empty.png")
    sentence(caught, "empty.png is an empty file", "JPEG")
    (tmp_path / "notes.png").write_text("these are not pixels")
    Image.fromarray(COLOUR).save(tmp_path / "really_eps.jpg", "EPS")
    for name in ("notes.png", "really_eps.jpg"):
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / name)
        sentence(caught, name, READ_NAMES)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", READ_FORMATS)
def test_every_format_that_messages_name_is_read(tmp_path, kind):
    path = tmp_path / "image"
    if kind == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(Image.fromarray(COLOUR)).save(path)
    elif kind == "JPEG XL":
        path.write_bytes(imagecodecs.jpegxl_encode(COLOUR))
    else:
        Image.fromarray(COLOUR).save(path, kind)
    assert read_picture(path).size == COLOUR.shape[1::-1]


def test_the_suffix_does_not_matter(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "really_a_png.jpg", "PNG")
    np.testing.assert_array_equal(written(read_picture(tmp_path / "really_a_png.jpg")), COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_truncated_files(tmp_path, suffix):
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save_image(Image.fromarray(pixels), tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in (4, 30, len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:length])
        with pytest.raises(PictureError) as caught:
            read_picture(path)
        sentence(caught, path.name)
        assert str(tmp_path) not in str(caught.value)


def test_damaged_files_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(6)
    refused = 0
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp"):
        save_image(Image.fromarray(COLOUR), tmp_path / f"whole{suffix}")
        whole = np.frombuffer((tmp_path / f"whole{suffix}").read_bytes(), np.uint8)
        for _ in range(100):
            damaged = whole.copy()
            damaged[rng.integers(0, min(len(whole), 300), 3)] = rng.integers(0, 256, 3)
            (tmp_path / "damaged").write_bytes(damaged.tobytes())
            try:
                read_picture(tmp_path / "damaged", max_pixels=1_000_000)
            except PictureError:
                refused += 1
    assert refused > 50


def test_images_that_cannot_be_loaded(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as closed:
        pass
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "cut.png") as cut:
        for image in (closed, cut):
            with pytest.raises(PictureError, match="PIL image cannot be decoded"):
                read_picture(image)


# Pairs


def test_a_pair(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "ir.png")
    a, b = read_pair(tmp_path / "ir.png", COLOUR)
    assert (a.name, b.name) == ("ir.png", "array")
    assert a.chroma is None
    assert b.chroma is not None


def test_sizes_that_differ(tmp_path):
    Image.new("L", (24, 16)).save(tmp_path / "ir.png")
    Image.new("RGB", (16, 24)).save(tmp_path / "vis.jpg")
    with pytest.raises(PictureError) as caught:
        read_pair(tmp_path / "ir.png", tmp_path / "vis.jpg")
    sentence(caught, "ir.png) is 24 x 16", "vis.jpg) is 16 x 24", "width x height", "crop or scale")


# Chroma


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


# Saving


def test_jpeg_is_written_at_quality_95_with_full_chroma(tmp_path):
    save_image(Image.fromarray(COLOUR), tmp_path / "a.jpg")
    save_image(Image.fromarray(GREY), tmp_path / "grey.jpeg")
    Image.fromarray(COLOUR).save(tmp_path / "b.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as ours, Image.open(tmp_path / "b.jpg") as default:
        assert JpegImagePlugin.get_sampling(ours) == 0
        assert JpegImagePlugin.get_sampling(default) != 0
        assert ours.quantization == default.quantization
    with Image.open(tmp_path / "grey.jpeg") as image:
        assert (image.format, image.mode) == ("JPEG", "L")


def test_formats_by_suffix(tmp_path):
    formats = {".png": "PNG", ".JPG": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".webp": "WEBP"}
    for suffix, name in formats.items():
        save_image(Image.fromarray(COLOUR), str(tmp_path / f"a{suffix}"))
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert image.format == name
            if name == "TIFF":
                assert image.info["compression"] == "tiff_adobe_deflate"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a{suffix}" for suffix in formats)


@pytest.mark.parametrize(("name", "given"), [("a.gif", ".gif"), ("a", "no suffix"), (".png", "no suffix")])
def test_unknown_suffixes(tmp_path, name, given):
    with pytest.raises(PictureError) as caught:
        save_image(Image.fromarray(COLOUR), tmp_path / name)
    sentence(caught, name, given, ".png, .jpg, .jpeg, .tif, .tiff, .bmp, .webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (Image.new("RGB", (65_536, 1)), "a.jpg"),
        (Image.new("RGB", (16_384, 1)), "a.webp"),
        (Image.new("RGBA", (8, 8)), "a.jpg"),
        (Image.new("F", (8, 8)), "a.png"),
    ],
    ids=["wide JPEG", "wide WebP", "JPEG with alpha", "PNG of floats"],
)
def test_what_a_format_cannot_hold_leaves_the_old_file(tmp_path, image, name):
    for old in (None, b"old"):
        if old is not None:
            (tmp_path / name).write_bytes(old)
        with pytest.raises(PictureError) as caught:
            save_image(image, tmp_path / name)
        sentence(caught, name, f"{image.width} x {image.height}", image.mode, ".png or .tif")
        assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if old is None else [old])


NOISE = np.random.default_rng(8).integers(0, 65536, (256, 256, 3), dtype=np.uint16)
NOISES = {"RGB": NOISE.astype(np.uint8), "I;16": NOISE[..., 0]}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((f"a.{suffix}", "RGB") for suffix in ("png", "jpg", "tif", "bmp", "webp")),
        ("a.png", "I;16"),
        ("a.tif", "I;16"),
    ],
)
def test_a_disk_that_fills_up_leaves_the_old_file_and_is_said(tmp_path, capfd, name, mode):
    resource = pytest.importorskip("resource")
    (tmp_path / name).write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(PictureError) as caught:
            save_image(Image.fromarray(NOISES[mode]), tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"{name} cannot be saved: File too large."
    assert capfd.readouterr().err == ""
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_missing_folders(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in ("nowhere", "file"):
        with pytest.raises(PictureError) as caught:
            save_image(Image.fromarray(COLOUR), tmp_path / folder / "a.png")
        sentence(caught, "a.png", f"no folder {folder}", "create it")
        assert str(tmp_path) not in str(caught.value)


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(PictureError, match=r"^a\.png cannot be saved"):
        save_image(Image.fromarray(COLOUR), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_permissions(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    Image.fromarray(COLOUR).save(folder / "a.png")
    (folder / "a.png").chmod(0)
    with pytest.raises(PictureError, match=r"^a\.png cannot be read: Permission denied\.$"):
        read_picture(folder / "a.png")
    folder.chmod(0o555)
    try:
        with pytest.raises(PictureError, match=r"^b\.png cannot be saved: Permission denied\.$"):
            save_image(Image.fromarray(COLOUR), folder / "b.png")
        assert [path.name for path in folder.iterdir()] == ["a.png"]
        folder.chmod(0)
        for call in (read_picture, lambda path: save_image(Image.fromarray(COLOUR), path)):
            with pytest.raises(PictureError, match="Permission denied"):
                call(folder / "a.png")
    finally:
        folder.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX links and permissions")
def test_a_saved_file_is_an_ordinary_one(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target.png"
    target.write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to(target)
    save_image(Image.fromarray(COLOUR), link)
    assert link.is_symlink()
    assert target.stat().st_mode == plain.stat().st_mode
    np.testing.assert_array_equal(written(read_picture(link)), COLOUR)
    assert [path.name for path in target.parent.iterdir()] == ["target.png"]


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_image(Image.fromarray(COLOUR), "a.png")
    assert read_picture(Path("a.png")).size == (24, 16)


def test_open_files_are_read_like_paths(tmp_path):
    values = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "colour.png")
    data = (tmp_path / "colour.png").read_bytes()
    from_path, from_file = read_picture(tmp_path / "colour.png"), read_picture(io.BytesIO(data))
    assert np.array_equal(from_path.luminance, from_file.luminance)
    assert np.array_equal(from_path.chroma, from_file.chroma)
    with (tmp_path / "colour.png").open("rb") as file:
        assert read_picture(file).name == "colour.png"
    with pytest.raises(PictureError, match="the open file"):
        read_picture(io.BytesIO(data[:60]))
