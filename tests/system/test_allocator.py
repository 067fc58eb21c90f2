"""What a training step frees is there for the next one."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import torch
from refusion.system.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
# Small blocks come to lie between the freed ones: it takes some rounds until there is room for all three.
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [torch.ones(10_000_000) for _ in range(3)]
    del maps
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_memory_that_was_freed_needs_no_new_pages():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("default", "kept")
    }
    assert faults["kept"] < 100
    assert faults["kept"] <= faults["default"]
