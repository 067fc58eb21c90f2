"""Suffixes of images, by which folders are searched; how a file is read depends on its content."""

from pathlib import Path

SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".tif", ".tiff", ".bmp", ".dib", ".webp",
        ".avif", ".heic", ".heif", ".hif", ".dcm", ".dicom", ".ima", ".gif", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx",
        ".jxl", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm",
    }
)  # fmt: skip
"""Suffixes of images that can be read, in lower case."""

OTHER_IMAGES = frozenset(
    {
        ".npy", ".npz", ".svg", ".psd", ".pdf", ".exr", ".hdr", ".tga", ".ico", ".nii", ".nrrd", ".nhdr",
        ".mha", ".mhd", ".fits", ".fit", ".mat", ".seq", ".fff",
        ".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".rwl", ".pef",
        ".srw", ".x3f", ".3fr", ".iiq", ".mrw", ".erf", ".kdc", ".dcr",
    }
)  # fmt: skip
"""Suffixes of arrays, of camera raw files, and of images that cannot be read. They are matched too (so that the error
message names their format), but not beside an image of the same name: cameras save a raw file with the JPEG, and
programs an array."""


def is_read(file: Path) -> bool:
    """Whether the suffix is that of an image that can be read, or the file is DICOM, which often has no suffix."""
    return file.suffix.lower() in SUFFIXES or _is_dicom(file)


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False
