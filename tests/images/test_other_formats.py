"""Formats that are only read: GIF, Netpbm, JPEG 2000, JPEG XL and arrays of NumPy."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from support.command import refusion, small_model
from support.scenes import textured

from refusion.images import PictureError, read_picture, to_array

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (24, 40, 3), dtype=np.uint16)
DEEP_GREY = DEEP[..., 0]
COLOUR, GREY = (DEEP >> 8).astype(np.uint8), (DEEP_GREY >> 8).astype(np.uint8)
TWELVE_BITS = DEEP_GREY >> 4


def jpeg_2000(values, **options):
    return imagecodecs.jpeg2k_encode(values, level=0, reversible=True, **options)


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def saved(values, kind, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def read(content, **options):
    return read_picture(io.BytesIO(content), **options)


EXACT = {
    "GIF, grey": (saved(GREY, "GIF"), GREY),
    "PGM": (saved(GREY, "PPM"), GREY),
    "PPM": (saved(COLOUR, "PPM"), COLOUR),
    "PGM, 16 bits": (b"P5\n# from a camera\n40 24\n65535\n" + DEEP_GREY.astype(">u2").tobytes(), DEEP_GREY),
    "PPM, 16 bits": (b"P6 40 24 65535\n" + DEEP.astype(">u2").tobytes(), DEEP),
    "JPEG 2000": (jpeg_2000(COLOUR), COLOUR),
    "JPEG 2000, codestream": (jpeg_2000(COLOUR, codecformat="j2k"), COLOUR),
    "JPEG 2000, 16 bits": (jpeg_2000(DEEP), DEEP),
    "JPEG 2000, grey, 16 bits": (jpeg_2000(DEEP_GREY), DEEP_GREY),
    "JPEG XL, grey": (imagecodecs.jpegxl_encode(GREY), GREY),
    "JPEG XL in a container": (imagecodecs.jpegxl_encode(COLOUR, usecontainer=True), COLOUR),
    "JPEG XL, 16 bits": (imagecodecs.jpegxl_encode(DEEP), DEEP),
    "JPEG XL, grey, 16 bits": (imagecodecs.jpegxl_encode(DEEP_GREY, usecontainer=True), DEEP_GREY),
    "npy": (npy(COLOUR), COLOUR),
    "npy, 16 bits": (npy(DEEP), DEEP),
    "npy, columns first": (npy(np.asfortranarray(DEEP_GREY)), DEEP_GREY),
}


@pytest.mark.parametrize("kind", EXACT)
def test_the_values_are_those_that_were_stored(kind):
    content, values = EXACT[kind]
    picture = read(content)
    assert picture.bits == 8 * values.itemsize
    np.testing.assert_array_equal(to_array(picture, picture.bits), values)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_incomplete_file_is_refused(kind, share):
    content, _ = EXACT[kind]
    with pytest.raises(PictureError):
        read(content[: int(share * len(content))])


@pytest.mark.parametrize("kind", EXACT)
def test_the_size_is_checked_before_it_is_decoded(kind):
    with pytest.raises(PictureError, match="40 x 24 pixels, but at most 900"):
        read(EXACT[kind][0], max_pixels=900)


@pytest.mark.parametrize(
    "content",
    [
        b"P5 40 24 4095\n" + TWELVE_BITS.astype(">u2").tobytes(),
        jpeg_2000(TWELVE_BITS, bitspersample=12),
        imagecodecs.jpegxl_encode(TWELVE_BITS, bitspersample=12),
    ],
    ids=["PGM", "JPEG 2000", "JPEG XL"],
)
def test_twelve_bits_span_the_scale_and_windows_are_in_stored_values(content):
    np.testing.assert_allclose(read(content).luminance, TWELVE_BITS / 4095, atol=1e-6)
    windowed = read(content, window=(1000, 2000)).luminance
    np.testing.assert_allclose(windowed, ((TWELVE_BITS - 1000.0) / 1000).clip(0, 1), atol=1e-5)


def test_a_plain_netpbm_is_no_text():
    values = " ".join(str(value) for value in GREY.ravel())
    np.testing.assert_array_equal(to_array(read(f"P2\n# text\n40 24\n255\n{values}\n".encode())), GREY)


def test_a_gif_has_palette_and_transparency_but_one_frame():
    assert read(saved(COLOUR, "GIF")).chroma is not None
    assert read(saved(GREY, "GIF", transparency=int(GREY[0, 0]))).alpha is not None
    two = saved(GREY, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)])
    with pytest.raises(PictureError, match="holds several frames"):
        read(two)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.moveaxis(DEEP, 2, 0), r"channels last.*\(3, 24, 40\) was given; move the channels to the end\."),
        (DEEP_GREY.astype(np.int32), "but int32 was given; other integers need a window"),
        (DEEP_GREY.astype(np.complex64), "but complex64 was given"),
        (DEEP_GREY / 100, "floats must be in 0 to 1"),
        (np.array([[None] * 9] * 9), "but object was given"),
    ],
    ids=["channels first", "integers", "complex", "floats", "objects"],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, array, words):
    np.save(tmp_path / "scene.npy", array)
    with pytest.raises(PictureError, match=rf"scene\.npy .*{words}"):
        read_picture(tmp_path / "scene.npy")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_zeros_of_an_interrupted_copy_are_refused_and_zeros_after_the_end_are_not(kind):
    content = jpeg_2000(RNG.integers(0, 256, (192, 320, 3)).astype(kind))
    half = len(content) // 2
    with pytest.raises(PictureError, match="ends in zeros"):
        read(content[:half] + bytes(len(content) - half))
    assert read(content + bytes(5000)).size == (320, 192)


def test_a_header_that_claims_more_than_there_is_is_refused_at_once():
    header = npy(GREY)[:128].replace(b"(24, 40), }        ", b"(240000, 400000), }")
    with pytest.raises(PictureError, match="400000 x 240000 pixels"):
        read(header)
    with pytest.raises(PictureError, match="header is damaged"):
        read(npy(GREY)[:128].replace(b"(24, 40)", b"(24, 40 "))


@pytest.mark.parametrize(("kind", "bits"), [(np.uint8, 8), (np.uint16, 16), (np.float32, 16), (bool, 8)])
def test_the_bits_of_an_array_in_a_file(kind, bits):
    assert read(npy(np.eye(24, 40, dtype=kind))).bits == bits


def test_a_command_fuses_them(tmp_path):
    a, b = textured(1), textured(2)
    Image.fromarray(a).save(tmp_path / "a.pgm", "PPM")
    (tmp_path / "b.jp2").write_bytes(jpeg_2000(b))
    np.save(tmp_path / "a.npy", a)
    Image.fromarray(b).save(tmp_path / "b.png")
    model = small_model(tmp_path / "model")
    for first, second, output in (("a.pgm", "b.jp2", "one.png"), ("a.npy", "b.png", "two.png")):
        result = refusion("fuse", tmp_path / first, tmp_path / second, "-o", tmp_path / output, "--model", model)
        assert result.code == 0, result.err
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
