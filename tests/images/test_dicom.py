"""DICOM: palettes, padding, lookup tables, and files without a preamble."""

import io
import struct
from functools import partial

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.dicom import COLUMNS, LEVELS, ROWS, dicom, pydicom
from support.networks import small_network

from refusion import fuse
from refusion.images import PictureError, read_picture, to_array
from refusion.images.frames import frames_of
from refusion.images.roles import role_notes
from refusion.images.scans import scan_notes
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

HOT = np.stack([np.clip(np.arange(256) * 3 - k * 255, 0, 255) for k in range(3)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["rising", "shuffled"])
def test_a_palette_is_colour(tmp_path, bits, order):
    places = np.arange(256) if order == "rising" else np.random.default_rng(1).permutation(256)
    palette, stored = HOT[places], np.argsort(places)[LEVELS].astype(np.uint8)
    tables = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        values = palette[:, channel].astype(f"<u{bits // 8}") * (257 if bits == 16 else 1)
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tables[f"{name}PaletteColorLookupTableData"] = values.astype(f"<u{bits // 8}").tobytes()
    path = dicom(tmp_path / "pet.dcm", stored, PhotometricInterpretation="PALETTE COLOR", **tables)
    np.testing.assert_array_equal(to_array(read_picture(path), 8), HOT[LEVELS])


@pytest.mark.parametrize(
    ("stored", "padding"),
    [
        ({"PixelPaddingValue": -32768}, -32768),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1500}, -1700),
        ({"PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"}, -2000),
    ],
    ids=["value", "range", "inverted"],
)
def test_padding_is_black_and_does_not_count(tmp_path, stored, padding):
    outside = (ROWS - 24) ** 2 + (COLUMNS - 32) ** 2 > 500
    hounsfield = (LEVELS.astype(np.int16) * 8 - 1000).astype(np.int16)
    values = np.where(outside, np.int16(padding), hounsfield).astype(np.int16)
    path = dicom(tmp_path / "ct.dcm", values, RescaleSlope=1, RescaleIntercept=0, **stored)
    picture = read_picture(path)
    assert picture.alpha is None
    assert not picture.luminance[outside].any()
    left_out = (~outside).sum() // 200
    inside = np.sort(hounsfield[~outside].astype(float))[[left_out, -1 - left_out]]
    expected = np.clip((hounsfield - inside[0]) / np.ptp(inside), 0, 1)
    expected = 1 - expected if "PhotometricInterpretation" in stored else expected
    np.testing.assert_allclose(picture.luminance[~outside], expected[~outside], atol=1e-5)
    assert picture.note is None


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"], ids=["explicit", "implicit"])
def test_a_file_without_a_preamble(tmp_path, syntax):
    stored = (LEVELS.astype(np.uint16) * 100).astype(np.uint16)
    path = dicom(tmp_path / "old.ima", stored, syntax=syntax, preamble=False, WindowCenter=12750, WindowWidth=25501)
    assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_allclose(read_picture(path).luminance, LEVELS / 255, atol=1e-4)


def test_a_preamble_may_hold_the_tags_of_a_tiff(tmp_path):
    stored = (LEVELS.astype(np.uint16) * 100).astype(np.uint16)
    path = dicom(tmp_path / "both.dcm", stored, WindowCenter=12750, WindowWidth=25501)
    expected = read_picture(path).luminance
    content = path.read_bytes()
    path.write_bytes(b"II*\0" + len(content).to_bytes(4, "little") + content[8:])
    np.testing.assert_array_equal(read_picture(path).luminance, expected)
    assert not frames_of(path)


def test_eight_bits_without_a_window_are_taken_as_they_are(tmp_path):
    stored = (LEVELS // 2).astype(np.uint8)
    picture = read_picture(dicom(tmp_path / "us.dcm", stored))
    assert (picture.bits, picture.note) == (8, None)
    np.testing.assert_array_equal(to_array(picture), stored)
    inverted = read_picture(dicom(tmp_path / "inv.dcm", stored, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(to_array(inverted), 255 - stored)


def test_windows_and_missing_values_of_an_inverted_file_are_stored_values(tmp_path):
    stored = (LEVELS.astype(np.int16) * 10).astype(np.int16)
    rescaled = {"RescaleIntercept": -1000, "RescaleSlope": 1}
    plain = dicom(tmp_path / "plain.dcm", stored, **rescaled)
    inverted = dicom(tmp_path / "inverted.dcm", stored, PhotometricInterpretation="MONOCHROME1", **rescaled)
    for window in ((-500, 200), "own", None):
        shown = [read_picture(path, window=window).luminance for path in (plain, inverted)]
        np.testing.assert_allclose(shown[1], 1 - shown[0], atol=1e-6)
    assert read_picture(inverted).luminance[stored == 0].min() == 1
    assert read_picture(inverted, nodata=-1000).luminance[stored == 0].max() == 0


def test_curves_and_tables_of_the_file(tmp_path):
    stored = (LEVELS.astype(np.uint16) * 16).astype(np.uint16)
    curve = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID", "BitsStored": 12, "HighBit": 11}
    sigmoid = read_picture(dicom(tmp_path / "sigmoid.dcm", stored, **curve)).luminance
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-4 * (stored - 2000.0) / 1000)), atol=2e-3)
    hounsfield = {**curve, "WindowCenter": 300, "WindowWidth": 1500, "RescaleIntercept": -1024, "RescaleSlope": 1}
    for kind, offset in ((np.uint16, 0), (np.int16, -2048)):
        path = dicom(tmp_path / "ct.dcm", (stored.astype(np.int32) + offset).astype(kind), **hounsfield)
        expected = 1 / (1 + np.exp(-4 * (stored + (offset - 1324.0)) / 1500))
        np.testing.assert_allclose(read_picture(path).luminance, expected, atol=1e-5)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 12], (4095 - np.arange(4096)).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    shown = dicom(tmp_path / "lut.dcm", stored, BitsStored=12, HighBit=11, VOILUTSequence=[table])
    np.testing.assert_allclose(read_picture(shown).luminance, 1 - stored / 4095, atol=1e-5)
    # A window that is asked for is in the file's own numbers.
    np.testing.assert_allclose(read_picture(shown, window=(0, 4095)).luminance, stored / 4095, atol=1e-5)
    exact = dicom(tmp_path / "e.dcm", stored, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(read_picture(exact).luminance, np.clip((stored - 1500.0) / 1000, 0, 1), atol=1e-5)


def test_a_window_of_the_file_without_a_value_is_said(tmp_path):
    stored = (LEVELS.astype(np.uint16) * 16).astype(np.uint16)
    for center, kind, seen in ((9000, "MONOCHROME2", "black"), (9000, "MONOCHROME1", "white")):
        window = {"WindowCenter": center, "WindowWidth": 100, "PhotometricInterpretation": kind}
        shown = read_picture(dicom(tmp_path / "a.dcm", stored, **window))
        assert f"in the window 8950 to 9049 that the file gives, so all of it is {seen}" in (shown.note or "")
    inside = dicom(tmp_path / "b.dcm", stored, WindowCenter=2000, WindowWidth=100)
    assert read_picture(inside).note is None
    assert read_picture(tmp_path / "a.dcm", window="own").note is None


def test_what_only_begins_like_dicom_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bytes(300))
    with pytest.raises(PictureError, match=r"a\.dcm is a DICOM file without an image"):
        read_picture(tmp_path / "a.dcm")


def test_what_fuzzing_found(tmp_path):
    whole = dicom(tmp_path / "a.dcm", LEVELS).read_bytes()
    bits_stored = struct.pack("<HH2sHH", 0x28, 0x101, b"US", 2, 8)
    assert whole.count(bits_stored) == 1
    (tmp_path / "a.dcm").write_bytes(
        whole.replace(bits_stored, struct.pack("<HH2sH3s", 0x28, 0x101, b"US", 3, b"\x08\0\0"))
    )
    with pytest.raises(PictureError, match=r"a\.dcm cannot be decoded as DICOM"):
        read_picture(tmp_path / "a.dcm")


@pytest.mark.parametrize(("uid", "said"), [("\0\x1b840.1.2", ""), ("Waves\x1b[2J", r" \(Waves \[2J\)")])
def test_what_a_file_calls_itself_is_said_on_one_printable_line(tmp_path, uid, said):
    path = dicom(tmp_path / "a.dcm", LEVELS)
    dataset = pydicom.dcmread(path)
    del dataset.Rows
    dataset["SOPClassUID"]._value = pydicom.uid.UID(uid, validation_mode=pydicom.config.IGNORE)
    dataset.save_as(path)
    with pytest.raises(PictureError, match=rf"a\.dcm is a DICOM file without an image{said}; give one"):
        read_picture(path)


def test_a_reason_is_short(tmp_path):
    content = dicom(tmp_path / "a.dcm", LEVELS, PixelPaddingValue=3).read_bytes()
    at = content.index(struct.pack("<HH2sH", 0x28, 0x120, b"US", 2))
    (tmp_path / "a.dcm").write_bytes(content[: at + 6] + struct.pack("<H", 253) + bytes(251) + content[at + 8 :])
    with pytest.raises(PictureError, match=r"a\.dcm cannot be decoded as DICOM") as caught:
        read_picture(tmp_path / "a.dcm")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", ["57", "70", "80", "201"])
def test_lossless_compression(tmp_path, syntax, signed):
    stored = (16 * LEVELS.astype(np.int32) - 2048 * signed).astype("<i2" if signed else "<u2")
    encoders = {"80": imagecodecs.jpegls_encode, "201": imagecodecs.htj2k_encode}
    encode = encoders.get(syntax, partial(imagecodecs.ljpeg_encode, bitspersample=16))
    given = stored if syntax == "201" else stored.view("<u2")
    window = {"WindowCenter": 2048 - 2048 * signed, "WindowWidth": 4096}
    path = dicom(tmp_path / "ct.dcm", stored, **window)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    dataset.PixelData = pydicom.encaps.encapsulate([encode(given)])
    dataset.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(read_picture(tmp_path / "packed.dcm").luminance, read_picture(path).luminance)
    dataset.PixelData = pydicom.encaps.encapsulate([encode(given[:24])])
    dataset.save_as(tmp_path / "short.dcm")
    with pytest.raises(PictureError, match=r"its compressed image is (damaged or )?of another size"):
        read_picture(tmp_path / "short.dcm")


@pytest.mark.parametrize("lowest", [-2048, -1000, 0])
@pytest.mark.parametrize(("precision", "masked"), [(12, True), (16, True), (16, False)])
def test_jpeg_2000_without_the_sign_that_the_header_states(tmp_path, precision, masked, lowest):
    """PS3.5, 8.2.4: the header says what the values are."""
    stored = ((ROWS * 64 + COLUMNS) % (2000 - lowest) + lowest).astype(np.int16)
    path = dicom(tmp_path / "ct.dcm", stored, BitsStored=12, HighBit=11)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    codes = stored.view(np.uint16) & (0xFFF if masked else 0xFFFF)
    encoded = imagecodecs.jpeg2k_encode(codes, level=0, codecformat="J2K", reversible=True, bitspersample=precision)
    dataset.PixelData = pydicom.encaps.encapsulate([encoded])
    dataset.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(read_picture(tmp_path / "packed.dcm").luminance, read_picture(path).luminance)


@pytest.mark.parametrize(("precision", "syntax"), [(12, "90"), (16, "90"), (16, "201")])
def test_jpeg_2000_with_a_sign_that_the_header_does_not_state(tmp_path, precision, syntax):
    stored = ((ROWS * 64 + COLUMNS) % 3000 - 1500).astype(np.int16)
    path = dicom(tmp_path / "ct.dcm", stored, BitsStored=precision, HighBit=precision - 1)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    dataset.PixelRepresentation = 0
    encode = partial(imagecodecs.jpeg2k_encode, codecformat="J2K", reversible=True, bitspersample=precision)
    packed = imagecodecs.htj2k_encode(stored) if syntax == "201" else encode(stored, level=0)
    dataset.PixelData = pydicom.encaps.encapsulate([packed])
    dataset.save_as(tmp_path / "packed.dcm")
    one, other = (read_picture(x, window=(-1000, 1000)) for x in (path, tmp_path / "packed.dcm"))
    np.testing.assert_array_equal(one.luminance, other.luminance)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("element", ["BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"])
def test_a_file_that_does_not_say_how_its_pixels_are_stored_is_refused(tmp_path, element, empty):
    path = dicom(tmp_path / "ct.dcm", LEVELS)
    dataset = pydicom.dcmread(path)
    setattr(dataset, element, None) if empty else delattr(dataset, element)
    dataset.save_as(path)
    with pytest.raises(PictureError, match=rf"how its pixels are stored: it has no {element}; export it again\.$"):
        read_picture(path)


@pytest.mark.parametrize("kind", ["RGB", "YBR_RCT"])
def test_colour_in_high_throughput_jpeg_2000(tmp_path, kind):
    colours = np.random.default_rng(0).integers(0, 256, (*LEVELS.shape, 3), np.uint8)
    path = dicom(
        tmp_path / "plain.dcm", colours, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB"
    )
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    dataset.PhotometricInterpretation = kind
    dataset.PixelData = pydicom.encaps.encapsulate([imagecodecs.htj2k_encode(colours, rgb=kind == "YBR_RCT")])
    dataset.save_as(tmp_path / "packed.dcm")
    one, other = (read_picture(x) for x in (path, tmp_path / "packed.dcm"))
    np.testing.assert_array_equal(one.luminance, other.luminance)
    np.testing.assert_array_equal(one.chroma, other.chroma)


@pytest.mark.parametrize(("syntax", "kind"), [("50", "JPEG"), ("51", "JPEG"), ("90", "JPEG2000")])
def test_a_larger_image_inside_is_refused_before_it_is_decoded(tmp_path, syntax, kind):
    content = io.BytesIO()
    Image.new("L", (4_000, 3_000)).save(content, kind, **({"no_jp2": True} if kind == "JPEG2000" else {}))
    dataset = pydicom.dcmread(dicom(tmp_path / "a.dcm", LEVELS))
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    dataset.PixelData = pydicom.encaps.encapsulate([content.getvalue()])
    dataset.save_as(tmp_path / "b.dcm")
    with pytest.raises(PictureError, match=r"its compressed image is (damaged or )?of another size"):
        read_picture(tmp_path / "b.dcm", max_pixels=10_000)


@pytest.mark.parametrize("syntax", ["90", "201"])
def test_an_enormous_image_inside_is_refused(tmp_path, syntax):
    content = imagecodecs.htj2k_encode(LEVELS)
    at = content.index(struct.pack(">II", *LEVELS.shape[::-1]))
    dataset = pydicom.dcmread(dicom(tmp_path / "a.dcm", LEVELS))
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    dataset.PixelData = pydicom.encaps.encapsulate([content[:at] + b"\x7f" * 8 + content[at + 8 :]])
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(PictureError, match="its compressed image is of another size"):
        read_picture(tmp_path / "a.dcm")


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_of_twelve_bits(tmp_path, bits):
    stored = (np.kron(LEVELS[:6, ::8], np.ones((8, 8))) * 2 ** (bits - 8)).astype("<u2" if bits > 8 else np.uint8)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits, "BitsStored": bits, "HighBit": bits - 1}
    path = dicom(tmp_path / "plain.dcm", stored, **window)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    content = imagecodecs.jpeg8_encode(stored, level=100, bitspersample=bits)
    dataset.PixelData = pydicom.encaps.encapsulate([content])
    dataset.save_as(tmp_path / "packed.dcm")
    read, expected = (read_picture(tmp_path / name).luminance for name in ("packed.dcm", "plain.dcm"))
    np.testing.assert_allclose(read, expected, atol=0.01)


def test_an_enhanced_file_has_its_window_in_groups(tmp_path):
    stored = LEVELS.astype("<u2")
    path = dicom(
        tmp_path / "plain.dcm", stored, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=100, WindowWidth=50
    )
    rescale, window, groups = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -100
    window.WindowCenter, window.WindowWidth = 100, 50
    groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [rescale], [window]
    enhanced = dicom(tmp_path / "enhanced.dcm", stored, NumberOfFrames=1, SharedFunctionalGroupsSequence=[groups])
    np.testing.assert_array_equal(read_picture(enhanced).luminance, read_picture(path).luminance)


def test_frames_that_the_header_does_not_count_are_refused(tmp_path):
    dataset = pydicom.dcmread(dicom(tmp_path / "a.dcm", LEVELS))
    dataset.PixelData = 2 * LEVELS.tobytes()
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(PictureError, match=r"its pixels have the shape \(2, 48, 64\)"):
        read_picture(tmp_path / "a.dcm")


def test_a_report_is_no_image(tmp_path):
    path = dicom(tmp_path / "report.dcm", LEVELS)
    dataset = pydicom.dcmread(path)
    del dataset.Rows, dataset.Columns, dataset.PixelData
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    dataset.save_as(path)
    with pytest.raises(PictureError, match=r"report\.dcm is a DICOM file without an image \(Basic Text SR Storage\)"):
        read_picture(path)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "empty"])
def test_a_header_without_pixels_is_called_that(tmp_path, syntax):
    path = dicom(tmp_path / "header.dcm", LEVELS)
    dataset = pydicom.dcmread(path)
    if syntax == "empty":
        dataset["PixelData"].value = b""
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(PictureError, match=r"^header\.dcm is a DICOM file with the header of an image but without its"):
        read_picture(path)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_compressed_file_that_was_cut_off_is_called_truncated(tmp_path, share):
    from pydicom.uid import RLELossless

    dataset = pydicom.dcmread(dicom(tmp_path / "a.dcm", LEVELS))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[: int(share * len(content))])
    with pytest.raises(PictureError, match=r"a\.dcm is a DICOM file that is truncated"):
        read_picture(tmp_path / "a.dcm")


def test_a_deflated_file_is_read_unless_it_is_far_larger_inside(tmp_path):
    deflated = {"syntax": "1.2.840.10008.1.2.1.99", "RescaleSlope": 1, "RescaleIntercept": 0}
    found = read_picture(dicom(tmp_path / "a.dcm", LEVELS, **deflated), max_pixels=LEVELS.size)
    expected = read_picture(dicom(tmp_path / "b.dcm", LEVELS))
    np.testing.assert_array_equal(found.luminance, expected.luminance)
    path = dicom(tmp_path / "large.dcm", LEVELS, **deflated, EncapsulatedDocument=bytes(20_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(PictureError, match=r"large\.dcm is a deflated DICOM file, and inflates to more than the 17 MB"):
        read_picture(path, max_pixels=LEVELS.size)
    assert read_picture(path).size == (64, 48)


def test_eight_bits_with_a_sign_have_their_own_range(tmp_path):
    signed = dicom(tmp_path / "signed.dcm", (LEVELS.astype(int) - 128).astype(np.int8))
    deep = dicom(tmp_path / "deep.dcm", (LEVELS.astype(int) - 128).astype(np.int16))
    np.testing.assert_array_equal(read_picture(signed).luminance, read_picture(deep).luminance)
    assert read_picture(signed, window=(-128, 127)).luminance.max() == 1


def test_a_slope_of_zero_is_refused(tmp_path):
    path = dicom(tmp_path / "ct.dcm", LEVELS.astype(np.int16), RescaleSlope=0, RescaleIntercept=-1024)
    with pytest.raises(PictureError, match="has a rescale slope of 0"):
        read_picture(path)


@pytest.mark.parametrize("empty", ["RescaleSlope", "RescaleIntercept"])
def test_an_empty_rescaling_changes_nothing(tmp_path, empty):
    given = {"RescaleSlope": 2, "RescaleIntercept": -10}
    neutral = {"RescaleSlope": 1, "RescaleIntercept": 0}
    stored = LEVELS.astype("<u2")
    expected = read_picture(dicom(tmp_path / "a.dcm", stored, **given | {empty: neutral[empty]}), window=(0, 300))
    found = read_picture(dicom(tmp_path / "b.dcm", stored, **given | {empty: None}), window=(0, 300))
    np.testing.assert_array_equal(found.luminance, expected.luminance)


def scans(folder, first, second, **elements):
    """Two DICOM files of these modalities; `elements` of the second."""
    paths = dicom(folder / "a.dcm", LEVELS, Modality=first, PixelSpacing=[1, 1]), folder / "b.dcm"
    dicom(paths[1], LEVELS, **{"Modality": second, "PixelSpacing": [1, 1], **elements})
    return [read_picture(path) for path in paths]


def test_what_the_files_say_they_are_is_compared_with_the_task(tmp_path):
    medical = TASKS["medical"]
    assert role_notes(*scans(tmp_path, "CT", "MR"), medical) == []
    assert role_notes(*scans(tmp_path, "PT", "MR"), medical) == []
    (note,) = role_notes(*scans(tmp_path, "MR", "CT"), medical)
    assert note == "b.dcm is given as the MRI but is CT: they look swapped; the order is CT, PET or SPECT, then MRI."
    (note,) = role_notes(*scans(tmp_path, "CT", "MR"), TASKS["ir-vis"])
    assert note.endswith("are medical scans, but are fused as ir-vis; --task medical (task='medical') is for them.")
    (note,) = role_notes(*scans(tmp_path, "CT", "MR", PixelSpacing=[0.5, 0.5]), medical)
    assert note.startswith("a.dcm shows 48 x 64 mm and b.dcm 24 x 32 mm (height x width)")
    scans(tmp_path, "PT", "MR")
    with pytest.raises(PictureError, match=r"a\.dcm is a PET or SPECT scan: where metabolism is high"):
        fuse(tmp_path / "a.dcm", tmp_path / "b.dcm", task="medical", align=True)


PLACED = {
    "PatientID": "A1",
    "FrameOfReferenceUID": "1.2.3.4",
    "ImagePositionPatient": [-32, -24, 60],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "SliceThickness": 3,
}


def placed(folder, *, of_a=None, **elements):
    """Notes on a CT and an MRI; `of_a` are elements of the CT, `elements` those of the MRI, where they differ."""
    common = {"PixelSpacing": [1, 1], **PLACED}
    dicom(folder / "a.dcm", LEVELS, **{"Modality": "CT", **common, **(of_a or {})})
    dicom(folder / "b.dcm", LEVELS, **{"Modality": "MR", **common, **elements})
    return scan_notes(read_picture(folder / "a.dcm"), read_picture(folder / "b.dcm"))


SAME = "so they do not seem to show the same patient; check that they belong together."


def test_scans_of_different_patients_are_said_without_their_ids(tmp_path):
    assert placed(tmp_path) == []
    assert placed(tmp_path, PatientID="A1 ") == []
    assert placed(tmp_path, PatientID="") == []
    assert placed(tmp_path, PatientID="B22") == [f"a.dcm and b.dcm have different patient IDs, {SAME}"]
    picture = read_picture(tmp_path / "b.dcm")
    assert "B22" not in repr(picture) + str(picture.note)
    placed(tmp_path, PatientID="B22", ImagePositionPatient=[-32, -24, 180])
    fused = small_network().fuse(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert f"a.dcm and b.dcm have different patient IDs, {SAME}" in fused.notes
    assert any("they lie 120 mm apart" in note for note in fused.notes)
    assert not any("B22" in note for note in fused.notes)


def test_slices_without_a_window_are_said_not_to_be_alike(tmp_path):
    for folder in ("ct", "mri"):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            dicom(tmp_path / folder / f"{number}.dcm", (LEVELS * number).astype(np.int16), Modality=folder.upper()[:2])
    model = ReFusion("medical", channels=8, heads=4, blocks=1)
    model.save_pretrained(tmp_path / "model")
    given = ("fuse", tmp_path / "ct", tmp_path / "mri", "--model", tmp_path / "model", "-o")
    assert "2 pairs have images that were scaled by their own range" in refusion(*given, tmp_path / "out").err
    assert "own range" not in refusion(*given, tmp_path / "alike", "--window", "0", "510").err


def test_scans_of_a_stack_or_of_a_scored_pair_are_compared_too(tmp_path):
    model = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
    slices = [{**PLACED, "PatientID": patient, "PixelSpacing": [1, 1]} for patient in ("A1", "A1", "B22", "C3")]
    paths = [dicom(tmp_path / f"{index}.dcm", LEVELS + index, **slices[index]) for index in range(4)]
    said = [note for note in model.fuse_stack(paths).notes if "patient" in note]
    assert said == [f"0.dcm and {index}.dcm have different patient IDs, {SAME}" for index in (2, 3)]

    (tmp_path / "functional").mkdir()
    (tmp_path / "mri").mkdir()
    placed(tmp_path, PatientID="B22", ImagePositionPatient=[-32, -24, 180])
    (tmp_path / "a.dcm").rename(tmp_path / "functional" / "scan.dcm")
    (tmp_path / "b.dcm").rename(tmp_path / "mri" / "scan.dcm")
    result = refusion("evaluate", "--data", tmp_path, "--fused", tmp_path / "mri", "--metrics", "EN")
    assert result.code == 0, result.err
    assert "have different patient IDs, so they do not seem to show the same patient" in result.err
    assert "do not show the same slice: they lie 120 mm apart" in result.err
    assert "B22" not in result.err


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"ImagePositionPatient": [-32, -24, 62.9]}, None),
        ({"ImagePositionPatient": [-32, -24, 63.5]}, "they lie 3.5 mm apart;"),
        ({"ImagePositionPatient": [-32, -24, 56]}, "they lie 4 mm apart;"),
        # Within its plane, a slice may show more or less.
        ({"ImagePositionPatient": [-90, 40, 60]}, None),
        ({"ImagePositionPatient": [-64, -48, 60], "PixelSpacing": [2, 2]}, None),
        ({"ImagePositionPatient": [-32, -24, 64], "SliceThickness": 4}, None),
        ({"ImagePositionPatient": [-32, -24, 64], "SliceThickness": None}, "they lie 4 mm apart;"),
        ({"ImagePositionPatient": [-32, -24, 160], "FrameOfReferenceUID": "1.2.3.5"}, None),
        ({"ImagePositionPatient": [-32, -24, 160], "FrameOfReferenceUID": None}, None),
        ({"ImagePositionPatient": None}, None),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "they are turned by 90 degrees against each other;"),
        ({"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}, "they are turned by 180 degrees against each other;"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, None),
    ],
    ids=str,
)
def test_scans_of_different_slices_are_said(tmp_path, elements, words):
    notes = placed(tmp_path, **elements)
    if words is None:
        assert notes == []
    else:
        assert notes == [
            f"By their headers, a.dcm and b.dcm do not show the same slice: {words} check that they belong together."
        ]


def test_slices_that_are_tilted_a_little_are_compared_at_their_centres(tmp_path):
    angle = np.radians(8)
    along = np.array([np.cos(angle), 0, np.sin(angle)])
    corner = np.array([0, 0, 60]) - 32 * along - [0, 24, 0]
    tilted = {"ImageOrientationPatient": [*along.round(6).tolist(), 0, 1, 0]}
    assert placed(tmp_path, ImagePositionPatient=corner.round(4).tolist(), **tilted) == []
    (note,) = placed(tmp_path, ImagePositionPatient=np.add(corner, [0, 0, 9]).round(4).tolist(), **tilted)
    assert "they lie 9 mm apart" in note


def test_slices_without_a_thickness_have_the_usual_one(tmp_path):
    thin = {"SliceThickness": None}
    assert placed(tmp_path, of_a=thin, ImagePositionPatient=[-32, -24, 64.9], **thin) == []
    (note,) = placed(tmp_path, of_a=thin, ImagePositionPatient=[-32, -24, 66], **thin)
    assert "they lie 6 mm apart" in note


def test_an_enhanced_file_says_in_groups_where_its_slice_lies(tmp_path):
    position, orientation, groups = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    position.ImagePositionPatient, orientation.ImageOrientationPatient = [-32, -24, 80], [1, 0, 0, 0, 1, 0]
    groups.PlanePositionSequence, groups.PlaneOrientationSequence = [position], [orientation]
    enhanced = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    (note,) = placed(tmp_path, **enhanced, PerFrameFunctionalGroupsSequence=[groups])
    assert "they lie 20 mm apart" in note


@pytest.mark.parametrize("damage", [(b"1.2.3.4\0", b"1.2.3.4\xff"), (b"A1", b"\xff\xfe"), (b"\\-24.0", b"\\-24.x")])
@pytest.mark.filterwarnings("error")
def test_places_and_ids_that_cannot_be_read_do_not_matter(tmp_path, damage):
    placed(tmp_path, SpecificCharacterSet="ISO_IR 192")
    content = (tmp_path / "b.dcm").read_bytes()
    changed = content.replace(*damage)
    assert changed != content
    (tmp_path / "b.dcm").write_bytes(changed)
    assert read_picture(tmp_path / "b.dcm").luminance.shape == LEVELS.shape


@pytest.mark.parametrize("elements", [{"PixelSpacing": [3, 1]}, {"PixelAspectRatio": [3, 1]}])
def test_pixels_that_are_not_square_are_noted(tmp_path, elements):
    picture = read_picture(dicom(tmp_path / "a.dcm", LEVELS, **elements))
    assert "not square (height to width 3 to 1)" in picture.note
    assert read_picture(dicom(tmp_path / "b.dcm", LEVELS, PixelSpacing=[2, 2])).note is None


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("above", [0, 2, 4])
def test_values_in_the_upper_bits_are_those_in_the_lower_ones(tmp_path, above, signed):
    values = (LEVELS.astype(np.int16) * 8 - (1024 if signed else 0)).astype(np.int16 if signed else np.uint16)
    window = {"WindowCenter": 0 if signed else 1024, "WindowWidth": 2048}
    expected = read_picture(dicom(tmp_path / "plain.dcm", values, **window)).luminance
    # What older files store beside the values, such as overlays, is not part of them.
    stored = (values << above) | (3 if above == 4 else 0)
    path = dicom(tmp_path / "upper.dcm", stored.astype(values.dtype), BitsStored=12, HighBit=11 + above, **window)
    np.testing.assert_allclose(read_picture(path).luminance, expected, atol=1e-6)


def test_values_that_use_the_lower_bits_only_stay_there_whatever_the_header_says(tmp_path):
    values, window = LEVELS.astype(np.uint16) * 8 + 1, {"WindowCenter": 1024, "WindowWidth": 2048}
    expected = read_picture(dicom(tmp_path / "plain.dcm", values, **window)).luminance
    wrong = dicom(tmp_path / "wrong.dcm", values, BitsStored=12, HighBit=15, **window)
    np.testing.assert_array_equal(read_picture(wrong).luminance, expected)
