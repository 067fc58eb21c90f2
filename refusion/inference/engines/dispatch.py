"""Choose an engine and run the network."""

import threading
from collections.abc import Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from refusion.inference.engines.bfloat16 import HalfNetwork
from refusion.inference.engines.memory import check_memory, enough_memory
from refusion.inference.engines.onnx_tiles import OnnxNetwork
from refusion.inference.engines.parts import fuse_in_parts, reach
from refusion.inference.engines.strips import bytes_held, fuse_in_strips
from refusion.modules.fusion import FusionModule, check_sources
from refusion.modules.windows import CELLS
from refusion.system.devices import free_memory, full_float32
from refusion.tasks import Engine, check_choice

MIN_PART, MAX_PART = 64, 1024
"""Minimum and maximum rows of a part, without its halo."""

_HALF = (torch.float16, torch.bfloat16)

WHOLE_MAPS = 13
"""Peak memory of `FusionModule.forward`, in hidden maps of its decoder's width (measured with the defaults)."""


def choose_engine(module: FusionModule, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Engine:
    """Choose the default engine.

    On a CPU this is ONNX Runtime in float32, which was the fastest (docs/performance.md), except for float64. On other
    devices it is ``whole``, which processes the image or batch at once and so keeps the device busy, or ``strips`` if
    that would take more than half of the free memory.

    Args:
        module: the fusion module.
        shape: shape of each source, (N, 1, H, W).
        dtype: dtype of the module.
        device: device of the sources.
    """
    if device.type == "cpu":
        return "strips" if dtype == torch.float64 else "onnx"
    return "whole" if 2 * shape.numel() * bytes_whole(module, dtype) <= free_memory(device) else "strips"


def run_network(module: FusionModule, a: Tensor, b: Tensor, engine: Engine | None = None) -> Tensor:
    """Fuse luminance without gradients.

    Args:
        module: the fusion module.
        a: first sources, (N, 1, H, W), in [0, 1]; of the module's dtype and on its device.
        b: second sources, likewise.
        engine: the engine; by default that of `choose_engine`.

    Returns:
        Fused luminance, (N, 1, H, W), in (0, 1).

    Raises:
        PictureError: there is not enough memory.
        ValueError: there is no such engine, it does not run on this device, or the shapes are wrong, see
            `FusionModule.forward`.
    """
    check_sources(a, b)
    engine = engine or choose_engine(module, a.shape, a.dtype, a.device)
    check_choice("engine", engine, Engine)
    with enough_memory(a.shape[0], *a.shape[2:]):
        if (engine == "onnx" and a.dtype in _HALF) or (engine == "half" and a.device.type == "cpu"):
            return _run(module, a.float(), b.float(), engine).to(a.dtype)
        return _run(module, a, b, engine)


def _run(module: FusionModule, a: Tensor, b: Tensor, engine: Engine) -> Tensor:
    count, _, height, width = a.shape
    free = free_memory(a.device)
    if engine == "onnx" and (a.device.type != "cpu" or a.dtype != torch.float32):
        raise ValueError(f"The engine onnx runs float32 on the CPU, not {a.dtype} on {a.device}; choose another.")
    if engine == "onnx" or (engine == "half" and a.device.type == "cpu"):
        network = cpu_network(module, OnnxNetwork if engine == "onnx" else HalfNetwork)
        pairs = zip(a.detach()[:, 0].numpy(), b.detach()[:, 0].numpy(), strict=True)
        return torch.stack([torch.from_numpy(network.fuse(*pair)) for pair in pairs])[:, None]
    if engine == "strips" and module.window is not None:
        return _in_parts(module, module.window, a, b, free)
    if engine == "strips":
        check_memory(1, height, width, height * width * bytes_held(module, a.dtype), free)
        with full_float32(a.device):
            return torch.cat([fuse_in_strips(module, *pair) for pair in zip(a.split(1), b.split(1), strict=True)])
    dtype = torch.float16 if engine == "half" else a.dtype
    check_memory(count, height, width, a.numel() * bytes_whole(module, dtype), free)
    with torch.inference_mode(), full_float32(a.device), torch.autocast(a.device.type, dtype, engine == "half"):
        return module(a, b).to(a.dtype)


def fuse_luminances(
    module: FusionModule, a: Sequence[np.ndarray], b: Sequence[np.ndarray], engine: Engine | None = None
) -> list[np.ndarray]:
    """Run the network on arrays; see `refusion.inference.network.Network.fuse_luminances`."""
    parameter = next(module.parameters())

    def batch(images: Sequence[np.ndarray]) -> Tensor:
        # A single image is not copied.
        stacked = np.stack(images) if len(images) > 1 else np.ascontiguousarray(images[0])[None]
        return torch.from_numpy(stacked)[:, None].to(parameter.device, parameter.dtype)

    return list(run_network(module, batch(a), batch(b), engine)[:, 0].float().cpu().numpy())


def _in_parts(module: FusionModule, window: int, a: Tensor, b: Tensor, free: int) -> Tensor:
    """Fuse in parts; a part with its halo takes at most half of the free memory."""
    around = 2 * reach(module, window // CELLS)
    of_a_row = a.shape[0] * a.shape[3] * bytes_whole(module, a.dtype)
    rows = max(MIN_PART, free // 2 // of_a_row - around)
    needed = min(rows + around, a.shape[2]) * of_a_row
    check_memory(len(a), a.shape[2], a.shape[3], needed, free)
    with full_float32(a.device):
        return fuse_in_parts(module, a, b, min(rows, MAX_PART))


def bytes_whole(module: FusionModule, dtype: torch.dtype) -> int:
    """Memory of `FusionModule.forward` in bytes per pixel of each pair."""
    hidden = module.interaction.project_out1.in_channels
    return WHOLE_MAPS * hidden * dtype.itemsize


CpuNetwork: TypeAlias = OnnxNetwork | HalfNetwork

_networks: WeakKeyDictionary[FusionModule, dict[type[CpuNetwork], tuple[bytes, CpuNetwork]]] = WeakKeyDictionary()
_lock = threading.Lock()


def as_arrays(module: FusionModule) -> tuple[dict[str, np.ndarray], str]:
    """Weights and padding mode of a module on the CPU, as expected by `refusion.inference.engines.onnx_graph`."""
    return state_arrays(module), module.project_in_1.padding_mode


def state_arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """State dict of a module on the CPU as NumPy arrays of float32, copied."""
    return {name: value.detach().float().numpy().copy() for name, value in module.state_dict().items()}


def cpu_network(module: FusionModule, kind: type[CpuNetwork]) -> CpuNetwork:
    """The module in ONNX Runtime or OpenVINO, cached until its weights change."""
    weights, padding_mode = as_arrays(module)
    state = b"".join(value.tobytes() for value in weights.values())
    with _lock:
        networks = _networks.setdefault(module, {})
        if kind not in networks or networks[kind][0] != state:
            networks[kind] = state, kind(weights, padding_mode, module.window)
        return networks[kind][1]
