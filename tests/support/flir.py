"""Radiometric JPEGs as FLIR cameras write them."""

import io
import struct

import numpy as np
from PIL import Image

R1, R2, B, F, O = 21106.77, 0.012545258, 1501.0, 1.0, -7340  # noqa: E741 (the names of Planck's constants in the files)


def camera_record() -> bytes:
    record = bytearray(1024)
    for place, values in {
        32: (1.0, 0.0, 293.15, 293.15, 293.15, 1.0),  # emissivity, distance, three temperatures, window
        60: (0.5,),
        88: (R1, B, F),
        112: (0.006569, 0.01262, -0.002276, -0.00667, 1.9),
    }.items():
        struct.pack_into(f"<{len(values)}f", record, place, *values)
    struct.pack_into("<if", record, 776, O, R2)
    return bytes(record)


def fff(raw: np.ndarray, pixels: bytes, size: tuple[int, int] | None = None) -> bytes:
    """The data of a file: a header of 64 bytes, a directory of eight entries, and two records."""
    width, height = size or raw.shape[::-1]
    raw_record = struct.pack("<3H", 2, width, height).ljust(32, b"\0") + pixels
    camera = camera_record()
    start = 64 + 8 * 32
    entries = b""
    for kind, offset, content in ((1, start, raw_record), (32, start + len(raw_record), camera)):
        entries += struct.pack(">HHIIIIIII", kind, 2, 100, 1, offset, len(content), 0, 0, 0)
    header = b"FFF\0" + b"CAMCTRL".ljust(16, b"\0") + struct.pack(">III", 100, 64, 8)
    return header.ljust(64, b"\0") + entries.ljust(8 * 32, b"\0") + raw_record + camera


def radiometric(data: bytes, shown: np.ndarray, chunk: int = 5000) -> bytes:
    """A JPEG of the image that is shown, with the data in segments behind its first marker."""
    stored = io.BytesIO()
    Image.fromarray(shown).save(stored, "JPEG", quality=95)
    parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(part) + 10) + b"FLIR\0\x01" + bytes([number, len(parts) - 1]) + part
        for number, part in enumerate(parts)
    )
    return stored.getvalue()[:2] + segments + stored.getvalue()[2:]
