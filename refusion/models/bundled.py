"""The bundled models on a CPU without torch, which takes seconds to import."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from refusion.hub.checksums import read_verified
from refusion.hub.folder import CONFIG, WEIGHTS
from refusion.hub.names import ORGANISATION, bare_name, bundled_folder
from refusion.inference.engines.onnx_tiles import OnnxNetwork
from refusion.tasks import Engine, Task, get_task


@dataclass(frozen=True, eq=False)
class BundledModel:
    """A bundled model, ready to fuse luminance on the CPU.

    Attributes:
        name: its bare name.
        task: the task that it is for.
        network: the fusion module in ONNX Runtime.
    """

    name: str
    task: Task
    network: OnnxNetwork

    def fuse_luminances(
        self, a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, engine: Engine | None = None
    ) -> list[np.ndarray]:
        """See `refusion.inference.network.Network`; the engine is ``onnx``."""
        if engine not in (None, "onnx"):
            raise ValueError(f"The engine {engine} needs torch; load {self.name} with ReFusion.from_pretrained.")
        return [self.network.fuse(*map(np.ascontiguousarray, pair)) for pair in zip(a, b, strict=True)]


def is_bundled(name: str | Path) -> bool:
    """Whether this is the bare name of weights that came with the package, and is served from there."""
    return isinstance(name, str) and not os.environ.get(ORGANISATION) and _folder(name) is not None


def load_bundled(name: str) -> BundledModel:
    """Load a bundled model.

    Args:
        name: a bare name for which `is_bundled` holds.

    Raises:
        ModelError: a file was changed since it was published.
        KeyError: there is none of this name.
    """
    config, weights = _files(name)
    return BundledModel(name, get_task(json.loads(config)["task"]), _network(config, weights))


def bundled_weights(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The configuration and the state dict of a bundled model, see `load_bundled`."""
    return _parsed(*_files(name))


def _files(name: str) -> tuple[bytes, bytes]:
    """Configuration and weights as they are stored."""
    folder = _folder(name)
    if folder is None:
        raise KeyError(name)
    return read_verified(folder / CONFIG), read_verified(folder / WEIGHTS)


def _parsed(config: bytes, weights: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors.numpy import load

    return json.loads(config), load(weights)


@lru_cache(maxsize=4)
def _network(config: bytes, weights: bytes) -> OnnxNetwork:
    """Made once for the same files, however often a function of the package names the model."""
    parsed, state = _parsed(config, weights)
    return OnnxNetwork(state, parsed["padding_mode"], parsed["window"])


def _folder(name: str) -> Path | None:
    folder = bundled_folder(name)
    return folder if folder is not None and bare_name(folder) == name else None
