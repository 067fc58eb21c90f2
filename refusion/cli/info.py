"""refusion info"""

import typer


def info() -> None:
    """Say how pictures are fused on this machine: engine, device, threads, strips, versions."""
    import platform
    from importlib.metadata import version

    import torch

    from refusion.inference.engines.onnx_tiles import TILE
    from refusion.system.threads import cpu_threads
    from refusion.version import __version__

    rows = [
        ("refusion", f"{__version__}, Python {platform.python_version()}"),
        ("", f"torch {torch.__version__}, ONNX Runtime {version('onnxruntime')}"),
        ("engine", f"CPU: onnx, in tiles of up to {TILE[1]} x {TILE[0]} pixels"),
        ("", "GPU: whole, or strips for what would take more than half of its free memory"),
        ("", "refusion fuse --engine takes onnx, strips, whole or half instead"),
        ("device", f"CPU, {torch.backends.cpu.get_cpu_capability()}, {cpu_threads()} thread(s)"),
    ]
    if torch.cuda.is_available():
        rows.append(("GPU", f"{torch.cuda.get_device_name()}: taken unless told otherwise, refusion fuse --device cpu"))
    for name, value in rows:
        typer.echo(f"{name:<10}{value}")
