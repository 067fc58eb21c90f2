"""Read HEIC images with pillow-heif (the extra ``heic``)."""

from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from refusion.images.failures import decoding
from refusion.images.given import Given, image_picture, with_metadata
from refusion.images.picture import Picture, PictureError
from refusion.images.pillow import of_array
from refusion.system.advice import Advised


def is_heic(start: bytes) -> bool:
    """Whether a file starts like HEIC (ISO/IEC 23008-12)."""
    if start[4:8] != b"ftyp":
        return False
    # mif1 and msf1 are brands of HEIC and AVIF alike, which then name themselves among the compatible ones.
    if start[8:12] in (b"mif1", b"msf1"):
        return b"avif" not in start[16 : int.from_bytes(start[:4], "big")]
    return start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc")


def heic_picture(file: BinaryIO, given: Given) -> Picture:
    """Read the primary image of a HEIC file.

    Raises:
        PictureError: pillow-heif is missing, or the file is too large or damaged.
    """
    name = given.name
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError(
            Advised(
                f"{name} is a HEIC image, which needs one more package",
                'install it with pip install "refusion[heic]"',
                "save it as JPEG or PNG",
            )
        ) from error
    with decoding(name):
        heif = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
        # The size is in the header, so it is checked before anything is decoded.
        given.check_size(heif.size)
        count = len(heif)
        notes = () if count == 1 else (f"{name} holds {count} images; the primary one was read.",)
        if not heif.mode.endswith(";16"):
            picture = image_picture(heif.to_pillow(), given)
            return replace(picture, notes=(*picture.notes, *notes))
        values, bits = np.asarray(heif), int(heif.info.get("bit_depth", 10))
    # pillow-heif puts 10 and 12 bits in the upper bits of 16, and has already applied the orientation.
    top = (2**bits - 1) << 16 - bits
    stored = replace(of_array(np.minimum(values, top), True, top), notes=notes)
    facts = Image.new("RGB", (1, 1))
    facts.info = {key: heif.info[key] for key in ("icc_profile", "exif") if heif.info.get(key)}
    return with_metadata(given.scaled(stored), facts)
