"""Load files written by torch.save without running code that they may contain."""

import pickle
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is a sentence for the user."""


def load_plain(path: Path) -> Any:
    """Load a file of tensors and plain values.

    Raises:
        CheckpointError: the file does not exist, is damaged, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path.name}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # The restricted unpickler raises any of these on bytes that are not a pickle.
    except (
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,
    ) as error:
        # The unpickler's own message suggests loading the file unsafely, so it is not shown.
        raise CheckpointError(
            f"{path.name} is damaged, or holds something other than tensors and plain values; it was not loaded."
        ) from error
