"""Reading files that torch.save wrote, without running any code that they may hold."""

import pickle
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is a sentence for people."""


def load_plain(path: Path) -> Any:
    """Load tensors and plain values.

    Raises:
        CheckpointError: there is no such file, or it is damaged, or it holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path.name}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # On bytes that are no pickle, the restricted unpickler stumbles in any of these ways.
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
        # The unpickler's own text advises to load the file unsafely, so it is not passed on.
        raise CheckpointError(
            f"{path.name} is damaged, or holds something else than tensors and plain values; it was not loaded."
        ) from error
