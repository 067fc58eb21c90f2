"""The device that the network runs on: choosing it, its free memory, and full float32 on it."""

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
"""What lies on a Linux system with a GPU that torch may use: NVIDIA's driver, Jetson's, WSL's, AMD's."""


_KINDS = ("auto", "cpu", "cuda", "hip", "hpu", "ipu", "maia", "mps", "mtia", "npu", "vulkan", "xla", "xpu")


def runs_on_cpu(name: str | None) -> bool:
    """Whether `choose_device` gives the CPU, as far as can be told without importing torch; False if it may not.

    Without torch nothing else can be had, and ``auto`` is the CPU.
    """
    if name not in (None, "auto"):
        return name == "cpu"
    return not is_installed("torch") or not _has_driver()


def _has_driver() -> bool:
    """Whether a driver of a GPU is here; True if that cannot be told."""
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return any(map(os.path.exists, _GPU_DRIVERS))


def check_device(name: str | None) -> None:
    """Refuse, without importing torch, what is clearly no device of this machine.

    Raises:
        ValueError: torch knows none of this kind, or it is a CUDA GPU and no driver of one is here.
    """
    kind = (name or "auto").partition(":")[0]
    if kind not in _KINDS or (kind == "cuda" and not _has_driver()):
        raise ValueError(f"There is no device {name!r} here that torch can use; choose cpu.")


def choose_device(name: str | None) -> "torch.device":
    """The device that was asked for.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` and so on, as torch names it; ``auto`` or None: a CUDA GPU if there
            is one, else the CPU.

    Raises:
        ValueError: this machine has none of that name.
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
    """A device for each of several processes: all GPUs in turn, or the CPU for each core.

    Args:
        name: ``cpu`` or ``cuda``; GPUs if there are any, when not given.
        count: processes; one for each GPU or core if not given.

    Raises:
        ValueError: there is no GPU.
    """
    if runs_on_cpu(name) or choose_device(name).type == "cpu":
        from loky import cpu_count

        return ["cpu"] * (count or cpu_count(only_physical_cores=True))
    import torch

    gpus = torch.cuda.device_count()
    return [f"cuda:{index % gpus}" for index in range(count or gpus)]


def free_memory(device: "torch.device") -> int:
    """Bytes that can be had: of a CUDA GPU its own, also what torch keeps of it unused; else those of this process."""
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
    """Keep cuDNN from rounding what convolutions are given to ten bits (TF32), as it does unless told otherwise.

    The setting is one for the process: it is set back when the last of several threads leaves.
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
