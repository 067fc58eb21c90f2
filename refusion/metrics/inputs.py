"""Check and convert the input images of metrics."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refusion.images.colour import LUMINANCE
from refusion.images.sources import SupportsArray
from refusion.metrics.conventions import Conventions, get_conventions
from refusion.metrics.grey import GREY_LEVELS, UNIT_RANGE, grey_levels, range_problem

ImageLike: TypeAlias = Tensor | np.ndarray | Image.Image | SupportsArray
"""Arrays and tensors (H, W) or (N, 1, H, W), Pillow images, and what `plain_image` converts, such as a fused image."""

_BYTES = (np.uint8, np.int8, torch.uint8, torch.int8)

_BITS = {"nearest": torch.round, "down": torch.floor}


def read_images(
    conventions: Conventions | str, data_range: float = GREY_LEVELS, *, min_size: int = 1, **given: ImageLike
) -> list[Tensor]:
    """Return images as float64 tensors (N, 1, H, W) of grey levels 0 to 255.

    Args:
        conventions: how they are rounded.
        data_range: the value of white in arrays and tensors; 255, or 1 for values in 0 to 1. not used for
            Pillow and fused images of 8 bits.
        min_size: shortest side that the metric accepts, in pixels.
        given: the images by their name in messages.

    Raises:
        ValueError: the images differ in size or kind, are not images, too small, or not within 0 to `data_range`; or
            they are floats of 0 to 1 where grey levels are expected.
    """
    conventions = get_conventions(conventions)
    plain = {name: plain_image(image) for name, image in given.items()}
    arrays = {name: to_array(image, name) for name, image in plain.items()}
    text = "; ".join(_describe(name, given[name], image) for name, image in arrays.items())
    shape = _common_shape(text, arrays, min_size)
    images = []
    for name, image in arrays.items():
        range_here = GREY_LEVELS if isinstance(plain[name], Image.Image) and image.dtype == np.uint8 else data_range
        if range_here > GREY_LEVELS and image.dtype in _BYTES:
            raise ValueError(f"{text}: {name} has 8 bits, so its white is 255, not {range_here:g}; give one depth.")
        images.append(_rounded(text, name, _tensor(image).reshape(shape), range_here, conventions))
    return images


def _common_shape(text: str, arrays: Mapping[str, Tensor | np.ndarray], min_size: int) -> tuple[int, ...]:
    """Check that the images are luminance, alike and large enough, and return their shape as (N, 1, H, W).

    Raises:
        ValueError: they are not; `text` describes them.
    """
    if not all(_is_real(image) for image in arrays.values()):
        raise ValueError(f"{text}: images must be real NumPy arrays, torch tensors or Pillow images.")
    shapes = [tuple(image.shape) for image in arrays.values()]
    shapes = [(1, 1, *shape) if len(shape) == 2 else shape for shape in shapes]
    if any(len(shape) != 4 or shape[1] != 1 or 0 in shape for shape in shapes):
        raise ValueError(f"{text}: images must be luminance of shape (H, W) or (N, 1, H, W), not empty.")
    if len(set(shapes)) > 1:
        raise ValueError(f"{text}: sources and fused image must have the same shape.")
    if len({_kind(image) for image in arrays.values()}) > 1:
        raise ValueError(
            f"{text}: give all of them as arrays or all as tensors on one device, and all as integers or all as floats."
        )
    if min(shapes[0][-2:]) < min_size:
        raise ValueError(f"{text}: this metric needs at least {min_size} x {min_size} pixels.")
    return shapes[0]


def _tensor(image: Tensor | np.ndarray) -> Tensor:
    if isinstance(image, np.ndarray):
        return torch.from_numpy(np.array(image, dtype=np.float64))
    return image.to(torch.float64)


def _rounded(text: str, name: str, image: Tensor, data_range: float, conventions: Conventions) -> Tensor:
    """Grey levels of an image, rounded as the conventions say; only without rounding is there a gradient."""
    if conventions.rounding != "none":
        image = image.detach()
    _check_range(text, name, image, data_range)
    if data_range != GREY_LEVELS:
        image = image * (GREY_LEVELS / data_range)
    return image if conventions.rounding == "none" else _BITS[conventions.rounding](image)


def plain_image(image: Any) -> Any:
    """Convert another object with ``__array__``, such as a fused image; anything else is returned unchanged.

    Returns:
        A Pillow image for uint8 (H, W) or with channels last; the BT.601 luminance (H, W) for RGB of more bits; else an
        array.
    """
    if isinstance(image, Tensor | np.ndarray | Image.Image | str) or not hasattr(image, "__array__"):
        return image
    array = np.asarray(image)
    if array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))):
        return Image.fromarray(array)
    if array.dtype.kind == "u" and array.ndim == 3 and array.shape[2] == 3:
        return np.rint(array @ LUMINANCE).astype(array.dtype)
    return array


def to_array(image: Tensor | np.ndarray | Image.Image, name: str) -> Tensor | np.ndarray:
    """Convert a Pillow image to an array (H, W), as `grey_levels` does; anything else is returned unchanged.

    Raises:
        ValueError: the image has transparent pixels, whose luminance depends on the background.
    """
    return grey_levels(image, name) if isinstance(image, Image.Image) else image


def _check_range(text: str, name: str, image: Tensor, data_range: float) -> None:
    low, high = (bound.item() for bound in image.detach().aminmax())
    whole = high >= UNIT_RANGE or torch.equal(image, image.round())
    if problem := range_problem(low, high, whole, data_range):
        raise ValueError(f"{text}: {name} {problem}")


def _describe(name: str, given: object, image: object) -> str:
    if not isinstance(image, Tensor | np.ndarray):
        return f"{name} is a {type(image).__name__}"
    if isinstance(image, Tensor):
        kind = f"{image.device} tensor"
    elif isinstance(given, np.ndarray):
        kind = "numpy array"
    else:
        kind = "Pillow image" if isinstance(given, Image.Image) else type(given).__name__
    return f"{name} is a {image.dtype} {kind} of shape {tuple(image.shape)}"


def _kind(image: Tensor | np.ndarray) -> tuple[object, ...]:
    """Properties that must be equal for all images: array or tensor, integer or float, device."""
    if isinstance(image, Tensor):
        return "tensor", image.is_floating_point(), image.device
    return "array", image.dtype.kind == "f"


def _is_real(image: object) -> bool:
    if isinstance(image, Tensor):
        return image.dtype != torch.bool and not image.is_complex()
    return isinstance(image, np.ndarray) and image.dtype.kind in "uif"
