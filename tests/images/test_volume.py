"""Files of volumes that are damaged, of another kind, or dangerous."""

import gzip
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from support.scenes import ROOT
from support.volumes import nifti, phantom, read, sitk, write

from refusion.images import PictureError
from refusion.images.grid import Grid
from refusion.images.volume import MAX_VOXELS, open_volume, write_volume

DAMAGED = "is damaged, or was not copied completely; copy or export it again"


def read_all(path, max_voxels=MAX_VOXELS):
    return open_volume(path, path.name, max_voxels).read().values


def test_all_formats_give_the_stored_values(tmp_path):
    values = phantom(1) - np.int16(300)
    for suffix in (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".NII.GZ"):
        for packed in (False, True):
            path = write(tmp_path / f"{packed}x{suffix.lower()}", values, packed=packed)
            path = path.rename(tmp_path / f"{packed}x{suffix}")
            np.testing.assert_array_equal(read_all(path), values)
    nifti = bytearray((tmp_path / "Falsex.nii").read_bytes())
    struct.pack_into("<ff", nifti, 112, 0.5, -1000)
    (tmp_path / "x.nii").write_bytes(nifti)
    np.testing.assert_allclose(read_all(tmp_path / "x.nii"), values * 0.5 - 1000)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_cut_or_changed_file_is_one_sentence(tmp_path, capfd, suffix, packed):
    path = write(tmp_path / f"x{suffix}", phantom(1), packed=packed)
    content = path.read_bytes()
    cut = [content[:length] for length in (100, 300, len(content) // 2, len(content) - 9)]
    changed = bytearray(content)
    changed[len(content) // 2] ^= 0xFF
    for bad in [*cut, *([bytes(changed)] if packed and suffix != ".nii" else [])]:
        path.write_bytes(bad)
        with pytest.raises(PictureError, match=DAMAGED):
            read_all(path)
    path.write_bytes(b"")
    with pytest.raises(PictureError, match=r"is an empty file; give a volume"):
        read_all(path)
    path.write_bytes(b"<!doctype html><html><body>log in</body></html>" * 20)
    with pytest.raises(PictureError, match=r"is a web page \(HTML\) and not a volume"):
        read_all(path)
    assert capfd.readouterr().err == ""


def test_a_colon_does_not_hide_where_the_values_are(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    (tmp_path / "other.raw").write_bytes(b"\xff" * 9**3)
    header = "ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_UCHAR\n"
    ends = "ElementDataFile: ../other.raw\nElementDataFile = LOCAL\n"
    (folder / "x.mha").write_bytes(f"{header}{ends}".encode() + bytes(9**3))
    with pytest.raises(PictureError, match="in several files or in another folder"):
        read_all(folder / "x.mha")


def test_a_list_of_one_value_is_read(tmp_path):
    """3D Slicer gives segmentations an axis for the list of their layers."""
    path, values = tmp_path / "x.nrrd", phantom(1)
    fields = "NRRD0004\ntype: int16\ndimension: 4\nspace: left-posterior-superior\nsizes: 1 20 24 10\nendian: little\n"
    fields += "space directions: none (1,0,0) (0,1,0) (0,0,2)\nkinds: list domain domain domain\nencoding: raw\n\n"
    path.write_bytes(fields.encode() + values.astype("<i2").tobytes())
    np.testing.assert_array_equal(read_all(path), values)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("order", "<>")
def test_a_nifti_file_in_either_byte_order_keeps_its_values_and_its_missing_ones(tmp_path, order, kind, packed):
    """ITK reads 0 where a value is not finite."""
    values = phantom(1).astype(kind)
    if kind is not np.int16:
        values[3, 4, 5], values[9, 0, 7], values[2, 2, 2] = np.nan, np.inf, -1.5
    path = tmp_path / ("x.nii.gz" if packed else "x.nii")
    path.write_bytes(gzip.compress(nifti(values, order)) if packed else nifti(values, order))
    opened = open_volume(path, path.name)
    assert (opened.grid.spacing, opened.grid.origin, opened.notes) == ((1, 1, 2.5), (3, 4, 5), ())
    np.testing.assert_array_equal(opened.read().values, np.where(np.isfinite(values), values, np.nan))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_nifti_2_is_refused_by_its_name(tmp_path, packed):
    content = struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(3000)
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(PictureError, match=r"x\.nii\.gz is a NIfTI-2 file, but only NIfTI-1 is read; convert it"):
        open_volume(path, path.name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(PictureError, match=r"There is no file gone\.nii"):
        read_all(tmp_path / "gone.nii")
    with pytest.raises(PictureError, match=r"x\.png is not a volume that can be read; give \.nii\.gz"):
        read_all(tmp_path / "x.png")


def test_what_is_not_one_volume_of_numbers_is_refused(tmp_path, capfd):
    for image, suffixes, words in (
        (sitk.Image([9, 9], sitk.sitkInt16), (".nii", ".mha"), "is a single slice, but a volume has three"),
        (sitk.Image([9, 9, 9, 2], sitk.sitkInt16), (".nii", ".mha"), "has 4 dimensions: it holds several volumes"),
        (sitk.Image([9, 9, 9], sitk.sitkVectorUInt8, 3), (".nii", ".nrrd", ".mha"), "has 3 values for each voxel"),
        (sitk.Image([9, 9, 9], sitk.sitkComplexFloat32), (".nii",), "has 2 values for each|of the type complex"),
    ):
        for suffix in suffixes:
            path = tmp_path / f"x{suffix}"
            sitk.WriteImage(image, str(path))
            with pytest.raises(PictureError, match=words):
                read_all(path)
    assert capfd.readouterr().err == ""


def test_a_bad_header_neither_crashes_nor_allocates(tmp_path, capfd):
    """ITK itself crashes on some of these."""
    path = tmp_path / "x.mha"
    write(path, phantom(1))
    content = path.read_bytes()
    for old, new, words in (
        (b"NDims = 3", b"NDims = 100", DAMAGED),
        (b"NDims = 3", b"NDims = -3", DAMAGED),
        (b"NDims = 3", b"NDims = 3\nNDims = 100", DAMAGED),
        (b"DimSize = 20 24 10", b"DimSize = 20 24 -10", "at most"),
        (b"DimSize = 20 24 10", b"DimSize = 20000 24000 10000", "at most 536,870,912 in total"),
        (b"DimSize = 20 24 10", b"DimSize = 20 24 0", DAMAGED),
        (b"ElementSpacing = 1 1", b"ElementSpacing = 0 1", DAMAGED),
        (b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1 0 0 0 0", "axes of x.mha are not at right angles"),
        (b"CompressedData = False", b"CompressedData = True", DAMAGED),
        (b"CompressedData = False", b"CompressedData = True\nCompressedDataSize = 90000000000", DAMAGED),
        (b"LOCAL", b"/etc/passwd", "in several files or in another folder"),
        (b"LOCAL", b"LIST", "in several files or in another folder"),
        (b"LOCAL", b"y.raw", "in a file of its own, which is not beside it"),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(PictureError, match=words):
            read_all(path)
    nrrd = tmp_path / "x.nrrd"
    fields = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 8 8\nencoding: raw\n"
    for line, words in ((b"data file: ../y.raw", "in another folder"), (b"x" * 5000, DAMAGED)):
        nrrd.write_bytes(fields + line + b"\n\n")
        with pytest.raises(PictureError, match=words):
            read_all(nrrd)
    sheared = tmp_path / "x.nii"
    nifti = bytearray(write(sheared, phantom(1)).read_bytes())
    struct.pack_into("<hh", nifti, 252, 0, 1)
    struct.pack_into("<12f", nifti, 280, 1, 0.3, 0, 0, 0, 1, 0, 0, 0, 0, 2.5, 0)
    sheared.write_bytes(nifti)
    with pytest.raises(PictureError, match=r"axes of x\.nii are not at right angles"):
        read_all(sheared)
    assert capfd.readouterr().err == ""


def test_the_sform_of_a_nifti_file_is_preferred(tmp_path):
    """Registration often stores its result in the sform alone, which ITK does not use."""
    path = write(tmp_path / "x.nii", phantom(1), spacing=(2, 2, 3), origin=(5, 6, 7))
    nifti, placed = bytearray(path.read_bytes()), open_volume(path, "x").grid
    struct.pack_into("<hh", nifti, 252, 1, 2)
    for units, scale, rows in (
        (2, 1, (-2, 0, 0, -5, 0, -2, 0, -6, 0, 0, 3, 7)),
        (2, 1, (-2, 0, 0, -5, 0, 0, 3, -6, 0, 2, 0, 17)),
        (1, 1000, (-2, 0, 0, -5, 0, 0, 3, -6, 0, 2, 0, 17)),
        (3, 0.001, (-2, 0, 0, -5, 0, 0, 3, -6, 0, 2, 0, 17)),
        (1 | 8, 1000, (-2, 0, 0, -5, 0, 0, 3, -6, 0, 2, 0, 17)),  # The other bits are the unit of time.
        (2, 1, (0,) * 12),
    ):
        nifti[123] = units
        struct.pack_into("<12f", nifti, 280, *(number / scale for number in rows))
        path.write_bytes(nifti)
        opened = open_volume(path, "x.nii")
        if rows[6] != 3:
            assert (opened.grid, opened.notes) == (placed, ())
            continue
        np.testing.assert_allclose(opened.grid.spacing, (2, 2, 3), rtol=1e-6)
        np.testing.assert_allclose(opened.grid.origin, (5, 6, 17), rtol=1e-6)
        np.testing.assert_allclose(opened.grid.direction, (1, 0, 0, 0, 0, -1, 0, 1, 0), atol=1e-6)
        np.testing.assert_allclose(opened.read().image.GetOrigin(), (5, 6, 17), rtol=1e-6)
        assert opened.notes[0].startswith("The header of x.nii gives two positions, qform and sform, which are up to ")
    struct.pack_into("<12f", nifti, 280, 2, 1, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0)
    path.write_bytes(nifti)
    with pytest.raises(PictureError, match=r"axes of x\.nii are not at right angles"):
        open_volume(path, "x.nii")


def test_bombs_are_refused_in_little_memory(tmp_path):
    plain = write(tmp_path / "x.nii", phantom(1)).read_bytes()
    zeros = bytes(1 << 24)
    huge = bytearray(plain)
    struct.pack_into("<3h", huge, 42, 30000, 30000, 30000)
    far = bytearray(plain)
    struct.pack_into("<f", far, 108, 1e9)
    bombs = {"huge": (huge, 0), "far": (far, 8), "long": (bytearray(plain), 12)}
    for name, (start, count) in bombs.items():
        with gzip.open(tmp_path / f"{name}.nii.gz", "wb", compresslevel=1) as file:
            file.write(start)
            for _ in range(count):
                file.write(zeros)
    header = write(tmp_path / "x.mha", phantom(1), packed=True).read_bytes().split(b"LOCAL\n")[0] + b"LOCAL\n"
    packed = zlib.compress(zeros * 8)
    size = header.index(b"CompressedDataSize = ") + len(b"CompressedDataSize = ")
    end = header.index(b"\n", size)
    (tmp_path / "packed.mha").write_bytes(header[:size] + str(len(packed)).encode() + header[end:] + packed)
    program = """
import resource, sys
from pathlib import Path
from refusion.images.volume import import_simpleitk, open_volume
import_simpleitk()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (120 << 20),) * 2)
for path in map(Path, sys.argv[1:]):
    try:
        print(path.name, open_volume(path, path.name).read().values.size)
    except ValueError as error:
        print(error)
"""
    files = [tmp_path / name for name in ("huge.nii.gz", "far.nii.gz", "long.nii.gz", "packed.mha")]
    done = subprocess.run([sys.executable, "-c", program, *files], cwd=ROOT, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert (len(said), done.stderr) == (4, "")
    assert "at most 536,870,912" in said[0]
    assert said[1:] == [f"far.nii.gz {DAMAGED}.", "long.nii.gz 4800", f"packed.mha {DAMAGED}."]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix, capfd):
    values = np.random.default_rng(0).integers(0, 60000, (20, 64, 64)).astype(np.uint16)
    grid = Grid((64, 64, 20), (1, 1, 2), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    target = tmp_path / f"x{suffix}"
    target.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(PictureError, match=rf"x\{suffix} cannot be written completely: the disk may be full"):
            write_volume(target, values, grid)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"old"
    write_volume(target, values, grid)
    np.testing.assert_array_equal(read(target), values)
    assert capfd.readouterr().err == ""
