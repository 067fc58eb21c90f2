import io
import sys

import cv2
import numpy as np
import pytest

import refusion
from refusion.images import PictureError, read_picture, to_array
from refusion.images.exif import loaded_tags
from tests.support.command import refusion as run
from tests.support.raw import linear, write_dng

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


@pytest.mark.parametrize("stops", [1, 3])
def test_exposures_are_kept(tmp_path, stops):
    bright = values(write_dng(tmp_path / "bright.dng", linear(SMOOTH)))
    dark = values(write_dng(tmp_path / "dark.dng", linear(SMOOTH) / 2**stops))
    assert_near(linear(dark) * 2**stops, linear(bright), 0.002)


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
        write_dng(tmp_path / name / "2.dng", linear(SMOOTH * shade))
        refusion.fuse(*[SMOOTH.astype(np.float32)] * 2, task="multi-focus").save(tmp_path / name / "2.png")
    result = run("fuse", tmp_path / "near", tmp_path / "far", "-o", tmp_path / "out", "--task", "multi-focus")
    assert result.code == 0, result.err
    assert "since 2.png has the same name: 2.dng" in result.err
    assert [read_picture(tmp_path / "out" / f"{n}.png").bits for n in (1, 2)] == [16, 8]


def test_its_size_is_checked_before_it_is_developed(tmp_path):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    with pytest.raises(PictureError, match=r"scene\.dng is 96 x 64 pixels, but at most 6,000"):
        read_picture(path, max_pixels=6000)


@pytest.mark.parametrize("left", [700, 3000, 10000])
def test_a_cut_file_is_refused(tmp_path, left):
    path = write_dng(tmp_path / "scene.dng", linear(SMOOTH))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(PictureError, match=r"scene\.dng "):
        read_picture(path)


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
    with pytest.raises(PictureError, match=r"is a camera raw file that cannot be developed here \(\w.*\w\);"):
        read_picture(tmp_path / "scene.png")
