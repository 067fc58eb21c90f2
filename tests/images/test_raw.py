import io
import struct
import sys

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

import refusion
from refusion.images import PictureError, read_picture, to_array
from refusion.images.exif import loaded_tags
from tests.support.command import refusion as run
from tests.support.raw import linear, write_dng, write_lossy_dng, write_raf

SMOOTH = cv2.resize(np.random.default_rng(5).uniform(0.1, 0.8, (3, 4, 3)), (96, 64), interpolation=cv2.INTER_LINEAR)


def values(source, **options):
    return to_array(read_picture(source, **options), 16) / 65535


def assert_near(one, other, largest):
    """Demosaicking is off at a few steep places, and right elsewhere."""
    assert np.quantile(np.abs(one - other), 0.99) <= largest


@pytest.mark.parametrize("preview", [False, True])
def test_a_scene_comes_back_from_the_sensor(tmp_path, preview):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH), preview=preview)
    picture = read_picture(path)
    assert (picture.size, picture.bits, picture.notes) == ((96, 64), 16, ())
    assert_near(values(path), SMOOTH, 0.02)
    np.testing.assert_array_equal(values(path), values(io.BytesIO(path.read_bytes())))


def test_it_is_turned_upright_and_keeps_its_camera(tmp_path):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH), orientation=6, preview=True)
    picture = read_picture(path)
    assert picture.size == (64, 96)
    assert_near(values(path), np.rot90(SMOOTH, -1), 0.02)
    tags = loaded_tags(picture.exif)
    assert (tags[271], tags[272]) == ("Maker", "Model")
    assert 274 not in tags


@pytest.mark.parametrize("marker", [b"Exif", bytes(4)])
def test_what_is_no_tiff_keeps_the_camera_of_its_preview(tmp_path, marker):
    """Where the preview has no EXIF data, LibRaw writes what it knows."""
    exposure = {ExifTags.Base.ExposureTime: 0.004}
    given, jpeg = Image.Exif(), io.BytesIO()
    given.update({ExifTags.Base.Model: "X-T1", ExifTags.Base.Orientation: 6, ExifTags.IFD.Exif: exposure})
    Image.new("RGB", (24, 16)).save(jpeg, "JPEG")
    exif = given.tobytes().replace(b"Exif", marker)
    preview = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg.getvalue()[2:]
    picture = read_picture(write_raf(tmp_path / "scene.raf", linear(SMOOTH), preview))
    kept = loaded_tags(picture.exif)
    assert (picture.size, kept[ExifTags.Base.Model], kept[ExifTags.IFD.Exif]) == ((64, 96), "X-T1", exposure)
    assert ExifTags.Base.DateTime not in kept


def test_a_damaged_preview_is_no_obstacle(tmp_path):
    picture = read_picture(write_raf(tmp_path / "scene.raf", linear(SMOOTH), bytes(range(256))))
    assert (picture.size, picture.exif) == ((96, 64), None)


def test_white_is_what_the_sensor_sees_as_white(tmp_path):
    neutral = (0.5, 1, 0.6)
    assert_near(values(write_dng(tmp_path / "scene.dng", linear(SMOOTH), neutral=neutral)), SMOOTH, 0.02)
    bright = np.full((64, 96, 3), 2.5) * linear(SMOOTH).mean(axis=2, keepdims=True).clip(0.9)
    blown = values(write_dng(tmp_path / "blown.dng", bright, neutral=neutral))
    np.testing.assert_array_equal(blown, np.ones_like(blown))


@pytest.mark.parametrize("stops", [1, 3])
def test_exposures_are_kept(tmp_path, stops):
    bright = values(write_dng(tmp_path / "bright.dng", linear(SMOOTH)))
    dark = values(write_dng(tmp_path / "dark.dng", linear(SMOOTH) / 2**stops))
    assert_near(linear(dark) * 2**stops, linear(bright), 0.002)


def test_white_is_that_of_the_sensor_and_not_of_the_brightest_pixel(tmp_path):
    light = np.full((64, 96, 3), 0.2)
    light[16:48, 32:64] = 0.85
    srgb = np.where(light == 0.85, 0.9305, 0.4845)
    assert_near(values(write_dng(tmp_path / "scene.dng", light))[:, 36:60], srgb[:, 36:60], 0.02)


def test_a_bracket_of_raw_files_is_fused(tmp_path):
    light = linear(SMOOTH)
    files = [write_dng(tmp_path / f"{n}.dng", light * 2.0**n) for n in (-3, -1, 2)]
    output = tmp_path / "fused.png"
    result = run("fuse", *files, "-o", output, "--task", "multi-exposure")
    assert result.code == 0, result.err
    assert read_picture(output).bits == 16


def test_a_raw_file_alone_is_no_stack(tmp_path):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    result = run("fuse", path, "-o", tmp_path / "fused.png")
    assert result.code == 2
    assert "only scene.dng was given" in result.err


def test_in_a_folder_it_is_used_where_there_is_no_other_image_of_its_name(tmp_path):
    for name, shade in (("near", 1.0), ("far", 0.9)):
        (tmp_path / name).mkdir()
        write_dng(tmp_path / name / "1.dng", linear(SMOOTH * shade))
        for number in "23":
            write_dng(tmp_path / name / f"{number}.dng", linear(SMOOTH * shade))
            refusion.fuse(*[SMOOTH.astype(np.float32)] * 2, task="multi-focus").save(tmp_path / name / f"{number}.png")
    result = run("fuse", tmp_path / "near", tmp_path / "far", "-o", tmp_path / "out", "--task", "multi-focus")
    assert result.code == 0, result.err
    assert "since each lies beside another image of the same name, which is used: 2.dng, 3.dng." in result.err
    assert [read_picture(tmp_path / "out" / f"{n}.png").bits for n in (1, 2, 3)] == [16, 8, 8]


def test_its_size_is_checked_before_it_is_developed(tmp_path):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    with pytest.raises(PictureError, match=r"scene\.dng is 96 x 64 pixels, but at most 6,000"):
        read_picture(path, max_pixels=6000)


def test_pixels_that_are_not_square_count_as_often_as_they_are_drawn(tmp_path):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH), aspect=2)
    assert read_picture(path).size == (192, 64)
    with pytest.raises(PictureError, match=r"scene\.dng is 192 x 64 pixels, but at most 7,000"):
        read_picture(path, max_pixels=7000)


def test_a_file_of_more_than_2_gb_is_refused_before_it_is_read(tmp_path):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    with path.open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(PictureError, match=r"scene\.dng is a camera raw file of more than 2 GB"):
        read_picture(path)


def test_a_lossy_file_is_refused_if_it_was_cut(tmp_path):
    path = write_lossy_dng(tmp_path / "scene.dng", SMOOTH)
    assert_near(values(path), SMOOTH, 0.02)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(PictureError, match=r"scene\.dng is truncated"):
        read_picture(path)


@pytest.mark.parametrize("left", [700, 3000, 10000])
def test_a_cut_file_is_refused(tmp_path, left):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(PictureError, match=r"scene\.dng "):
        read_picture(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["dng", "lossy", "raf"])
def test_changed_bytes_give_a_picture_or_a_sentence(tmp_path, kind):
    path, rng, said = tmp_path / "scene.dng", np.random.default_rng(0), set()
    if kind == "raf":
        write_raf(path, linear(SMOOTH), b"\xff\xd8\xff\xd9")
    else:
        {"dng": write_dng, "lossy": write_lossy_dng}[kind](path, linear(SMOOTH))
    content = path.read_bytes()
    for _ in range(100):
        changed = bytearray(content)
        for place in rng.integers(8, 800, 5):
            changed[place] = rng.integers(256)
        try:
            picture = read_picture(io.BytesIO(changed), max_pixels=10**6)
        except PictureError as error:
            said.add(str(error))
            continue
        assert 0 <= picture.luminance.min() <= picture.luminance.max() <= 1
    assert said
    assert all(sentence.isprintable() and sentence.endswith(".") for sentence in said)


def test_without_rawpy_it_is_named(tmp_path, monkeypatch):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(PictureError, match=r'is a camera raw file.*pip install "refusion\[raw\]", or develop'):
        read_picture(path)


CAMERAS = {
    "CR2": b"II*\0\x10\0\0\0CR\x02\0",
    "CR3": b"\0\0\0\x18ftypcrx ",
    "RAF": b"FUJIFILMCCD-RAW 0201",
    "ORF": b"IIRO\x08\0\0\0",
    "RW2": b"IIU\0\x18\0\0\0",
    "X3F": b"FOVb",
    "MRW": b"\0MRM",
    "CRW": b"II\x1a\0\0\0HEAPCCDR",
}


@pytest.mark.parametrize("camera", CAMERAS)
def test_what_cannot_be_developed_is_named(tmp_path, camera):
    (tmp_path / "scene.png").write_bytes(CAMERAS[camera] + bytes(1000))
    with pytest.raises(
        PictureError, match=r"is a camera raw file that cannot be developed here \(\w.*\w\): it is damaged"
    ):
        read_picture(tmp_path / "scene.png")
