"""What an image can be given as, besides files, Pillow images and arrays: bytes, tensors, addresses, channels first."""

import io
import sys
import urllib.request
from typing import Any, Protocol

import numpy as np

from refusion.images.picture import PictureError

MAX_DOWNLOAD = 500_000_000
"""Most bytes of an image that is downloaded."""

_TIMEOUT = 30
"""Seconds without an answer after which a download is given up."""


class SupportsArray(Protocol):
    """A tensor, without torch."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as a NumPy array."""


def plain_source(source: Any, *, channels_first: bool = False, urls: bool = False) -> Any:
    """Turn what is given into a path, an open file, a Pillow image or an array with the channels last.

    Args:
        source: bytes of an image file; a tensor, (H, W), (C, H, W) or (1, C, H, W); an address; anything else is
            returned as it is.
        channels_first: whether arrays, too, are (C, H, W) or (1, C, H, W).
        urls: download what is at an address that begins with http:// or https://.

    Raises:
        PictureError: an address, where `urls` is not given, or what is there cannot be had; or several images at once.
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
            raise PictureError(f"{source} is an address, and nothing is downloaded unless asked for: give urls=True.")
        return _download(source)
    return source


def is_tensor(source: Any) -> bool:
    """Whether this is a tensor of torch; torch is not imported for it."""
    torch = sys.modules.get("torch")
    # Another thread may just be importing it.
    return torch is not None and hasattr(torch, "Tensor") and isinstance(source, torch.Tensor)


def _channels_last(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 4:
        raise PictureError(
            f"{what} of the shape {array.shape} holds {len(array)} images, but one is fused with one: give both "
            "batches to fuse_many, as in fuse_many(zip(a, b))."
        )
    if array.ndim == 2:
        return array
    if array.ndim != 3 or array.shape[0] not in (1, 3, 4):
        raise PictureError(
            f"{what} is an image in the shape (H, W), (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels, but "
            f"{array.shape} was given."
        )
    return np.moveaxis(array, 0, -1)


def _open(name: str, content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file


def _download(address: str) -> io.BytesIO:
    """Read an address over HTTP; a redirection leads to no other protocol."""
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
