"""Memory of the machine, looked at before it is asked for."""

import psutil


def free_on_machine() -> int:
    """Bytes that programs on this machine can still have."""
    return int(psutil.virtual_memory().available)
