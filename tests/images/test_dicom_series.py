"""Folders of DICOM slices, as hospitals export them."""

import imagecodecs
import numpy as np
import pytest
from support.series import pydicom, write_series
from support.volumes import phantom

from refusion.images import PictureError
from refusion.images.dicom_series import open_series
from refusion.images.volume import MAX_VOXELS

VALUES = phantom(1)


def opened(folder, max_voxels=MAX_VOXELS):
    return open_series(folder, folder.name, max_voxels)


def change(path, **elements):
    """Change elements of a file, or remove those that are None."""
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def test_slices_are_sorted_and_scaled_each_by_its_own_slope(tmp_path):
    series = opened(write_series(tmp_path / "pet", VALUES, "PT", slope=lambda index: 1 if index == 0 else 0.25 * index))
    assert (series.grid.size, series.grid.spacing, series.notes) == ((20, 24, 10), (1, 1, 2.5), ())
    slopes = np.array([1, *(0.25 * np.arange(1, 10))])
    np.testing.assert_allclose(series.read().values, VALUES * slopes[:, None, None], rtol=1e-6)


def test_the_grid_is_that_of_the_headers(tmp_path):
    sagittal = opened(write_series(tmp_path / "sagittal", VALUES, spacing=(1, 2, 3), directions=(0, 1, 0, 0, 0, -1)))
    assert sagittal.grid.spacing == (1, 2, 3)
    assert sagittal.grid.origin == (0, 0, 0)
    assert sagittal.grid.direction == (0, 0, -1, 1, 0, 0, 0, -1, 0)
    np.testing.assert_array_equal(sagittal.read().values, VALUES)
    assert sagittal.read().image.GetDirection() == sagittal.grid.direction
    assert (sagittal.scan.modality, sagittal.scan.plane.frame) == ("MR", "1.4")


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("1.2.840.10008.1.2.4.70", lambda values: imagecodecs.ljpeg_encode(values, bitspersample=16)),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
        ("1.2.840.10008.1.2.4.90", lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", level=0)),
    ],
    ids=["lossless JPEG", "JPEG-LS", "JPEG 2000"],
)
def test_compressed_slices(tmp_path, syntax, encode):
    folder = write_series(tmp_path / "mr", VALUES, PixelRepresentation=0)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([encode(dataset.pixel_array)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    np.testing.assert_array_equal(opened(folder).read().values, VALUES)
    for path in folder.iterdir():
        change(path, Rows=12)
    with pytest.raises(PictureError, match=r"IM00 in mr cannot .* \(its compressed image is (damaged or )?of another"):
        opened(folder).read()


def test_values_are_those_before_a_curve_for_display(tmp_path):
    curve = {"WindowCenter": 300, "WindowWidth": 200, "VOILUTFunction": "SIGMOID"}
    np.testing.assert_array_equal(opened(write_series(tmp_path / "mr", VALUES, **curve)).read().values, VALUES)


def test_the_last_slice_lies_where_its_header_says_if_distances_are_rounded(tmp_path):
    """The others lie within a tenth of a voxel of theirs."""
    depths = [0, 2.5, 5, 7.5, 10, 12.5, 15.1, 17.7, 20.2, 22.7]
    grid = opened(write_series(tmp_path / "mr", VALUES, depths=depths)).grid
    np.testing.assert_allclose(grid.corners()[-1], (19, 23, 22.7), atol=1e-6)


def test_padding_is_the_smallest_value(tmp_path):
    stored = VALUES + np.int16(100)
    stored[:, :4] = -2000
    series = opened(write_series(tmp_path / "ct", stored, "CT", PixelPaddingValue=-2000))
    np.testing.assert_array_equal(series.read().values, np.where(stored == -2000, 100, stored))


def test_other_files_and_localizers_are_left_out_with_a_note(tmp_path):
    folder = write_series(tmp_path / "ct", VALUES, "CT")
    localizer = write_series(
        tmp_path / "localizer", VALUES[:1, :16], "CT", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    next(localizer.iterdir()).rename(folder / "A")
    (folder / "README.txt").write_text("Images of a phantom")
    (folder / ".hidden").write_bytes(b"")
    (folder / "below").mkdir()
    series = opened(folder)
    assert series.notes == ("Files of ct that were left out: 1 without an image and 1 marked as LOCALIZER.",)
    np.testing.assert_array_equal(series.read().values, VALUES)


def test_several_series_are_refused_by_their_names(tmp_path):
    folder = write_series(tmp_path / "head", VALUES)
    for path in write_series(tmp_path / "other", VALUES[:1], SeriesInstanceUID="1.9", SeriesDescription="T2").iterdir():
        path.rename(folder / f"T2{path.name}")
    with pytest.raises(
        PictureError, match=r"head holds 2 series: MR head \(10 slices\), T2 \(1 slice\); put the files"
    ):
        opened(folder)


def test_what_is_not_one_regular_stack_is_refused(tmp_path):
    spaced = np.arange(10) * 2.5
    for name, options, words in (
        (
            "gap",
            {"depths": spaced + 2.5 * (np.arange(10) > 4)},
            r"missing: IM84 and IM55 lie 5 mm apart, .* others 2.5 mm",
        ),
        ("uneven", {"depths": spaced + (np.arange(10) % 2)}, r"uneven are not equally spaced \(by 1.5 to 3.5 mm\)"),
        ("twice", {"depths": spaced // 5}, r"has several slices at one place \(IM00 and IM71\), as of several times"),
        ("colour", {"PhotometricInterpretation": "MONOCHROME1"}, r"IM00 in colour .* in colour or inverted \(MONO"),
        ("frames", {"NumberOfFrames": 2}, r"IM00 in frames holds several frames; convert it to \.nii\.gz"),
        ("skewed", {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "axes of skewed are not at right angles"),
    ):
        folder = write_series(tmp_path / name, VALUES, **options)
        with pytest.raises(PictureError, match=words):
            opened(folder)
    with pytest.raises(PictureError, match="one is a single slice"):
        opened(write_series(tmp_path / "one", VALUES[:1]))
    (tmp_path / "one" / "IM00").write_text("empty")
    with pytest.raises(PictureError, match="no DICOM image in the folder one"):
        opened(tmp_path / "one")
    with pytest.raises(PictureError, match="good is 20 x 24 x 10 voxels, but at most 100 in total are accepted"):
        opened(write_series(tmp_path / "good", VALUES), 100)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"ImagePositionPatient": None}, "IM31? ?.*has no valid ImagePositionPatient"),
        (
            {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
            "differ in ImageOrientationPatient, so they are no slices of",
        ),
        ({"Rows": 12, "PixelData": bytes(2 * 12 * 20)}, "differ in Rows"),
        ({"ImagePositionPatient": [3, 0, 22.5]}, "shifted against each other, as with a tilted gantry"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused(tmp_path, elements, words):
    folder = write_series(tmp_path / "mr", VALUES)
    change(folder / "IM39", **elements)
    with pytest.raises(PictureError, match=words):
        opened(folder)


def test_a_cut_slice_is_refused(tmp_path, capfd):
    folder = write_series(tmp_path / "mr", VALUES)
    path = folder / "IM39"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(PictureError, match="IM39 in mr cannot be decoded as DICOM"):
        opened(folder).read()
    assert capfd.readouterr().err == ""
