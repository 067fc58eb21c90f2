"""Choose the device that the network runs on, measure its free memory, and switch off TF32."""

import ctypes.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from refusion.system.extras import is_installed
from refusion.system.memory import free_for_process

if TYPE_CHECKING:
    import torch

_GPU_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""Paths on Linux that show a GPU that torch may use: the drivers of NVIDIA, Jetson, WSL and AMD."""


_KINDS = ("auto", "cpu", "cuda", "hip", "hpu", "ipu", "maia", "mps", "mtia", "npu", "vulkan", "xla", "xpu")


def runs_on_cpu(name: str | None) -> bool:
    """Whether `choose_device` is sure to return the CPU, decided without importing torch.

    If torch is not installed, ``auto`` is the CPU.
    """
    if name not in (None, "auto"):
        return name == "cpu"
    return not is_installed("torch") or not _has_driver()


def _has_driver() -> bool:
    """Whether the driver of a GPU is installed."""
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return any(map(os.path.exists, _GPU_DRIVERS))


def check_device(name: str | None) -> None:
    """Reject a device that this machine clearly does not have, without importing torch.

    Raises:
        ValueError: torch has no such kind of device, or it is a CUDA GPU and no GPU driver is installed.
    """
    kind = (name or "auto").partition(":")[0]
    if kind not in _KINDS or (kind == "cuda" and not _has_driver()):
        raise ValueError(f"There is no device {name!r} here that torch can use; choose cpu.")


def choose_device(name: str | None) -> "torch.device":
    """Return the requested device.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` and so on, as in torch; ``auto`` or None: a CUDA GPU if there is
            one, else the CPU.

    Raises:
        ValueError: this machine has no such device.
    """
    check_device(name)
    import torch

    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"There is no device {name!r} here that torch can use; choose cpu.") from error


def all_devices(name: str | None, count: int | None = None) -> list[str]:
    """Return a device for each worker process: the GPUs in turn, or the CPU once per core.

    Args:
        name: ``cpu`` or ``cuda``; by default GPUs if there are any.
        count: number of processes; by default one for each GPU or core.

    Raises:
        ValueError: this machine has no such device.
    """
    if runs_on_cpu(name) or choose_device(name).type == "cpu":
        from loky import cpu_count

        return ["cpu"] * (count or cpu_count(only_physical_cores=True))
    import torch

    gpus = torch.cuda.device_count()
    return [f"cuda:{index % gpus}" for index in range(count or gpus)]


def free_memory(device: "torch.device") -> int:
    """Free memory in bytes: of a CUDA GPU, including what torch has reserved but not used; else of this process."""
    if device.type != "cuda":
        return free_for_process()
    import torch

    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


_lock = threading.Lock()
_users = 0
_restore = ExitStack()


@contextmanager
def full_float32(device: "torch.device") -> Iterator[None]:
    """Keep cuDNN from rounding the inputs of convolutions to ten bits of mantissa (TF32), its default.

    The setting is global to the process: it is restored when the last of several threads leaves.
    """
    global _users
    if device.type != "cuda":
        yield
        return
    with _lock:
        if _users == 0:
            _switch_off_tf32()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _restore.close()


def _switch_off_tf32() -> None:
    import torch

    cudnn = torch.backends.cudnn
    try:
        _set(cudnn, "allow_tf32", False)
    except RuntimeError:
        # torch refuses the older setting once the newer one, of torch 2.9, has been used.
        _set(cudnn.conv, "fp32_precision", "ieee")  # type: ignore[attr-defined]


def _set(where: Any, name: str, value: Any) -> None:
    before = getattr(where, name)
    _restore.callback(setattr, where, name, before)
    setattr(where, name, value)
