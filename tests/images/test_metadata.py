"""Orientation, EXIF data and profiles of files."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from support.pictures import (
    BLOCKS,
    COLOUR,
    DEEP,
    GREY,
    UPRIGHT,
    written,
)

from refusion.images import (
    read_picture,
    save_image,
    to_image,
)


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
