"""Let the C library's allocator keep freed memory."""

import ctypes
import platform

_NEVER_TRIM = (-1, -1)
_ROOM_AT_THE_TOP = (-2, 64 << 20)
_NO_MAPPED_BLOCKS = (-4, 0)


def keep_freed_memory() -> bool:
    """Keep freed memory for what is allocated next, instead of giving it back to the system page by page.

    A training step allocates the same large maps as the one before it, and each new page is zeroed by the system
    (docs/performance.md). The process does not become smaller again before it ends.

    Returns:
        Whether there was anything to do: only glibc is known to be slow with this, and is told (mallopt(3):
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*option) == 1 for option in (_NEVER_TRIM, _ROOM_AT_THE_TOP, _NO_MAPPED_BLOCKS))
