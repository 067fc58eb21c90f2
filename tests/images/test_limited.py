"""Forged headers that would take minutes or gigabytes: they are refused, or their tags are left out, before that."""

import io
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.dicom import dicom
from support.pictures import COLOUR, sentence

from refusion.images import PictureError, read_picture
from refusion.images.gif import has_several_frames
from refusion.images.limited import LimitedFile, check_before_opening, check_exif

SHARED = 30_000_000
"""Bytes that all tags of a forged EXIF block or TIFF share; 500 copies of them would take 15 GB."""

MOST_MEMORY = 1_500_000
"""Kilobytes; torch is not imported."""


def test_a_file_is_read_without_limit_once_it_is_released():
    file = LimitedFile(io.BytesIO(bytes(100)), "a.png", reads=3)
    for _ in range(3):
        assert file.read(1) == b"\0"
    with pytest.raises(PictureError, match="too many parts"):
        file.read(1)
    file.release()
    assert len(file.read()) == 96


@pytest.mark.parametrize("kind", ["comment", "comments", "fill", "segments", "chunks", "last chunks", "remark"])
def test_headers_of_many_parts_are_refused(tmp_path, kind):
    (tmp_path / "a.img").write_bytes(_many_parts(kind, 400_000))
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "a.img")
    sentence(caught, "a.img", "too many parts", "save it again")


@pytest.mark.parametrize("kind", ["comment", "segments", "chunks", "last chunks"])
def test_headers_of_some_parts_are_read(tmp_path, kind):
    (tmp_path / "a.img").write_bytes(_many_parts(kind, 300))
    assert read_picture(tmp_path / "a.img").size == (24, 16)


def test_a_png_of_small_chunks_of_pixels_is_read(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (1600, 1500, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(levels).save(png, "PNG")
    start, packed = png.getvalue()[:33], zlib.compress(b"".join(b"\0" + row.tobytes() for row in levels), 0)
    parts = (_chunk(b"IDAT", packed[place : place + 600]) for place in range(0, len(packed), 600))
    (tmp_path / "a.png").write_bytes(start + b"".join(parts) + _chunk(b"IEND", b""))
    assert read_picture(tmp_path / "a.png").size == (1500, 1600)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_tiff_of_too_many_strips_is_refused(tmp_path, bits):
    entries = [(256, 24), (257, 16), (258, bits), (259, 1), (262, 1), (277, 1), (278, 1)]
    for count in (16, 20_000, 400_000):
        directory = struct.pack("<4sIH", b"II*\0", 8, 9)
        places, counts = ((tag, 4, count, 122 + 24 * 16) for tag in (273, 279))
        given = sorted([*((tag, 4, 1, value) for tag, value in entries), places, counts])
        pixels = bytes(24 * 16) + struct.pack("<I", 24) * count
        (tmp_path / "a.tif").write_bytes(
            directory + b"".join(struct.pack("<HHII", *entry) for entry in given) + bytes(4) + pixels
        )
        if count < 100_000:
            assert read_picture(tmp_path / "a.tif").size == (24, 16)
            continue
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / "a.tif")
        sentence(caught, "a.tif has 400,000 strips or tiles", "24 x 16 pixels", "at most 100,000", "larger ones")


def test_a_tall_tiff_with_one_row_per_strip_is_read(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (20_000, 8), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", levels, rowsperstrip=1)
    assert np.array_equal(np.rint(read_picture(tmp_path / "a.tif").luminance * 255), levels)


def test_a_large_gif_is_read(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (1200, 1500), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.gif")
    assert np.array_equal(np.rint(read_picture(tmp_path / "a.gif").luminance * 255), levels)


@pytest.mark.parametrize("options", [{"comment": b"c" * 20_000}, {"loop": 0, "duration": 40}, {"disposal": 2}])
@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_second_frame_of_a_gif_is_found(tmp_path, options, mode):
    frames = [Image.fromarray(np.roll(COLOUR, shift, axis=1)).convert(mode) for shift in (0, 5, 9)]
    frames[0].save(tmp_path / "one.gif", **options)
    frames[0].save(tmp_path / "three.gif", save_all=True, append_images=frames[1:], **options)
    assert read_picture(tmp_path / "one.gif").size == (24, 16)
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "three.gif")
    sentence(caught, "three.gif holds several frames", "save each frame")


@pytest.mark.parametrize("frames", [1, 2])
def test_frames_of_a_gif_may_have_colours_of_their_own(tmp_path, frames):
    """The colour table follows the description of the frame instead of the header."""
    gif = _encoded("GIF")
    size = 3 << (gif[10] & 7) + 1
    start, table, rest = gif[:13], gif[13 : 13 + size], gif[13 + size : -1]
    at = rest.index(b"\x2c")
    image = rest[at : at + 9] + bytes([rest[at + 9] | 0x80 | gif[10] & 7]) + table + rest[at + 10 :]
    content = start[:10] + bytes([gif[10] & 0x7F]) + start[11:] + rest[:at] + image * frames + b";"
    (tmp_path / "a.gif").write_bytes(content)
    if frames == 1:
        assert read_picture(tmp_path / "a.gif").size == (24, 16)
    else:
        with pytest.raises(PictureError, match="holds several frames"):
            read_picture(tmp_path / "a.gif")


def test_a_gif_that_ends_anywhere_has_no_second_frame_after_that():
    first, second = (Image.fromarray(np.roll(COLOUR, shift, axis=1)).convert("P") for shift in (0, 5))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second])
    found = [has_several_frames(io.BytesIO(file.getvalue()[:end]), "a.gif") for end in range(13, len(file.getvalue()))]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (False, True)


@pytest.mark.parametrize("count", [1_000, 400_000])
def test_what_follows_the_frame_of_a_gif_may_have_some_parts(tmp_path, count):
    content = _encoded("GIF")[:-1] + b"\x21\xfe" + b"\1c" * count + b"\0;"
    (tmp_path / "a.gif").write_bytes(content)
    if count < 5_000:
        assert read_picture(tmp_path / "a.gif").size == (24, 16)
    else:
        with pytest.raises(PictureError, match="too many parts"):
            read_picture(tmp_path / "a.gif")


@pytest.mark.parametrize("nested", [False, True])
def test_dicom_files_of_many_elements_are_refused(tmp_path, nested):
    pytest.importorskip("pydicom")
    start = bytes(128) + b"DICM" + b"\2\0\x10\0UI\x14\0" + b"1.2.840.10008.1.2.1\0"
    if nested:
        parts = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 300_000
        parts += b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        parts = b"".join(struct.pack("<HH", 9 + 2 * (i >> 16), i & 0xFFFF) + b"LO\0\0" for i in range(300_000))
    image = dicom(tmp_path / "image.dcm", np.zeros((16, 24), np.uint8)).read_bytes()
    (tmp_path / "a.dcm").write_bytes(start + parts + image[image.index(b"\x28\0\x02\0US") :])
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "a.dcm")
    sentence(caught, "a.dcm")


@pytest.mark.parametrize("kind", ["elements", "items"])
def test_deflated_dicom_files_of_many_elements_are_refused(tmp_path, kind):
    pytest.importorskip("pydicom")
    image = dicom(tmp_path / "image.dcm", np.zeros((16, 24), np.uint8), syntax="1.2.840.10008.1.2.1.99").read_bytes()
    place = image.index(b"1.2.840.10008.1.2.1.99") + 22
    parts = b"\x09\0\x01\0LO\0\0" * 300_000
    if kind == "items":
        parts = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 300_000
        parts += b"\xfe\xff\xdd\xe0\0\0\0\0"
    packed = zlib.compressobj(wbits=-15)
    (tmp_path / "a.dcm").write_bytes(image[:place] + packed.compress(parts) + packed.flush())
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "a.dcm")
    assert "without an image" not in str(caught.value)  # As it is called once all of its elements are read.
    sentence(caught, "a.dcm")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
@pytest.mark.parametrize("nested", [False, True])
def test_sequences_of_dicom_files_may_have_some_items(tmp_path, nested, syntax):
    for count in (1_000, 200_000):
        image = dicom(tmp_path / "a.dcm", np.zeros((16, 24), np.uint8), syntax=syntax).read_bytes()
        content = b"\xfe\xff\x00\xe0\0\0\0\0" * count
        if nested:
            inner = _element(b"\x28\0\x32\x91", b"SQ\0\0", content, syntax)
            content = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
            content += b"\xfe\xff\xdd\xe0\0\0\0\0"
        groups = _element(b"\x00\x52\x29\x92", b"SQ\0\0", content, syntax, is_endless=nested)
        place = image.index(b"\xe0\x7f\x10\0")
        (tmp_path / "a.dcm").write_bytes(image[:place] + groups + image[place:])
        if count == 1_000:
            assert read_picture(tmp_path / "a.dcm").size == (24, 16)
            continue
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / "a.dcm")
        sentence(caught, "a.dcm", "too many parts")


@pytest.mark.parametrize("tag", [b"\x08\0\x08\0", b"\x28\0\x08\0", b"\x28\0\x50\x10"])
def test_lists_of_dicom_files_may_have_some_values(tmp_path, tag):
    for count in (20, 200_000):
        syntax = "1.2.840.10008.1.2"
        image = dicom(tmp_path / "a.dcm", np.zeros((16, 24), np.uint8), syntax=syntax, WindowWidth=99).read_bytes()
        place = image.index(b"\x28\0\x51\x10") if tag[2:3] == b"\x50" else image.index(b"\x08\0\x16\0")
        values = b"1 " if tag == b"\x28\0\x08\0" and count == 20 else b"1\\" * count
        (tmp_path / "a.dcm").write_bytes(image[:place] + _element(tag, b"", values, syntax) + image[place:])
        if count == 20:
            assert read_picture(tmp_path / "a.dcm").size == (24, 16)
            continue
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / "a.dcm")
        sentence(caught, "a.dcm", "too many parts")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_exif_data_whose_tags_share_bytes_are_refused(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(_with_exif(suffix, _forged_tiff(500, SHARED // 10)))
    done = _read_alone(tmp_path / f"a{suffix}")
    assert "share bytes" in done


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["eXIf", "zTXt"])
def test_exif_data_behind_the_pixels_of_a_png_are_checked_too(tmp_path, kind, deep):
    if kind == "eXIf":
        chunk = _chunk(b"eXIf", _forged_tiff(500, SHARED // 10))
    else:
        text = b"\n\n\n" + _forged_tiff(10_000, 300_000).hex().encode()
        chunk = _chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    if deep:
        cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 65536, (16, 24, 3), dtype=np.uint16))
        png = (tmp_path / "a.png").read_bytes()
    else:
        png = _encoded("PNG")
    (tmp_path / "a.png").write_bytes(png)
    assert "(24, 16)" in _read_alone(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png[:-12] + chunk + png[-12:])
    assert "share bytes" in _read_alone(tmp_path / "a.png")


BEFORE_EXIF = {
    "nothing": b"",
    "other bytes": b"\1\2",
    "fill byte": b"\xff",
    "marker without a length": b"\xff\xd0",
    "other segment": b"\xff\xe5\0\4ab",
    "segment of length 0": b"\xff\xe5\0\0",
}


@pytest.mark.parametrize("part", [100, 65000])
@pytest.mark.parametrize("before", BEFORE_EXIF)
def test_exif_data_of_a_jpeg_are_checked_wherever_they_are(before, part):
    for exif in (_forged_exif("<"), _harmless(26_000)):
        jpeg = _with_exif(".jpg", exif, part)
        file = io.BytesIO(jpeg[:2] + BEFORE_EXIF[before] + jpeg[2:])
        with pytest.raises(PictureError, match="share bytes") if exif == _forged_exif("<") else nullcontext():
            check_before_opening(file, jpeg[:12], "a.jpg")


def test_what_only_looks_like_exif_data_of_a_jpeg_is_not_checked(tmp_path):
    """After the pixels, in a segment of another kind, or damaged."""
    forged, jpeg = _with_exif(".jpg", _forged_tiff(500, 3_000)), _encoded("JPEG")
    segment = forged[2 : 4 + int.from_bytes(forged[4:6], "big")]
    for content in (
        jpeg + segment,
        jpeg[:2] + segment.replace(b"\xff\xe1", b"\xff\xe6", 1) + jpeg[2:],
        _encoded("JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40),
    ):
        (tmp_path / "a.jpg").write_bytes(content)
        assert read_picture(tmp_path / "a.jpg").size == (24, 16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", 2 * b"Exif\0\0"])
@pytest.mark.parametrize("nested", [False, True])
def test_tags_that_share_bytes_are_found(order, prefix, nested):
    exif = _forged_exif(order, nested=nested)
    with pytest.raises(PictureError, match="share bytes"):
        check_exif(prefix + exif, "a.png")
    check_exif(prefix + exif[:200], "a.png")


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_data_of_an_avif_are_checked_behind_what_looks_like_them(order):
    file = io.BytesIO(b"\0\0\0\x10ftypavif\0\0\0\0" + b"II*\0 MM\0* " + _forged_exif(order))
    with pytest.raises(PictureError, match="share bytes"):
        check_before_opening(file, file.getvalue()[:12], "a.avif")
    harmless = io.BytesIO(b"\0\0\0\x10ftypavif\0\0\0\0" + _harmless(100))
    check_before_opening(harmless, harmless.getvalue()[:12], "a.avif")
    assert harmless.tell() == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_exif_data_that_imagemagick_writes_as_text_are_checked(tmp_path, damaged):
    exif = _forged_exif("<")
    text = f"\nexif\n    {len(exif)}\n" + ("no hex" if damaged else exif.hex())
    chunk = _chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text.encode()))
    (tmp_path / "a.png").write_bytes(_png(chunk))
    if damaged:
        assert read_picture(tmp_path / "a.png").size == (24, 16)
    else:
        with pytest.raises(PictureError, match="share bytes"):
            read_picture(tmp_path / "a.png")


def test_one_large_block_of_a_header_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(_chunk(b"eXIf", _harmless(3_000_000))))
    assert read_picture(tmp_path / "a.png").size == (24, 16)


def test_tags_of_a_tiff_that_share_bytes_are_left_out(tmp_path):
    (tmp_path / "a.tif").write_bytes(_forged_tiff(500, SHARED))
    assert "(24, 16)" in _read_alone(tmp_path / "a.tif")


def _read_alone(path) -> str:
    """What a process says that reads a file with little memory.

    Its peak is not taken from `resource.getrusage`, which counts the memory of the process that started it.
    """
    program = (
        "import sys\nfrom pathlib import Path\nfrom refusion.images import PictureError, read_picture\n"
        "try:\n    print(read_picture(sys.argv[1]).size)\nexcept PictureError as error:\n    print(error)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    limit = 8 << 30  # If it fails, it must not take the machine with it.
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr[-300:]
    *said, peak = done.stdout.splitlines()
    assert int(peak) < MOST_MEMORY
    return " ".join(said)


def _element(tag: bytes, kind: bytes, content: bytes, syntax: str, *, is_endless: bool = False) -> bytes:
    """A DICOM element; its type is written only if the syntax is explicit."""
    length = 0xFFFFFFFF if is_endless else len(content)
    return tag + (kind if syntax.endswith(".2.1") else b"") + struct.pack("<I", length) + content


def _forged_tiff(tags: int, shared: int) -> bytes:
    """A TIFF of 24 x 16 pixels, which is EXIF data too, and whose other tags all point to the same bytes."""
    count = 9 + tags
    data = 8 + 2 + 12 * count + 4
    own = [(256, 24), (257, 16), (258, 8), (259, 1), (262, 1), (273, data), (277, 1), (278, 16), (279, 24 * 16)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in own]
    entries += [struct.pack("<HHII", 40000 + index, 7, shared, data) for index in range(tags)]
    return (
        struct.pack("<4sIH", b"II*\0", 8, count)
        + b"".join(entries)
        + bytes(4)
        + bytes(range(256)) * (shared // 256 + 1)
    )


def _forged_exif(order: str, *, nested: bool = False) -> bytes:
    """EXIF data of 500 tags that share 20,000 bytes, in the first directory or in the one of the camera."""
    at = 8 + 2 + 12 + 4 if nested else 8
    first = struct.pack(f"{order}HHHIII", 1, 0x8769, 4, 1, at, 0) if nested else b""
    data = at + 2 + 500 * 12 + 4
    entries = (struct.pack(f"{order}HHII", 40_000 + index, 7, 20_000, data) for index in range(500))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = magic + struct.pack(f"{order}I", 8) + first + struct.pack(f"{order}H", 500)
    return start + b"".join(entries) + bytes(4) + bytes(20_000)


def _encoded(image: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, image, **options)
    return file.getvalue()


def _with_exif(suffix: str, exif: bytes, part: int = 65000) -> bytes:
    if suffix == ".png":
        return _png(_chunk(b"eXIf", exif))
    if suffix == ".webp":
        return _encoded("WEBP", exif=exif)
    if suffix == ".avif":
        # Pillow goes through the tags itself when it writes them.
        return _encoded("AVIF", exif=_harmless(len(exif))).replace(_harmless(len(exif)), exif)
    jpeg = _encoded("JPEG")
    jpeg = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]  # Without JFIF: the density is then read from EXIF.
    parts = [exif[start : start + part] for start in range(0, len(exif), part)]
    segments = (b"\xff\xe1" + struct.pack(">H", len(one) + 8) + b"Exif\0\0" + one for one in parts)
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def _harmless(length: int) -> bytes:
    """EXIF data of a length without tags."""
    return (b"II*\0" + struct.pack("<IHI", 8, 0, 0)).ljust(length, b"\x07")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(extra: bytes) -> bytes:
    png = _encoded("PNG")
    return png[:33] + extra + png[33:]


def _many_parts(kind: str, count: int) -> bytes:
    gif = _encoded("GIF")
    after_header = gif.index(b"\x2c", 13 + 3 * 2 ** ((gif[10] & 7) + 1))
    jpeg = _encoded("JPEG")
    header = {
        "comment": gif[:after_header] + b"\x21\xfe" + b"\1c" * count + b"\0" + gif[after_header:],
        "comments": gif[:after_header] + b"\x21\xfe\1c\0" * count + gif[after_header:],
        "fill": jpeg[:2] + b"\xff" * count + jpeg[2:],
        "segments": jpeg[:2] + b"\xff\xe5\0\2" * count + jpeg[2:],
        "last chunks": _encoded("PNG")[:-12] + _chunk(b"abCd", b"") * count + _chunk(b"IEND", b""),
        "chunks": _png(_chunk(b"abCd", b"") * count),
        "remark": b"P5\n#" + b"\xe4" * count + b"\n24 16\n255\n" + np.zeros(24 * 16, np.uint8).tobytes(),
    }
    return header[kind]
