"""Free memory of this process, to check before allocating."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

_RESERVED = 256 << 20
"""Address space that allocators and thread stacks reserve without using it; limits of address space count it."""

_NO_LIMIT = 1 << 60
"""A limit of at least this means that there is none."""


def free_for_process() -> int:
    """Bytes that this process can still allocate: on the machine, in its container (cgroup), under its ulimits."""
    found = [int(psutil.virtual_memory().available), *free_in_cgroups(), *_free_under_limits()]
    return max(0, min(found))


def free_in_cgroups(root: Path = Path("/sys/fs/cgroup"), of: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Free bytes of each cgroup that this process is in, and of each parent group.

    Args:
        root: where cgroups (version 1 or 2) are mounted.
        of: the file that lists the cgroups of this process.
    """
    try:
        lines = of.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names = ("memory.max", "memory.current", ("inactive_file", "active_file"))
            base = root if (root / "cgroup.controllers").exists() else root / "unified"
        elif "memory" in controllers.split(","):
            names = (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                ("total_inactive_file", "total_active_file"),
            )
            base = root / "memory"
        else:
            continue
        # In a container, the path may be that on the host; the group itself is then mounted as the root.
        folder = base / path.lstrip("/")
        for group in (folder, *folder.parents):
            if (free := _free_in(group, *names)) is not None:
                yield free
            if group == base:
                break


def _free_in(group: Path, limit: str, usage: str, caches: tuple[str, ...]) -> int | None:
    try:
        allowed, used = (group / limit).read_text().strip(), int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if not allowed.isdecimal() or int(allowed) >= _NO_LIMIT:
        return None
    # The page cache is freed when memory is needed.
    return int(allowed) - used + sum(int(stat.get(name, 0)) for name in caches)


def _free_under_limits() -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource

    used = psutil.Process().memory_info()
    for limit, taken in (("RLIMIT_AS", used.vms), ("RLIMIT_DATA", getattr(used, "data", used.vms))):
        allowed = (
            resource.getrlimit(getattr(resource, limit))[0] if hasattr(resource, limit) else resource.RLIM_INFINITY
        )
        if allowed != resource.RLIM_INFINITY and 0 <= allowed < _NO_LIMIT:
            yield allowed - taken - _RESERVED
