"""Files that are refused in a sentence: several frames, too large, too small, damaged, or of another kind."""

import io
import os
import warnings

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from support.pictures import (
    BLOCKS,
    COLOUR,
    GREY,
    png_header,
    sentence,
    written,
)

from refusion.images import (
    PictureError,
    read_pair,
    read_picture,
    save_image,
)
from refusion.images.failures import READ_FORMATS, READ_NAMES
from refusion.system.advice import without_options


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
