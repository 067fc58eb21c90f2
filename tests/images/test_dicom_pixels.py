"""DICOM: which numbers the pixels of unusual files are, and which of them are black and white."""

import imagecodecs
import numpy as np
import pytest
from support.dicom import COLUMNS, LEVELS, ROWS, dicom, pydicom

from refusion.images import read_picture, to_array
from refusion.images.roles import role_notes
from refusion.tasks import TASKS

DEEP = (LEVELS.astype(np.uint16) * 16).astype(np.uint16)
COLOUR = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}


def luminance(path, **options):
    return read_picture(path, **options).luminance


def test_the_first_of_several_windows_counts(tmp_path):
    several = dicom(tmp_path / "a.dcm", DEEP, WindowCenter=[1000, 3000], WindowWidth=[801, 401])
    one = dicom(tmp_path / "b.dcm", DEEP, WindowCenter=1000, WindowWidth=801)
    np.testing.assert_array_equal(luminance(several), luminance(one))


@pytest.mark.parametrize(("center", "white"), [(0.5, 1), (1, 1), (1.5, 2), (2, 2)])
def test_a_window_of_width_one_is_a_threshold(tmp_path, center, white):
    """PS3.3, C.11.2.1.2.1: black up to the center less 1/2, and white above, as masks have it."""
    stored = (LEVELS % 4).astype(np.uint16)
    path = dicom(tmp_path / "mask.dcm", stored, WindowCenter=center, WindowWidth=1)
    np.testing.assert_array_equal(luminance(path), stored >= white)


def test_the_inverse_shape_of_the_presentation_is_inverted(tmp_path):
    window = {"WindowCenter": 2000, "WindowWidth": 3001}
    plain, inverse = (
        luminance(dicom(tmp_path / f"{shape}.dcm", DEEP, PresentationLUTShape=shape, **window))
        for shape in ("IDENTITY", "INVERSE")
    )
    np.testing.assert_allclose(inverse, 1 - plain, atol=1e-6)


def test_colour_of_twelve_bits_is_white_at_their_largest_value(tmp_path):
    values = np.dstack([DEEP, 4080 - DEEP, DEEP // 2]).astype(np.uint16)
    path = dicom(tmp_path / "a.dcm", values, BitsStored=12, HighBit=11, **COLOUR)
    np.testing.assert_allclose(to_array(read_picture(path), 16) / 65535, values / 4095, atol=2e-5)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("above", [2, 0])
def test_overlays_in_the_bits_above_the_values_are_left_out(tmp_path, above, signed):
    window = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    kind, values = (np.int16, DEEP.astype(int) - 2048) if signed else (np.uint16, DEEP.astype(int))
    stored = ((values & 4095) << above) | (1 << 14 + (ROWS + COLUMNS) % 2)
    path = dicom(tmp_path / "a.dcm", stored.astype(np.uint16).view(kind), BitsStored=12, HighBit=11 + above, **window)
    np.testing.assert_array_equal(luminance(path), luminance(dicom(tmp_path / "b.dcm", values.astype(kind), **window)))


@pytest.mark.parametrize("shift", [0, 8], ids=["low byte", "high byte"])
def test_a_palette_of_8_bits_may_lie_in_16(tmp_path, shift):
    colours = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=-1).astype(np.uint8)
    tables = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16 if shift else 8]
        tables[f"{name}PaletteColorLookupTableData"] = (colours[:, channel].astype("<u2") << shift).tobytes()
    path = dicom(tmp_path / "a.dcm", LEVELS, PhotometricInterpretation="PALETTE COLOR", **tables)
    picture = read_picture(path)
    assert picture.bits == 8
    np.testing.assert_array_equal(to_array(picture), colours[LEVELS])


def test_padding_with_the_lowest_value_may_be_written_without_its_sign(tmp_path):
    stored = np.where(COLUMNS < 20, -32768, LEVELS.astype(int)).astype(np.int16)
    path = dicom(tmp_path / "ct.dcm", stored)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00280120, "US", 32768)
    dataset.save_as(path)
    expected = luminance(dicom(tmp_path / "plain.dcm", stored, PixelPaddingValue=-32768))
    np.testing.assert_array_equal(luminance(path), expected)
    assert expected[:, 20:].std() > 0.1


def test_padding_of_8_bits_is_black_and_not_transparent(tmp_path):
    picture = read_picture(dicom(tmp_path / "us.dcm", LEVELS, PixelPaddingValue=200))
    assert picture.alpha is None
    np.testing.assert_array_equal(to_array(picture), np.where(LEVELS == 200, 0, LEVELS))


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("57", lambda values: imagecodecs.ljpeg_encode(values, bitspersample=8)),
        ("70", lambda values: imagecodecs.ljpeg_encode(values, bitspersample=8)),
        ("80", imagecodecs.jpegls_encode),
    ],
)
def test_lossless_compression_of_8_bits(tmp_path, syntax, encode):
    dataset = pydicom.dcmread(dicom(tmp_path / "us.dcm", LEVELS))
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    dataset.PixelData = pydicom.encaps.encapsulate([encode(LEVELS)])
    dataset.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "packed.dcm")), LEVELS)


def shown(folder, **elements):
    """What is said of the extent of an MRI beside a CT of 48 x 64 mm."""
    dicom(folder / "a.dcm", LEVELS, Modality="CT", PixelSpacing=[1, 1])
    dicom(folder / "b.dcm", LEVELS, Modality="MR", **elements)
    pictures = (read_picture(folder / name) for name in ("a.dcm", "b.dcm"))
    return [note for note in role_notes(*pictures, TASKS["medical"]) if " mm " in note]


@pytest.mark.parametrize("name", ["PixelSpacing", "ImagerPixelSpacing", "group"])
def test_the_extent_is_height_by_width_wherever_the_spacing_is(tmp_path, name):
    if name == "group":
        measures, groups = pydicom.Dataset(), pydicom.Dataset()
        measures.PixelSpacing, groups.PixelMeasuresSequence = [2, 0.5], [measures]
        (note,) = shown(tmp_path, SharedFunctionalGroupsSequence=[groups])
    else:
        (note,) = shown(tmp_path, **{name: [2, 0.5]})
    assert "b.dcm 96 x 32 mm (height x width)" in note
