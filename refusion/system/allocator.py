"""Let the C library's allocator keep freed memory."""

import ctypes
import platform

_NEVER_TRIM = (-1, -1)
_TOP_PAD = (-2, 64 << 20)
_NO_MAPPED_BLOCKS = (-4, 0)


def keep_freed_memory() -> bool:
    """Keep freed memory for later allocations instead of returning it to the system page by page.

    A training step allocates the same large maps as the step before it, and the system zeroes each new page
    (docs/performance.md). The process does not shrink before it ends.

    Returns:
        Whether the settings were applied: only for glibc, the one C library known to be slow here (mallopt(3):
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*option) == 1 for option in (_NEVER_TRIM, _TOP_PAD, _NO_MAPPED_BLOCKS))
