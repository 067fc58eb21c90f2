"""refusion info"""

import typer


def info() -> None:
    """Say how pictures are fused on this machine: engine, device, threads, strips, versions."""
    import platform

    import torch

    from refusion import __version__
    from refusion.bands import bands_for
    from refusion.strips import strip_rows

    cpu = torch.device("cpu")
    rows = [
        ("refusion", f"{__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
        ("engine", "CPU: strips, or whole for very small pictures"),
        ("", "GPU: whole, or strips for what would take more than half of its free memory"),
        ("", "refusion fuse --engine takes strips, whole or half instead"),
        ("device", f"CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} thread(s)"),
        ("bands", f"{bands_for(480, cpu)} at 640 x 480, {bands_for(4000, cpu)} at 6000 x 4000: a thread for each"),
        ("strips", f"{strip_rows(480, 640, cpu)} rows at 640 x 480, {strip_rows(4000, 6000, cpu)} at 6000 x 4000"),
    ]
    if torch.cuda.is_available():
        rows.append(("GPU", f"{torch.cuda.get_device_name()}: taken unless told otherwise, refusion fuse --device cpu"))
    for name, value in rows:
        typer.echo(f"{name:<10}{value}")
