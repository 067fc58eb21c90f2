"""Files that are no images, or of kinds that are not read: each is called by its name, with something to do."""

import gzip
import io
import pickle
import struct
import zipfile

import imagecodecs
import numpy as np
import pytest
from PIL import Image, features

from refusion.images import PictureError, read_picture
from refusion.images.failures import READ_NAMES
from refusion.images.volume import VOLUME_SUFFIXES


def saved(kind, **options):
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, a=np.zeros((16, 16)))
    return file.getvalue()


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("readme.txt", "nothing")
    return file.getvalue()


NIFTI = struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(2000)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
FILES = {
    "an LFS pointer": (LFS, "a Git LFS pointer and not the image itself. Fetch the image with: git lfs pull"),
    "a web page": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", r"a web page \(HTML\)"),
    "a web page in capitals": (b"\xef\xbb\xbf<HTML lang='en'>", r"a web page \(HTML\)"),
    "an answer of a server": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        r"a text file \(XML or JSON\)",
    ),
    "JSON": (b'{"message": "Not Found"}', r"a text file \(XML or JSON\)"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing. Export it as PNG"),
    "NIfTI": (
        NIFTI,
        "a NIfTI volume; volumes are fused in pairs, by refusion fuse A B -o OUT.nii.gz, or refusion.fuse_v",
    ),
    "a NIfTI pair": (
        NIFTI[:344] + b"ni1\0" + bytes(200),
        r"the header of a volume in two files \(Analyze or NIfTI, .hdr and .img\). Convert it to .nii.gz",
    ),
    "packed NIfTI": (gzip.compress(NIFTI), r"a NIfTI volume \(compressed with gzip\)"),
    "gzip": (gzip.compress(b"something else"), "a gzip file. Unpack it"),
    "npz": (npz(), r"an archive of NumPy arrays \(.npz\)"),
    "ZIP": (archive(), "a ZIP archive. Unpack it"),
    "MP4": (b"\0\0\0\x20ftypisom" + bytes(100), "a video"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100), "a MATLAB file"),
    "FITS": (b"SIMPLE  =                    T" + bytes(100), "a FITS file"),
    "NRRD": (b"NRRD0005\ntype: short\n", "an NRRD volume; volumes are fused in pairs"),
    "MetaImage": (b"ObjectType = Image\nNDims = 3\n", "a MetaImage volume; volumes are fused in pairs"),
    "PDF": (b"%PDF-1.7\n" + bytes(100), "a PDF document"),
    "PFM in colour": (b"PF\n16 16\n-1.0\n" + bytes(3072), "a Netpbm image of the kind PAM or PFM in colour"),
    "PAM": (b"P7\nWIDTH 16\nHEIGHT 16\nDEPTH 1\nMAXVAL 255\nENDHDR\n" + bytes(256), "a Netpbm image"),
    "Targa": (saved("TGA"), "a Targa image"),
    "packed Targa": (saved("TGA", compression="tga_rle"), "a Targa image"),
    "icon": (saved("ICO"), "an icon"),
    "PCX": (saved("PCX"), "a PCX image"),
    "SGI": (saved("SGI"), "an SGI image"),
    "DDS": (saved("DDS"), "a DDS texture"),
    "PostScript": (saved("EPS"), "a PostScript document"),
    "a pickle": (pickle.dumps([1, 2, 3]), "a pickled Python object"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "an archive. Unpack it"),
    "AppleDouble": (b"\0\x05\x16\x07\0\2\0\0Mac OS X" + bytes(100), "AppleDouble"),
    "zeros": (bytes(4096), "filled with zeros: it was not copied or downloaded completely"),
    "text": ("Überall ist etwas\n".encode() * 60, "a text file and not an image"),
    "UTF-16": ("not an image at all".encode("utf-16"), "a text file and not an image"),
    "base64": (b"data:image/png;base64,iVBORw0KGgo" + b"A" * 700, "a text file and not an image"),
    "JSON on lines": (b'[\n  {"message": "Not Found"}\n]', r"a text file \(XML or JSON\)"),
    "a web page with a comment": (b"<!-- saved --><html>", r"a web page \(HTML\)"),
    "OpenEXR": (b"v/1\x01\x02\0\0\0" + bytes(100), "an OpenEXR image"),
}


@pytest.mark.parametrize("kind", FILES)
def test_it_is_called_by_its_name(tmp_path, kind):
    content, words = FILES[kind]
    (tmp_path / "scene.png").write_bytes(content)
    for source in (tmp_path / "scene.png", io.BytesIO(content)):
        with pytest.raises(PictureError, match=words) as caught:
            read_picture(source)
        assert str(caught.value).endswith(f"; {READ_NAMES} can be read.")


@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
@pytest.mark.parametrize("content", [gzip.compress(b"cut")[:12], np.random.default_rng(0).bytes(2000)])
def test_a_damaged_volume_is_one_by_its_name(tmp_path, suffix, content):
    path = tmp_path / f"pet{suffix}"
    path.write_bytes(content)
    kind = "NIfTI" if "nii" in suffix else "NRRD" if "nrrd" in suffix or "nhdr" in suffix else "MetaImage"
    words = rf"^pet{suffix} is by its name .*{kind} volume.*, but damaged or something else; volumes are fused in pairs"
    with pytest.raises(PictureError, match=words):
        read_picture(path)


def test_an_image_is_read_by_its_content_though_its_name_is_that_of_a_volume(tmp_path):
    (tmp_path / "pet.nii.gz").write_bytes(saved("PNG"))
    assert read_picture(tmp_path / "pet.nii.gz").size == (16, 16)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_what_is_read_is_none_of_these(kind):
    assert read_picture(io.BytesIO(saved(kind))).size == (16, 16)


@pytest.mark.parametrize(
    ("encode", "words"),
    [
        (lambda values: imagecodecs.jpeg8_encode(values, bitspersample=12), "a JPEG of 12 bits"),
        (lambda values: imagecodecs.ljpeg_encode(values, bitspersample=12), "a lossless JPEG"),
        (imagecodecs.jpegls_encode, "a JPEG-LS image"),
    ],
)
def test_an_unusual_jpeg_is_called_by_its_name(tmp_path, encode, words):
    path = tmp_path / "scan.jpg"
    path.write_bytes(encode(np.arange(256, dtype=np.uint16).reshape(16, 16)))
    with pytest.raises(PictureError, match=f"scan.jpg is {words}, which is not supported; save it as PNG or TIFF"):
        read_picture(path)


def of_noise(kind, side, **options):
    """An image that hardly compresses, as a file."""
    noise = Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8))
    file = io.BytesIO()
    if kind == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif")
        try:
            pillow_heif.from_pillow(noise).save(file, **options)
        except (RuntimeError, OSError) as error:
            pytest.skip(f"this pillow-heif writes no HEIC: {error}")
    else:
        if kind == "AVIF" and not features.check("avif"):
            pytest.skip("this Pillow has no AVIF")
        noise.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("side", [24, 160], ids=["half of it", "one block"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {"lossless": True}), ("WEBP", {}), ("AVIF", {}), ("HEIC", {}), ("JPEG", {"quality": 95}), ("PNG", {})],
)
def test_zeros_of_an_interrupted_copy_are_refused(kind, options, side):
    content = of_noise(kind, side, **options)
    count = min(4096, 2 * len(content) // 3)
    with pytest.raises(PictureError, match=r"ends in zeros: it was not copied|damaged, truncated|header is damaged"):
        read_picture(io.BytesIO(content[:-count] + bytes(count)))


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("AVIF", {}), ("PNG", {}), ("JPEG", {})])
def test_zeros_after_the_end_and_black_images_are_read(kind, options):
    content = of_noise(kind, 160, **options)
    padded = read_picture(io.BytesIO(content + bytes(8192)))
    np.testing.assert_array_equal(padded.luminance, read_picture(io.BytesIO(content)).luminance)
    black = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(black, kind, **options)
    assert not read_picture(black).luminance.any()


def test_zeros_at_the_end_of_metadata_are_read():
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(20_000)
    content = of_noise("WEBP", 160, exif=exif)
    assert content.endswith(bytes(8192))
    assert read_picture(io.BytesIO(content)).size == (160, 160)
