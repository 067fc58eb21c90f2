"""Run the bundled models on a CPU without torch, whose import takes seconds."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from refusion.hub.checksums import read_verified
from refusion.hub.folder import CONFIG, WEIGHTS, check_training_weights
from refusion.hub.names import ORGANISATION, bare_name, bundled_folder
from refusion.inference.engines.bfloat16 import HalfNetwork
from refusion.inference.engines.onnx_tiles import OnnxNetwork
from refusion.tasks import Engine, Task, get_task


@dataclass(frozen=True, eq=False)
class BundledModel:
    """A bundled model, ready to fuse luminance on the CPU.

    Attributes:
        name: bare name of the model.
        task: task of the model.
        network: the fusion module in ONNX Runtime.
    """

    name: str
    task: Task
    network: OnnxNetwork

    def fuse_luminances(
        self, a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, engine: Engine | None = None
    ) -> list[np.ndarray]:
        """See `refusion.inference.network.Network`; the engine is ``onnx`` or ``half``."""
        if engine not in (None, "onnx", "half"):
            raise ValueError(f"The engine {engine} needs torch; load {self.name} with ReFusion.from_pretrained.")
        network = _half_network(*_files(self.name)) if engine == "half" else self.network
        return [network.fuse(*map(np.ascontiguousarray, pair)) for pair in zip(a, b, strict=True)]


def is_bundled(name: str | Path) -> bool:
    """Whether this is the bare name of a model that is loaded from the package, not from the Hub."""
    return isinstance(name, str) and not os.environ.get(ORGANISATION) and _folder(name) is not None


def load_bundled(name: str) -> BundledModel:
    """Load a bundled model.

    Args:
        name: a bare name for which `is_bundled` holds.

    Raises:
        ModelError: a file does not match its checksum.
        KeyError: there is no bundled model of this name.
    """
    config, weights = _files(name)
    return BundledModel(name, get_task(json.loads(config)["task"]), _network(config, weights))


def bundled_weights(name: str, file: str = WEIGHTS) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the configuration of a bundled model and the state dict of one of its modules, see `load_bundled`.

    Args:
        name: see `load_bundled`.
        file: name of the file with the weights of the module.
    """
    return _parsed(*_files(name, file))


def _files(name: str, file: str = WEIGHTS) -> tuple[bytes, bytes]:
    """Contents of the files of configuration and weights."""
    folder = _folder(name)
    if folder is None:
        raise KeyError(name)
    if file != WEIGHTS:
        check_training_weights(folder)
    return read_verified(folder / CONFIG), read_verified(folder / file)


def _parsed(config: bytes, weights: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors.numpy import load

    return json.loads(config), load(weights)


@lru_cache(maxsize=4)
def _network(config: bytes, weights: bytes) -> OnnxNetwork:
    """Cached, so that repeated calls with one model build its graph only once."""
    parsed, state = _parsed(config, weights)
    return OnnxNetwork(state, parsed["padding_mode"], parsed["window"])


@lru_cache(maxsize=4)
def _half_network(config: bytes, weights: bytes) -> HalfNetwork:
    """Likewise."""
    parsed, state = _parsed(config, weights)
    return HalfNetwork(state, parsed["padding_mode"], parsed["window"])


def _folder(name: str) -> Path | None:
    folder = bundled_folder(name)
    return folder if folder is not None and bare_name(folder) == name else None
