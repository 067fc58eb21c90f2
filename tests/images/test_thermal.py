"""Radiometric JPEGs: files built here byte by byte, as FLIR's cameras write them, read by the real library."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from support.command import refusion, small_model
from support.flir import R1, R2, B, F, O, fff, radiometric
from support.scenes import textured

from refusion.images import PictureError, read_picture
from refusion.images.thermal import INSTALL

RAW = (12000 + 10 * textured(3).astype(int)).astype("<u2")


def expected_celsius(raw: np.ndarray) -> np.ndarray:
    """Planck's law with the constants of the file; emissivity 1, no distance."""
    return B / np.log(R1 / (R2 * (raw.astype(float) + O)) + F) - 273.15


def png_values(raw: np.ndarray) -> bytes:
    """As some cameras store them: a PNG whose bytes are the wrong way round."""
    stored = io.BytesIO()
    Image.fromarray(raw.astype(np.uint16).byteswap()).save(stored, "PNG")
    return stored.getvalue()


SHOWN = np.stack([textured(5, 96, 128)] * 3, axis=-1)


@pytest.fixture
def flir(tmp_path):
    (tmp_path / "flir.jpg").write_bytes(radiometric(fff(RAW, RAW.tobytes()), SHOWN))
    return tmp_path / "flir.jpg"


def test_the_picture_is_shown_and_a_note_says_so(flir):
    picture = read_picture(flir)
    assert picture.size == (128, 96)
    assert picture.bits == 8
    assert np.abs(255 * picture.luminance - SHOWN[..., 0]).mean() < 3
    assert "is a radiometric JPEG" in picture.note
    assert "use --temperatures to read" in picture.note


def test_an_ordinary_jpeg_has_no_note(tmp_path):
    Image.fromarray(SHOWN).save(tmp_path / "plain.jpg")
    for temperatures in (False, True):
        assert read_picture(tmp_path / "plain.jpg", temperatures=temperatures).note is None


@pytest.mark.parametrize("stored", ["values", "PNG"])
def test_temperatures_are_read_and_scaled_by_a_window(tmp_path, stored):
    pytest.importorskip("flyr", reason="flyr is not installed")
    pixels = RAW.tobytes() if stored == "values" else png_values(RAW)
    (tmp_path / "flir.jpg").write_bytes(radiometric(fff(RAW, pixels), SHOWN))
    celsius = expected_celsius(RAW)
    picture = read_picture(tmp_path / "flir.jpg", temperatures=True, window=(-20, 40))
    assert (picture.size, picture.bits, picture.chroma, picture.note) == ((64, 48), 16, None, None)
    assert not picture.levels.own
    np.testing.assert_allclose(60 * picture.luminance - 20, np.clip(celsius, -20, 40), atol=0.02)
    own = read_picture(tmp_path / "flir.jpg", temperatures=True)
    assert own.levels.own
    low, high = np.sort(celsius.ravel())[[15, -16]]
    np.testing.assert_allclose(own.luminance, np.clip((celsius - low) / (high - low), 0, 1), atol=1e-3)


def test_the_command_takes_temperatures(flir, tmp_path):
    pytest.importorskip("flyr", reason="flyr is not installed")
    model = small_model(tmp_path / "model")
    Image.fromarray(textured(2)).save(tmp_path / "vis.png")
    base = ["fuse", flir, tmp_path / "vis.png", "--model", model]
    assert refusion(*base, "-o", tmp_path / "f.png", "--temperatures", "--window", "-20", "40").code == 0
    with Image.open(tmp_path / "f.png") as fused:
        assert (fused.size, fused.mode) == ((64, 48), "I;16")
    shown = refusion(*base, "-o", tmp_path / "g.png", "--resize", "smaller")
    assert shown.code == 0
    assert "is a radiometric JPEG" in shown.err
    with Image.open(tmp_path / "g.png") as fused:
        assert fused.mode == "L"


def test_damaged_temperatures_are_refused_in_a_sentence(tmp_path):
    pytest.importorskip("flyr", reason="flyr is not installed")
    whole = fff(RAW, RAW.tobytes())
    for data in (whole[:64], whole[:700], whole[:5000], fff(RAW, RAW.tobytes(), (64, 60)), fff(RAW, b"\x89PNG torn")):
        (tmp_path / "flir.jpg").write_bytes(radiometric(data, SHOWN))
        with pytest.raises(
            PictureError,
            match=r"^The temperatures in flir\.jpg cannot be read .*export them|^flir\.jpg is 0 x 0 pixels",
        ):
            read_picture(tmp_path / "flir.jpg", temperatures=True)
        assert read_picture(tmp_path / "flir.jpg").size == (128, 96)


def test_a_directory_of_billions_of_records_is_refused_at_once(tmp_path):
    pytest.importorskip("flyr", reason="flyr is not installed")
    data = bytearray(fff(RAW, RAW.tobytes()))
    data[28:32] = struct.pack(">I", 2**32 - 1)
    (tmp_path / "flir.jpg").write_bytes(radiometric(bytes(data), SHOWN))
    with pytest.raises(PictureError, match="its directory is longer than the file"):
        read_picture(tmp_path / "flir.jpg", temperatures=True)


def test_the_size_is_checked_before_the_values_are_decoded(tmp_path):
    pytest.importorskip("flyr", reason="flyr is not installed")
    huge = np.zeros((1, 1), "<u2")
    bomb = bytearray(png_values(RAW))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    for data in (fff(huge, RAW.tobytes(), (60_000, 60_000)), fff(RAW, bytes(bomb))):
        (tmp_path / "flir.jpg").write_bytes(radiometric(data, SHOWN))
        with pytest.raises(PictureError, match="60000 x 60000 pixels, but at most"):
            read_picture(tmp_path / "flir.jpg", temperatures=True)


def test_without_the_extra_it_says_what_to_install(flir, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "flyr"]:
        monkeypatch.delitem(sys.modules, name)
    # What is not installed is not found on the path either.
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(PictureError, match=r'need one more package: pip install "refusion\[thermal\]"'):
        read_picture(flir, temperatures=True)
    assert f"(after {INSTALL})" in read_picture(flir).note
