"""Convert other kinds of sources to files and arrays: bytes, tensors, URLs, arrays with channels first."""

import io
import sys
import urllib.request
from typing import Any, Protocol

import numpy as np

from refusion.images.picture import PictureError

MAX_DOWNLOAD = 500_000_000
"""Maximum size of a downloaded image, in bytes."""

_TIMEOUT = 30
"""Timeout of a download without an answer, in seconds."""


class SupportsArray(Protocol):
    """An object that NumPy can convert to an array, such as a tensor; defined without importing torch."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the object as a NumPy array."""


def plain_source(source: Any, *, channels_first: bool = False, urls: bool = False) -> Any:
    """Convert a source to a path, an open file, a Pillow image or an array with channels last.

    Args:
        source: bytes of an image file; a tensor, (H, W), (C, H, W) or (1, C, H, W); a URL; anything else is returned
            unchanged.
        channels_first: whether arrays are (C, H, W) or (1, C, H, W) too.
        urls: download the image if the source is an http:// or https:// URL.

    Raises:
        PictureError: a URL was given without `urls` or cannot be downloaded; or a batch of several images was given.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _open("The file in memory", bytes(source))
    if is_tensor(source):
        tensor = source.detach().cpu()
        # NumPy has no bfloat16.
        return _channels_last((tensor.float() if tensor.is_floating_point() else tensor).numpy(), "A tensor")
    if channels_first and isinstance(source, np.ndarray):
        return _channels_last(source, "An array with channels first")
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        if not urls:
            raise PictureError(f"{source} is a URL, and nothing is downloaded by default; give urls=True to allow it.")
        return _download(source)
    return source


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
        reason = getattr(error, "reason", None) or error
        raise PictureError(f"{address} cannot be downloaded: {reason}.") from error
    if len(content) > MAX_DOWNLOAD:
        raise PictureError(f"{address} is larger than {MAX_DOWNLOAD // 1_000_000} MB; download it and give the file.")
    return _open(address.partition("?")[0].rstrip("/").rpartition("/")[2] or address, content)
