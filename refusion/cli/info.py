"""refusion info"""

from refusion.cli.say import say


def info() -> None:
    """Show how images are fused on this machine: engine, device, threads, strips, versions."""
    import platform
    from importlib.metadata import version

    from refusion.inference.engines.onnx_tiles import TILE
    from refusion.system.extras import is_installed
    from refusion.system.lists import counted
    from refusion.system.threads import cpu_threads
    from refusion.version import __version__

    rows = [
        ("refusion", f"{__version__}, Python {platform.python_version()}"),
        ("", f"ONNX Runtime {version('onnxruntime')}"),
        ("device", f"CPU, {counted(cpu_threads(), 'thread')}"),
        ("engine", f"CPU: onnx, in tiles of up to {TILE[1]} x {TILE[0]} pixels"),
        ("", _half()),
    ]
    if is_installed("torch"):
        rows += _with_torch()
    else:
        rows.append(("", 'strips, whole and GPUs need torch: pip install "refusion[torch]"'))
    for name, value in rows:
        say(f"{name:<10}{value}")


def _half() -> str:
    """Whether the engine half runs on the CPU."""
    from importlib.metadata import version

    from refusion.inference.engines.bfloat16 import check_bfloat16
    from refusion.system.extras import MissingExtraError

    try:
        check_bfloat16()
    except MissingExtraError as error:
        return str(error)
    except ValueError:
        return "CPU: not half, since the processor has no bfloat16"
    return f"CPU: half, if asked for, in bfloat16 (OpenVINO {version('openvino')})"


def _with_torch() -> list[tuple[str, str]]:
    import torch

    rows = [
        ("", "GPU: whole, or strips for what would take more than half of its free memory"),
        ("", "refusion fuse --engine takes onnx, strips, whole or half instead"),
        ("torch", f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"),
    ]
    if torch.cuda.is_available():
        rows.append(("GPU", f"{torch.cuda.get_device_name()}: used by default; refusion fuse --device cpu avoids it"))
    return rows
