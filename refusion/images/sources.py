"""Convert other kinds of sources to files and arrays: bytes, tensors, URLs, arrays with channels first."""

import io
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from PIL import Image

from refusion.images.failures import reason
from refusion.images.picture import Picture, PictureError

MAX_DOWNLOAD = 500_000_000
"""Maximum size of a downloaded image, in bytes."""

_TIMEOUT = 30
"""Timeout of a download without an answer, in seconds."""


class SupportsArray(Protocol):
    """An object that NumPy can convert to an array, such as a tensor; defined without importing torch."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the object as a NumPy array."""


@dataclass(frozen=True)
class TiffImage:
    """One image of a TIFF file with several, which can be read like a file.

    Attributes:
        path: the file.
        index: which of its images, from 0; overviews, thumbnails and masks do not count.
    """

    path: Path
    index: int

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.path.name}, frame {self.index + 1}"


PictureSource: TypeAlias = (
    str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray | SupportsArray | TiffImage | Picture
)
"""Types that an image can be read from."""


def plain_source(source: Any, *, channels_first: bool = False, urls: bool = False) -> Any:
    """Convert a source to a path, an open file, a Pillow image or an array with channels last.

    Args:
        source: bytes of an image file; a tensor, (H, W), (C, H, W) or (1, C, H, W); a URL; anything else is returned
            unchanged.
        channels_first: whether arrays are (C, H, W) or (1, C, H, W) too.
        urls: download the image if the source is an http:// or https:// URL.

    Raises:
        PictureError: a URL was given without `urls` or cannot be downloaded; a batch of several images was given; or a
            tensor has no values that can be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _open("The file in memory", bytes(source))
    if is_tensor(source):
        return _channels_last(as_array(source), "A tensor")
    if channels_first and isinstance(source, np.ndarray):
        return _channels_last(source, "An array with channels first")
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        if not urls:
            raise PictureError(f"{source} is a URL, and nothing is downloaded by default; give urls=True to allow it.")
        return _download(source)
    return source


def as_array(source: Any) -> np.ndarray:
    """Convert a tensor, or another object that NumPy can convert, to an array.

    Raises:
        PictureError: it cannot be converted, as sparse tensors and those on the device meta.
    """
    try:
        if not is_tensor(source):
            return np.asarray(source)
        tensor = source.detach().cpu()
        # NumPy has no bfloat16.
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise PictureError(
            f"The {type(source).__name__} that was given cannot be read as an image ({reason(error)}); give a dense "
            "array or tensor that holds its values."
        ) from error


def is_tensor(source: Any) -> bool:
    """Whether this is a tensor of torch, without importing torch."""
    torch = sys.modules.get("torch")
    # Another thread may be importing it right now.
    return torch is not None and hasattr(torch, "Tensor") and isinstance(source, torch.Tensor)


def _channels_last(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 4:
        raise PictureError(
            f"{what} of the shape {array.shape} holds {len(array)} images, but a single image is needed: give both "
            "batches to fuse_many, as in fuse_many(zip(a, b))."
        )
    if array.ndim == 2:
        return array
    if array.ndim != 3 or array.shape[0] not in (1, 3, 4):
        raise PictureError(
            f"{what} must have the shape (H, W), (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels, but "
            f"{array.shape} was given."
        )
    return np.moveaxis(array, 0, -1)


def _open(name: str, content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file


def _download(address: str) -> io.BytesIO:
    """Download a URL over HTTP or HTTPS; redirects to other protocols are not followed."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    try:
        with opener.open(urllib.request.Request(address, headers={"User-Agent": "refusion"}), timeout=_TIMEOUT) as got:
            content = got.read(MAX_DOWNLOAD + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise PictureError(f"{address} cannot be downloaded: {cause}.") from error
    if len(content) > MAX_DOWNLOAD:
        raise PictureError(f"{address} is larger than {MAX_DOWNLOAD // 1_000_000} MB; download it and give the file.")
    return _open(address.partition("?")[0].rstrip("/").rpartition("/")[2] or address, content)
