"""Read arrays of NumPy from files."""

from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np

NPY = np.lib.format.MAGIC_PREFIX
"""Start of a .npy file."""


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array in a .npy file.

    Raises:
        ValueError: the header is damaged, or of a version for structured arrays.
    """
    file.seek(0)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its version {version[0]}.{version[1]} is for structured arrays")
    try:
        shape, _, dtype = readers[version](file)
    except TokenError as error:
        raise ValueError("its header is damaged") from error
    return shape, dtype


def read_npy(file: BinaryIO) -> np.ndarray:
    """Return the array in a .npy file, which is never unpickled.

    Raises:
        ValueError: the file is damaged or holds Python objects.
    """
    file.seek(0)
    array: np.ndarray = np.load(file, allow_pickle=False)
    return array
