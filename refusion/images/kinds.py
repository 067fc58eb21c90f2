"""Recognize files that are not images, or images of unsupported formats, to name them in the error message."""

import zlib
from collections.abc import Callable, Collection

from refusion.images.failures import READ_NAMES
from refusion.images.picture import PictureError
from refusion.system.advice import Advised

START = 600
"""Number of bytes at the start of a file that are checked."""

_MIN_BYTES = 16
"""Number of bytes from which a file counts as text or as zeros."""

_VIDEO = "a video"
_AS_ARRAY = "Load it with {} and give the slice or image you want as an array, or save that as PNG or TIFF"
_SAVE = "Save it as PNG or TIFF"
_SLICE = "Save the slice you want as 16-bit PNG or TIFF"
_IN_PAIRS = "volumes are fused in pairs, by refusion fuse A B -o OUT.nii.gz, or refusion.fuse_volumes in Python"
_GZIP = "a gzip file"
_NAMED_VOLUMES = {
    ".nii.gz": "a NIfTI volume (compressed with gzip)",
    ".nii": "a NIfTI volume",
    ".nrrd": "an NRRD volume",
    ".nhdr": "the header of an NRRD volume",
    ".mha": "a MetaImage volume",
    ".mhd": "the header of a MetaImage volume",
}


def refuse_by_name(start: bytes, name: str) -> None:
    """Reject a file of a known unsupported kind.

    Args:
        start: the first `START` bytes of the file, or all if there are fewer.
        name: used in the message.

    Raises:
        PictureError: the file is of such a kind; the message names the kind and says what to do.
    """
    kind, advice = next(((kind, advice) for kind, advice, is_it in _KINDS if is_it(start)), ("", ""))
    if kind == _GZIP:
        refuse_named_volume(name)
    if advice == _SLICE:
        raise _volume_given(name, kind)
    if kind:
        raise PictureError(f"{name} is {kind}. {advice}; {READ_NAMES} can be read.")


def refuse_named_volume(name: str) -> None:
    """Reject a file of no kind that can be read if its name is that of a volume.

    Raises:
        PictureError: it is.
    """
    if kind := next((kind for suffix, kind in _NAMED_VOLUMES.items() if name.lower().endswith(suffix)), None):
        raise _volume_given(name, f"by its name {kind}, but damaged or something else")


def _volume_given(name: str, what: str) -> PictureError:
    return PictureError(
        Advised(
            f"{name} is {what}",
            f"{_IN_PAIRS}; {READ_NAMES} can be read",
            f"{_SLICE[0].lower()}{_SLICE[1:]}; {READ_NAMES} can be read",
            "this demo fuses images: save the slice you want as 16-bit PNG or TIFF, or fuse the volumes with "
            "`refusion fuse` on a machine of your own",
        )
    )


def refuse_as_video(start: bytes, name: str) -> None:
    """Reject a file that is no video, as `refuse_by_name` does for images.

    Raises:
        PictureError: the file is empty, or of a known kind other than a video.
    """
    _refuse_as("video", {_VIDEO}, start, name)


def refuse_as_volume(start: bytes, name: str) -> None:
    """Reject a file that is no volume, as `refuse_by_name` does for images.

    Raises:
        PictureError: the file is empty, or of a known kind other than a volume.
    """
    volumes = {kind for kind, advice, _ in _KINDS if advice == _SLICE}
    _refuse_as("volume", {*volumes, _GZIP}, start, name)


def _refuse_as(wanted: str, own: Collection[str], start: bytes, name: str) -> None:
    if not start:
        raise PictureError(f"{name} is an empty file; give a {wanted}.")
    kind, advice = next(((kind, advice) for kind, advice, is_it in _KINDS if is_it(start)), ("", ""))
    if kind and kind not in own:
        told = f"{kind}. {advice}".replace("not an image", f"not a {wanted}").replace("the image", f"the {wanted}")
        raise PictureError(f"{name} is {told}.")


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(starts)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """Whether an ISO base media file has one of these brands."""
    return lambda start: start[4:8] == b"ftyp" and start[8:12] in brands


def _text(*words: bytes) -> Callable[[bytes], bool]:
    """Whether a text starts with one of these words, ignoring case."""
    return lambda start: start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(words)


def _is_nifti(start: bytes) -> bool:
    return start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"


def _is_packed_nifti(start: bytes) -> bool:
    if not start.startswith(b"\x1f\x8b"):
        return False
    try:
        return _is_nifti(zlib.decompressobj(wbits=31).decompress(start, 400))
    except zlib.error:
        return False


def _is_svg(start: bytes) -> bool:
    return _text(b"<svg", b"<?xml", b"<!--")(start) and b"<svg" in start.lower()


def _is_targa(start: bytes) -> bool:
    # There is no magic number: no identification field, kind of colour map and image, bits of a pixel, flags.
    return (
        start[:1] == b"\0"
        and start[128:132] != b"DICM"
        and len(start) > 18
        and start[1] in (0, 1)
        and start[2] in (1, 2, 3, 9, 10, 11)
        and start[16] in (8, 15, 16, 24, 32)
        and not start[17] & 0xC0
    )


def _is_text(start: bytes) -> bool:
    """Whether the start of a file is readable text, in UTF-8 or UTF-16, and not the numbers of a Netpbm image."""
    if start[:2] in (b"P1", b"P2", b"P3") and start[2:3].isspace() and start[3:].lstrip()[:1] in b"#0123456789":
        return False
    for code in ("utf-8", "utf-16") if start[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8",):
        try:
            text = start[: len(start) // 2 * 2].decode(code)
        except UnicodeDecodeError as error:
            # The last character may be cut.
            if error.start < len(start) - 4:
                continue
            text = start[: error.start].decode(code)
        if len(text) >= _MIN_BYTES // 2 and all(sign.isprintable() or sign in "\t\r\n\f" for sign in text):
            return True
    return False


_KINDS: tuple[tuple[str, str, Callable[[bytes], bool]], ...] = (
    (
        "a Git LFS pointer and not the image itself",
        "Fetch the image with: git lfs pull",
        _begins(b"version https://git-lfs", b"version https://hawser"),
    ),
    ("an SVG drawing", "Export it as PNG", _is_svg),
    (
        "a web page (HTML) and not an image: the download may need a login, or the image was moved",
        "Download it again",
        _text(b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"),
    ),
    ("a text file (XML or JSON) and not an image", "Open it: it may be a server's error", _text(b"<?xml", b"{", b"[")),
    (
        _VIDEO,
        "Give two videos to refusion fuse, or save the frame you want as PNG",
        lambda start: (
            _brand(b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ")(start)
            or start.startswith((b"\x1a\x45\xdf\xa3", b"OggS"))
            or (start.startswith(b"RIFF") and start[8:12] == b"AVI ")
        ),
    ),
    ("a NIfTI volume", _SLICE, _is_nifti),
    ("a NIfTI volume (compressed with gzip)", _SLICE, _is_packed_nifti),
    (
        "an archive of NumPy arrays (.npz)",
        _AS_ARRAY.format("numpy.load"),
        lambda start: start.startswith(b"PK\x03\x04") and b".npy" in start,
    ),
    ("a ZIP archive", "Unpack it", _begins(b"PK\x03\x04", b"PK\x05\x06")),
    (_GZIP, "Unpack it", _begins(b"\x1f\x8b")),
    ("an HDF5 file (also of MATLAB 7.3 and netCDF 4)", _AS_ARRAY.format("h5py"), _begins(b"\x89HDF\r\n\x1a\n")),
    ("a MATLAB file", _AS_ARRAY.format("scipy.io.loadmat"), _begins(b"MATLAB 5.0 MAT-file")),
    ("a netCDF file", _AS_ARRAY.format("netCDF4 or scipy"), _begins(b"CDF\x01", b"CDF\x02", b"CDF\x05")),
    ("a FITS file", _AS_ARRAY.format("astropy"), _begins(b"SIMPLE  =")),
    ("an NRRD volume", _SLICE, _begins(b"NRRD000")),
    ("a MetaImage volume", _SLICE, _begins(b"ObjectType = Image", b"ObjectType=Image")),
    ("a FLIR recording (FFF or SEQ)", "Export the frame you want as 16-bit TIFF", _begins(b"FFF\0", b"AFF\0")),
    ("an OpenEXR image, which is not supported", "Save it as float TIFF", _begins(b"v/1\x01")),
    ("a Radiance HDR image, which is not supported", "Save it as float TIFF", _begins(b"#?RADIANCE", b"#?RGBE")),
    ("a Photoshop document", "Export it as PNG or TIFF", _begins(b"8BPS")),
    ("a PDF document", "Export the page or image you want as PNG", _begins(b"%PDF-")),
    (
        "a Netpbm image of the kind PAM or PFM in colour, which is not supported",
        _SAVE,
        lambda start: start[:1] == b"P" and start[1:2] in b"7F" and start[2:3] in b" \t\r\n" and len(start) > 8,
    ),
    ("a Targa image (TGA), which is not supported", _SAVE, _is_targa),
    ("an icon (ICO or ICNS), which is not supported", "Export it as PNG", _begins(b"\0\0\x01\0", b"icns")),
    ("a JPEG XR image, which is not supported", _SAVE, _begins(b"II\xbc\x01", b"II\xbc\0")),
    ("a QOI image, which is not supported", _SAVE, _begins(b"qoif")),
    ("a DDS texture, which is not supported", _SAVE, _begins(b"DDS ")),
    ("a PCX image, which is not supported", _SAVE, _begins(b"\x0a\x05\x01\x08", b"\x0a\x05\x01\x01")),
    ("an SGI image, which is not supported", _SAVE, _begins(b"\x01\xda\0\x01", b"\x01\xda\x01\x01")),
    ("a Sun raster image, which is not supported", _SAVE, _begins(b"\x59\xa6\x6a\x95")),
    ("a DPX image, which is not supported", "Save it as 16-bit TIFF", _begins(b"SDPX", b"XPDS")),
    ("a GIMP document", "Export it as PNG or TIFF", _begins(b"gimp xcf")),
    ("a PostScript document", "Export the page or image you want as PNG", _begins(b"%!PS")),
    ("a Zeiss microscope file (CZI)", "Export the image you want as TIFF", _begins(b"ZISRAWFILE")),
    ("an MRC map", _AS_ARRAY.format("mrcfile"), lambda start: start[208:211] == b"MAP"),
    (
        "the header of a volume in two files (Analyze or NIfTI, .hdr and .img)",
        "Convert it to .nii.gz",
        lambda start: len(start) >= 344 and start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"),
    ),
    (
        "a pickled Python object",
        "Save the array in it as PNG or TIFF",
        _begins(*(bytes((128, n)) for n in range(2, 6))),
    ),
    ("a Parquet file", "Give it to refusion fuse-dataset, or save its images as files", _begins(b"PAR1")),
    (
        "an archive",
        "Unpack it",
        lambda start: (
            start.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"))
            or start[257:262] == b"ustar"
        ),
    ),
    (
        "what macOS keeps beside a file on other disks (AppleDouble), and not an image",
        "Give the file without ._ in its name",
        _begins(b"\0\x05\x16\x07"),
    ),
    (
        "filled with zeros: it was not copied or downloaded completely",
        "Copy it again",
        lambda start: len(start) >= _MIN_BYTES and not any(start),
    ),
    ("a text file and not an image", "Open it to see what it says", _is_text),
)
