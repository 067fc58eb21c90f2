"""GeoTIFF: where an image lies is kept, and two places are compared."""

import numpy as np
import pytest
import tifffile
from support.networks import small_network

from refusion.images import read_picture, save_picture, to_array

MODEL = small_network()
SCENE = np.add.outer(np.linspace(0, 0.6, 48), 0.4 * np.sin(np.arange(64) / 7) ** 2)
COLOUR = np.stack([SCENE, SCENE[::-1], SCENE[:, ::-1]], axis=-1)
PLACE = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 4.5, 52.1, 0.0), True)]
GEO = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 399960.0, 5800020.0, 0.0), True),
    (34735, "H", 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34737, "s", 0, "WGS 84 / UTM zone 33N|", True),
]


def placed(path, x, y, scale=0.5, system=32632, size=(48, 64)):
    """A GeoTIFF whose upper left corner lies at x and y, in a projected coordinate system."""
    tags = [
        (33550, "d", 3, (scale, scale, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, x, y, 0.0), True),
        (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, system), True),
    ]
    values = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    tifffile.imwrite(path, values, extratags=tags)
    return path


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        ({"x": 500_000.0, "y": 5_000_000.0}, None),
        ({"x": 500_000.4, "y": 5_000_000.3}, None),
        ({"x": 600_000.0, "y": 5_100_000.0}, "3,536 times"),
        ({"x": 500_000.0, "y": 5_000_000.0, "scale": 0.25}, "50 % of"),
        ({"x": 500_000.0, "y": 5_000_000.0, "scale": 0.25, "size": (96, 128)}, None),
        ({"x": 600_000.0, "y": 5_100_000.0, "system": 32633}, None),
    ],
)
def test_geotiffs_of_different_places_are_said(tmp_path, other, apart):
    first, second = placed(tmp_path / "a.tif", 500_000.0, 5_000_000.0), placed(tmp_path / "b.tif", **other)
    found = [note for note in MODEL.fuse(first, second, resize="a").notes if "GeoTIFF" in note]
    if apart is None:
        assert not found
    else:
        assert f"their corners lie up to {apart} the diagonal of a.tif apart" in found[0]


def test_coordinates_of_systems_that_the_keys_do_not_name_are_not_compared(tmp_path):
    first, second = (placed(tmp_path / f"{x:g}.tif", x, 0.0, system=32767) for x in (0.0, 1e6))
    assert not any("GeoTIFF" in note for note in MODEL.fuse(first, second).notes)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_geotiff_stays_where_it_lies(tmp_path, colour, bits):
    values = COLOUR if colour else SCENE
    stored = (values * (2**bits - 1)).astype(f"uint{bits}")
    kind = "rgb" if colour else "minisblack"
    tifffile.imwrite(tmp_path / "b.tif", stored, photometric=kind, extratags=GEO)
    fused = MODEL.fuse(SCENE.astype(np.float32)[::-1], tmp_path / "b.tif", align=False)
    fused.save(tmp_path / "fused.tif", bits=bits)
    save_picture(read_picture(tmp_path / "b.tif"), tmp_path / "same.tif")
    for name in ("fused.tif", "same.tif"):
        with tifffile.TiffFile(tmp_path / name) as file:
            page = file.pages[0]
            assert page.bitspersample == bits
            for tag, _, _, value, _ in GEO:
                assert page.tags.valueof(tag) == value
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "same.tif"), bits), stored)
    resized = MODEL.fuse(np.zeros((24, 32), np.float32) + 0.5, tmp_path / "b.tif", resize="a")
    assert resized.picture.geo == ()


def test_geotiff_tags_of_a_wrong_type_are_left_out(tmp_path):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wrong = [(34735, "I", 2, (1, 70_000), True), (34737, "B", 3, b"abc", True), *PLACE]
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=wrong)
    picture = read_picture(tmp_path / "a.tif")
    assert [tag for tag, _ in picture.geo] == [33550, 33922]
    save_picture(picture, tmp_path / "b.tif")
    assert read_picture(tmp_path / "b.tif").geo == picture.geo


def test_geotiff_tags_of_another_integer_type_are_written(tmp_path):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tags = [(33550, "I", 3, (100_000, 100_000, 0), True), *PLACE[1:]]
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=tags)
    save_picture(read_picture(tmp_path / "a.tif"), tmp_path / "b.tif")
    assert dict(read_picture(tmp_path / "b.tif").geo)[33550] == (100_000, 100_000, 0)
