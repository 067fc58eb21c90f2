"""Fused pictures are written completely or not at all."""

import gc
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from support.pictures import (
    COLOUR,
    GREY,
    sentence,
    written,
)

from refusion.images import (
    PictureError,
    read_picture,
    save_image,
)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_written_at_quality_95_with_full_chroma(tmp_path, suffix):
    save_image(Image.fromarray(COLOUR), tmp_path / f"a{suffix}")
    save_image(Image.fromarray(GREY), tmp_path / f"grey{suffix}")
    Image.fromarray(COLOUR).save(tmp_path / "b.jpg", quality=95)
    with Image.open(tmp_path / f"a{suffix}") as ours, Image.open(tmp_path / "b.jpg") as default:
        assert JpegImagePlugin.get_sampling(ours) == 0
        assert JpegImagePlugin.get_sampling(default) != 0
        assert ours.quantization == default.quantization
    with Image.open(tmp_path / f"grey{suffix}") as image:
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


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
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

    def what_is_said() -> str:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            with pytest.raises(PictureError) as caught:
                save_image(Image.fromarray(NOISES[mode]), tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return str(caught.value)

    assert what_is_said() == f"{name} cannot be saved: File too large."
    gc.collect()  # What the error kept is freed without an error of its own.
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
