"""Volumes written by SimpleITK, fused and looked at again."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.command import check_refused, refusion, small_model, stopped_after
from support.networks import small_network
from support.scenes import EXAMPLES
from support.series import write_series
from support.volumes import SPACING, image_of, phantom, read, sitk, write
from support.without import without

import refusion as package
from refusion.images import PictureError
from refusion.images.grid import Grid
from refusion.images.volume import Volume
from refusion.inference.volume_grid import resampled, slice_axis
from refusion.system.advice import without_options

MODEL = small_network()


@pytest.fixture
def pair(tmp_path):
    return write(tmp_path / "pet.nii.gz", phantom(1)), write(tmp_path / "mri.mha", phantom(2, scale=700))


@pytest.fixture
def fuse(pair, tmp_path):
    """Fuse two volumes, and return the notes and the values of the result."""

    def fuse(a=pair[0], b=pair[1], output="fused.nii.gz", task="medical", **options):
        notes = package.fuse_volumes(a, b, tmp_path / output, model=MODEL, task=task, **options)
        return notes, read(tmp_path / output)

    return fuse


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1, 1, 2.5), 0), ((1, 3, 1), 1), ((4, 1, 1), 2)],
    ids=["axial", "coronal", "sagittal"],
)
@pytest.mark.parametrize("output_range", ["network", "contrast"])
def test_a_slice_is_what_is_fused_for_it_alone(fuse, tmp_path, spacing, axis, output_range):
    a, b = phantom(1, (12, 14, 16)), phantom(2, (12, 14, 16))
    files = [write(tmp_path / f"{name}.nrrd", x, spacing=spacing) for name, x in (("a", a), ("b", b))]
    options = {"window": [(0, 900), (50, 700)], "output_range": output_range}
    _, fused = fuse(*files, **options)
    assert fused.dtype == np.uint16
    for index in (3, 5, 8):
        alone = package.fuse(a.take(index, axis), b.take(index, axis), model=MODEL, task="medical", **options)
        np.testing.assert_array_equal(fused.take(index, axis), alone.to_array())


@pytest.mark.parametrize("output", ["f.nii", "f.nii.gz", "f.nrrd", "f.mha", "F.NII.GZ"])
def test_the_result_has_the_grid_of_the_first(fuse, tmp_path, output):
    turned = {"origin": (5.0, -7.0, 11.0), "direction": (-1.0, 0, 0, 0, 0.8, -0.6, 0, 0.6, 0.8)}
    a, b = (write(tmp_path / f"{name}.nii", phantom(seed), **turned) for seed, name in enumerate("ab"))
    fuse(a, b, output, bits=8)
    result = sitk.ReadImage(str(tmp_path / output))
    assert result.GetPixelID() == sitk.sitkUInt8
    assert result.GetSize() == (20, 24, 10)
    np.testing.assert_allclose(result.GetSpacing(), SPACING, atol=1e-5)
    np.testing.assert_allclose(result.GetOrigin(), turned["origin"], atol=1e-5)
    np.testing.assert_allclose(result.GetDirection(), turned["direction"], atol=1e-5)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_own_range_is_that_of_the_whole_volume_and_can_be_given(fuse):
    notes, fused = fuse()
    assert [note.split(" was scaled by its own range, ")[0] for note in notes] == ["pet.nii.gz", "mri.mha"]
    windows = [tuple(map(float, note.split("range, ")[1].split(", that")[0].split(" to "))) for note in notes]
    assert windows[0] == (0, np.sort(phantom(1), axis=None)[-1 - phantom(1).size // 200])
    assert f"--window-b {windows[1][0]:g} {windows[1][1]:g} (window=[None, (" in notes[1]
    notes, again = fuse(window=windows)
    assert notes == []
    np.testing.assert_array_equal(again, fused)


def test_a_mask_of_8_bits_gets_a_note(fuse, tmp_path):
    notes, _ = fuse(write(tmp_path / "mask.mha", (phantom(1) > 0).astype(np.uint8)), window=(0, 1000))
    assert [note.partition(" in volumes")[0] for note in notes] == [
        "The largest value of mask.mha is 1, and white is 255"
    ]


def test_sources_of_one_camera_share_a_range(fuse):
    notes, _ = fuse(task="multi-focus")
    shared = " was scaled by the range of both volumes, 0 to "
    assert [note.split(shared)[0] for note in notes] == ["pet.nii.gz", "mri.mha"]
    assert notes[0].split(shared)[1].split(",")[0] == notes[1].split(shared)[1].split(",")[0]


def test_volumes_of_8_bits_are_read_as_images_are(fuse, tmp_path):
    a, b = (write(tmp_path / f"{seed}.mha", (phantom(seed, scale=200)).astype(np.uint8)) for seed in (1, 2))
    notes, fused = fuse(a, b, window="own", output_range="network")
    assert notes == ["A window or own range has no effect on 1.mha and 2.mha: images of 8 bits are left unchanged."]
    alone = package.fuse(read(a)[4], read(b)[4], model=MODEL, task="medical", output_range="network")
    np.testing.assert_array_equal(fused[4], alone.to_array())


@pytest.mark.parametrize("output_range", ["robust", "sources", "stretch"])
def test_one_range_for_all_slices_which_air_does_not_change(fuse, tmp_path, output_range):
    options = {"output_range": output_range, "window": (0, 1000), "anchor": "bounds"}
    _, fused = fuse(**options)
    with_air = [np.pad(phantom(seed, scale=scale), ((40, 30), (0, 0), (0, 0))) for seed, scale in ((1, 1000), (2, 700))]
    _, again = fuse(*(write(tmp_path / f"{n}.nrrd", x) for n, x in enumerate(with_air)), **options)
    np.testing.assert_array_equal(again[40:50], fused)
    assert len(np.unique(again[:40].reshape(40, -1), axis=0)) == 1
    # The slices differ in their own ranges, but what is brighter without a range is brighter with it, in all of them.
    _, bare = fuse(**{**options, "output_range": "network"})
    inner = (bare > 1000) & (fused > 0) & (fused < 65535)
    order = np.argsort(bare[inner])
    assert (np.diff(fused[inner][order].astype(int)) >= -1).all()


def test_faint_noise_around_the_head_does_not_change_the_range(fuse, tmp_path):
    options = {"output_range": "sources", "window": (0, 1000), "anchor": "bounds"}
    _, fused = fuse(**options)
    noise = np.random.default_rng(0).integers(0, 9, (80, 24, 20)).astype(np.int16)
    for name, seed, scale in (("a", 1, 1000), ("b", 2, 700)):
        noise[40:50] = phantom(seed, scale=scale)
        write(tmp_path / f"{name}.nrrd", noise)
    _, again = fuse(tmp_path / "a.nrrd", tmp_path / "b.nrrd", **options)
    np.testing.assert_array_equal(again[40:50], fused)


def test_black_and_white_are_those_of_all_slices_that_show_something(fuse, tmp_path):
    files = []
    for seed in (1, 2):
        values = phantom(seed) // 2
        values[3] *= 2
        files.append(write(tmp_path / f"{seed}.mha", values))
    options = {"window": (0, 1200), "anchor": "bounds"}
    bare, fused = (fuse(*files, output_range=name, **options)[1] for name in ("network", "stretch"))
    assert bare.max() < 65535
    assert bare[fused == 65535].min() >= bare.max() - 1


def test_the_result_has_16_bits_if_either_volume_has_more_than_8(fuse, tmp_path, pair):
    small = write(tmp_path / "small.mha", phantom(3, scale=200).astype(np.uint8))
    assert fuse(pair[0], small)[1].dtype == fuse(small, pair[1])[1].dtype == np.uint16
    assert fuse(small, pair[1], bits=8)[1].dtype == np.uint8


def test_air_costs_no_time(fuse, tmp_path):
    runs = []

    class Counting:
        task = MODEL.task

        def fuse_luminances(self, a, b, *, engine=None):
            runs.append(len(a))
            return MODEL.fuse_luminances(a, b, engine=engine)

    files = [write(tmp_path / f"{seed}.mha", np.pad(phantom(seed), ((30, 30), (0, 0), (0, 0)))) for seed in (1, 2)]
    seen = []
    package.fuse_volumes(*files, tmp_path / "f.mha", model=Counting(), progress=lambda *counts: seen.append(counts))
    assert sum(runs) == 8 + 1
    assert seen == [(done, 70) for done in range(1, 71)]


def test_other_grids_are_refused_by_what_differs(fuse, pair, tmp_path):
    size = write(tmp_path / "size.mha", phantom(2, (10, 24, 18)))
    place = write(tmp_path / "place.mha", phantom(2), origin=(-0.0, 0, 3), spacing=(1, 1, 2))
    ras = write(tmp_path / "ras.mha", phantom(2), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    turned = write(tmp_path / "turned.mha", phantom(2), direction=(1, 0, 0, 0, 0.8, 0.6, 0, -0.6, 0.8))
    near = write(tmp_path / "near.mha", phantom(2), origin=(0.02, 0, 0))
    for other, words in (
        (size, r"A \(pet\.nii\.gz\) and B \(size\.mha\) differ in size \(20 x 24 x 10 and 18 x 24 x 10 voxels\); if"),
        (place, r"in spacing \(1 x 1 x 2\.5 and 1 x 1 x 2 mm\) and origin \(0, 0, 0 and 0, 0, 3 mm\)"),
        (turned, r"in direction \(axes to LPS, turned by 37 degrees\); if"),
        (ras, r"in direction \(axes to LPS and RAS\); if they are registered, .* \(--resize a, b, .*resize='a'\)"),
    ):
        with pytest.raises(PictureError, match=words):
            fuse(pair[0], other)
    assert fuse(pair[0], near, window=(0, 1000))[0] == []


def test_another_grid_is_resampled_by_its_place(fuse, pair, tmp_path):
    """A volume that is cropped, flipped and moved in its array, but not in space, gives the same fused image."""
    whole = phantom(2, scale=700)
    flipped = image_of(whole)[::-1, ::-1, :]
    part = flipped[:, :, 1:9]
    sitk.WriteImage(part, str(tmp_path / "part.nrrd"))
    options = {"window": (0, 1000), "output_range": "network"}
    notes, fused = fuse(pair[0], tmp_path / "part.nrrd", resize="a", **options)
    assert notes == [
        "part.nrrd was resampled linearly into the grid of pet.nii.gz by its position in space; it covers 80 % of it, "
        "and the rest is black."
    ]
    expected = fuse(**options)[1].astype(int)
    # The first and the last slice, which the part lacks, are air.
    assert np.abs(fused.astype(int) - expected).max() <= 2
    smaller, larger = (
        fuse(pair[0], tmp_path / "part.nrrd", resize=rule, **options)[1] for rule in ("smaller", "larger")
    )
    assert (smaller.shape, larger.shape) == ((8, 24, 20), (10, 24, 20))
    far = write(tmp_path / "far.mha", phantom(2), origin=(500, 0, 0))
    with pytest.raises(PictureError, match=r"far\.mha and pet\.nii\.gz do not overlap in space"):
        fuse(pair[0], far, resize="a")


def test_values_between_voxels_are_mixed_and_large_ones_stay_exact():
    values = (np.arange(10 * 12 * 14).reshape(10, 12, 14) + 2**24).astype(np.int32)
    grid = Grid((14, 12, 10), (1, 1, 2), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    volume = Volume("x", grid, image_of(values, spacing=grid.spacing))
    for slices in (0.5, 1):
        moved = replace(grid, size=(14, 12, 9), origin=(0, 0, 2 * slices))
        expected = (1 - slices) * values[:-1] + slices * values[1:]
        np.testing.assert_array_equal(resampled(volume, moved, None).values, expected)


def test_a_volume_that_reaches_further_covers_all_of_the_grid(fuse, pair, tmp_path):
    larger = write(tmp_path / "larger.nrrd", np.pad(phantom(2), 2), origin=(-2, -2, -5))
    notes, _ = fuse(pair[0], larger, resize="a", window=(0, 1000))
    assert notes == [
        "larger.nrrd was resampled linearly into the grid of pet.nii.gz by its position in space; it covers all of it."
    ]


def test_missing_values_are_black(fuse, pair, tmp_path):
    values = phantom(1).astype(np.float32)
    values[3:5, 10:14, 8:12] = np.nan
    holes = write(tmp_path / "holes.nii", values)
    with pytest.raises(PictureError, match=r"holes\.nii has values that are not finite .*--nodata nan"):
        fuse(holes)
    black = write(tmp_path / "black.nii", np.nan_to_num(values))
    options = {"window": (0, 1000)}
    np.testing.assert_array_equal(fuse(holes, nodata=math.nan, **options)[1], fuse(black, **options)[1])
    moved = write(tmp_path / "moved.mha", phantom(2), origin=(0, 0, 2.5))
    assert fuse(holes, moved, resize="b", nodata=math.nan, **options)[1].any()


def test_missing_values_are_black_in_a_window_that_begins_below_zero(fuse, tmp_path):
    hounsfield = phantom(1) - np.int16(1000)
    holes, black = hounsfield.astype(np.float32), hounsfield.copy()
    holes[3:5, 10:14, 8:12], black[3:5, 10:14, 8:12] = np.nan, -1000
    files = [write(tmp_path / f"{name}.nii", x) for name, x in (("holes", holes), ("black", black))]
    options = {"window": [(-1000, 1000), (0, 700)], "nodata": math.nan}
    np.testing.assert_array_equal(*(fuse(file, **options)[1] for file in files))


def test_every_value_of_8_bits_counts_as_in_images(fuse, tmp_path):
    files = [write(tmp_path / f"{n}.mha", (phantom(n, scale=250) + 1).astype(np.uint8)) for n in (1, 2)]
    np.testing.assert_array_equal(fuse(*files, nodata=1)[1], fuse(*files)[1])


def test_the_slices_are_those_of_the_acquisition_or_axial():
    def axis(spacing, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
        return slice_axis(Grid((9, 9, 9), spacing, (0, 0, 0), direction))

    sagittal = (0, 0, 1, 1, 0, 0, 0, 1, 0)
    assert [axis((1, 1, 3)), axis((3, 1, 1)), axis((1, 1, 1.05)), axis((1.05, 1, 1))] == [2, 0, 2, 2]
    assert [axis((1, 1, 1), sagittal), axis((1, 1, 3), sagittal)] == [1, 2]


def test_what_is_not_for_volumes_is_refused(fuse, pair, tmp_path):
    for options, words in (
        ({"align": True}, r"with align \(--align, --motion\), which is for images only: register the volumes"),
        ({"chroma": "a"}, r"with chroma \(--chroma\), .* volumes have no colour"),
        ({"temperatures": True}, r"with temperatures"),
        ({"bits": 12}, "with 8 or 16 bits, but 12 were given"),
        ({"output": "f.png"}, r"f\.png is not the name of a volume; fused volumes are written as \.nii\.gz"),
        ({"output": "no/f.mha"}, r"f\.mha cannot be written: there is no folder no; create it first"),
        ({"output": "f.mhd"}, r"f\.mhd is a volume in two files, which cannot be written"),
        ({"max_voxels": 100}, r"pet\.nii\.gz is 20 x 24 x 10 voxels, but at most 100 in total are accepted"),
        ({"window": (5000, 6000)}, r"No value of pet\.nii\.gz lies in the window 5000 to 6000"),
    ):
        with pytest.raises(ValueError, match=words):
            fuse(**options)
    thin = write(tmp_path / "thin.mha", phantom(1, (10, 24, 7)))
    with pytest.raises(PictureError, match=r"slices of thin\.mha are 7 x 24 voxels; they must be at least 8 x 8"):
        fuse(thin, write(tmp_path / "b.mha", phantom(2, (10, 24, 7))))


def test_notes_on_the_same_volume_and_on_the_task(fuse, pair):
    notes, _ = fuse(pair[0], pair[0], window=(0, 1000), task="ir-vis")
    assert notes == [
        "The volumes are fused as infrared and visible; for CT, PET or SPECT with MRI, choose the task medical.",
        "pet.nii.gz (first) and pet.nii.gz (second) are the same volume, so there is nothing to fuse.",
    ]


def test_folders_with_one_dicom_series_are_volumes(fuse, tmp_path, monkeypatch):
    ct, mr = (write_series(tmp_path / name.lower(), phantom(seed), name) for seed, name in enumerate(("CT", "MR")))
    same = [write(tmp_path / f"{seed}.nii", phantom(seed).astype(np.float32)) for seed in (0, 1)]
    options = {"window": [(0, 800), (0, 700)]}
    notes, fused = fuse(ct, mr, **options)
    assert notes == []
    np.testing.assert_array_equal(fused, fuse(*same, **options)[1])
    np.testing.assert_array_equal(fused, fuse(ct, same[1], **options)[1])
    monkeypatch.chdir(mr)
    assert fuse(ct, ".", window=[(0, 800), None])[0][0].startswith("mr was scaled by its own range")
    other = write_series(tmp_path / "pet", phantom(0), "PT", PatientID="2", FrameOfReferenceUID="1.5")
    assert fuse(mr, other, window=(0, 1000))[0] == [
        "pet is given as the MRI but is PET: they look swapped; the order is CT, PET or SPECT, then MRI.",
        "mr and pet have different patient IDs, so they do not seem to show the same patient; check that they belong "
        "together.",
        "mr and pet have different frames of reference, so equal positions are not the same place unless the two are "
        "registered.",
    ]
    unplaced = write_series(tmp_path / "unplaced", phantom(1), "MR", FrameOfReferenceUID="")
    assert fuse(ct, unplaced, **options)[0] == []
    output, model = tmp_path / "command.nii.gz", small_model(tmp_path / "model", "medical")
    result = refusion("fuse", ct, mr, "-o", output, "--model", model, "--window-a", 0, 800, "--window-b", 0, 700)
    assert (result.code, result.out) == (0, f"Written to {output}.\n"), result.err
    check_refused(refusion("fuse", ct, "-o", output), "Volumes are fused in pairs, but 1 was given")
    check_refused(refusion("fuse", ct, tmp_path / "model", "-o", output), "There is no DICOM image in the folder model")


def test_the_command_fuses_volumes(pair, tmp_path):
    output = tmp_path / "fused.nii.gz"
    model = small_model(tmp_path / "model", "medical")
    arguments = ("fuse", *pair, "-o", output, "--model", model, "--window-a", -5, 900, "--bits", 8)
    result = refusion(*arguments, "--batch-size", 1, "--side-by-side")
    assert result.code == 0, result.err
    assert result.out == f"Written to {output}.\n"
    assert result.err.startswith("Note: --side-by-side changes nothing here")
    assert "Note: mri.mha was scaled by its own range, " in result.err
    assert read(output).dtype == np.uint8
    kept = output.read_bytes()
    other = tmp_path / "model" / "pet.mgz"
    other.write_bytes(b"")
    with stopped_after(3):
        stopped = refusion(*arguments)
    assert (stopped.code, stopped.err) == (130, f"The run was stopped, so {output} was not written.")
    assert output.read_bytes() == kept
    for arguments, words in (
        ((pair[0], "-o", output), "Volumes are fused in pairs, but 1 was given; give two."),
        ((*pair, pair[0], "-o", output), "3 were given"),
        ((*pair, "-o", pair[1]), "The output mri.mha is one of the sources"),
        ((*pair, "-o", tmp_path / "f.tif"), "f.tif is not the name of a volume"),
        ((*pair, "-o", output, "--align"), "--align"),
        ((*pair, "-o", output, "--crop"), "--crop"),
        ((pair[0], EXAMPLES / "medical_mri.png", "-o", output), "pet.nii.gz is a volume, and "),
        ((pair[0], other, "-o", output), "pet.mgz is not read as one: give two volumes, or two images; volumes are"),
        ((other, other, "-o", output), "convert others, such as .mgz, .mnc and .img, to .nii.gz"),
        ((EXAMPLES / "medical_mri.png", EXAMPLES / "medical_mri.png", "-o", output), "fused.nii.gz is a volume, but"),
    ):
        check_refused(refusion("fuse", *arguments), words)
    assert output.read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fused.nii.gz", "model", "mri.mha", "pet.nii.gz"]


def test_a_volume_among_images_is_named_with_what_to_do(pair, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.nii.gz").write_bytes(pair[0].read_bytes())
    result = refusion("fuse", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out")
    assert result.code == 1
    assert "volumes are fused in pairs, by refusion fuse A B -o OUT.nii.gz" in result.err
    with pytest.raises(PictureError, match=r"is a NIfTI volume .*or refusion\.fuse_volumes in Python") as refused:
        package.fuse(*pair, model=MODEL)
    assert "; save the slice you want as 16-bit PNG or TIFF; PNG, " in without_options(refused.value)


def test_the_missing_package_is_named(pair, tmp_path):
    done = without(("SimpleITK",), "from refusion.cli.app import main; main()", "fuse", *pair, "-o", tmp_path / "f.nii")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'Volumes need one more package: pip install "refusion[volumes]".' in done.stderr


@pytest.mark.parametrize("missing", [("pydicom",), ("SimpleITK",), ("pydicom", "SimpleITK")], ids=" ".join)
def test_both_extras_of_a_series_are_named_at_once(missing, tmp_path):
    for name in ("ct", "mri"):
        write_series(tmp_path / name, phantom(1), "MR")
    folders = (tmp_path / "ct", tmp_path / "mri")
    done = without(missing, "from refusion.cli.app import main; main()", "fuse", *folders, "-o", tmp_path / "f.nii")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'needs two extras: pip install "refusion[dicom,volumes]".' in done.stderr


@pytest.mark.parametrize("kept", [slice(None, -3), slice(3, None)], ids=["without the last", "without the first"])
def test_of_a_series_that_lacks_slices_at_an_end_the_overlap_is_fused(fuse, tmp_path, kept):
    depths = 2.5 * np.arange(len(phantom(1)))
    ct = write_series(tmp_path / "ct", phantom(0), "CT")
    mr = write_series(tmp_path / "mr", phantom(1), "MR")
    short = write_series(tmp_path / "short", phantom(1)[kept], "MR", depths=depths[kept])
    options = {"window": [(0, 800), (0, 700)], "output_range": "network"}
    with pytest.raises(PictureError, match=r"differ in size \(20 x 24 x 10 and 20 x 24 x 7 voxels\)"):
        fuse(ct, short, **options)
    notes, fused = fuse(ct, short, resize="b", **options)
    assert notes[0].startswith("ct was resampled linearly into the grid of short")
    np.testing.assert_array_equal(fused, fuse(ct, mr, **options)[1][kept])
