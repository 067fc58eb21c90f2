"""Memory that a process can have: of the machine, of its container, under its limits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.scenes import ROOT

from refusion.images import PictureError
from refusion.inference.engines.memory import enough_memory
from refusion.system.memory import free_for_process, free_in_cgroups


def group(folder: Path, limit: str, usage: str, stat: str, names: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip((*names, "memory.stat"), (limit, usage, stat), strict=True):
        (folder / name).write_text(content + "\n")


def member(tmp_path: Path, line: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text(f"12:pids:/x\n{line}\n")
    return file


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
V2 = ("memory.max", "memory.current")


def test_the_limit_of_a_container_counts_without_what_files_take(tmp_path):
    root = tmp_path / "fs"
    (root / "pod" / "app").mkdir(parents=True)
    (root / "cgroup.controllers").touch()
    group(root / "pod" / "app", "max", "500", "inactive_file 0", V2)
    group(root / "pod", "1000", "700", "anon 300\ninactive_file 250\nactive_file 50", V2)
    assert list(free_in_cgroups(root, member(tmp_path, "0::/pod/app"))) == [600]


def test_so_does_that_of_a_group_of_the_first_version(tmp_path):
    group(tmp_path / "fs/memory/job", "1500", "400", "total_inactive_file 100\ntotal_active_file 0", V1)
    group(tmp_path / "fs/memory", "9223372036854771712", "4", "total_inactive_file 0", V1)
    assert list(free_in_cgroups(tmp_path / "fs", member(tmp_path, "4:cpu,memory:/job"))) == [1200]


def test_a_path_from_outside_of_the_container_is_looked_for_at_the_root(tmp_path):
    group(tmp_path / "fs/memory", "1500", "400", "total_inactive_file 0", V1)
    assert list(free_in_cgroups(tmp_path / "fs", member(tmp_path, "4:memory:/docker/4f0c"))) == [1100]


def test_where_there_are_no_groups_the_machine_counts(tmp_path):
    assert list(free_in_cgroups(tmp_path, tmp_path / "none")) == []
    assert free_for_process() > 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ulimit")
def test_a_limit_of_the_process_is_a_sentence():
    code = (
        "import resource, numpy as np\n"
        "from refusion.models.bundled import load_bundled\n"
        "network = load_bundled('refusion-ir-vis').network\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2_500_000_000,) * 2)\n"
        "image = np.zeros((4000, 5000), np.float32)\n"
        "network.fuse(image, image, threads=1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    said = ended.stderr.strip().splitlines()[-1]
    assert "5000 x 4000 pixels needs" in said
    assert "free for this process; " in said


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory in use is read from Linux's /proc")
def test_the_command_says_that_memory_ran_out_while_it_read(tmp_path):
    for name, side in (("small.png", 16), ("large.png", 6000)):
        Image.new("L", (side, side), 90).save(tmp_path / name)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from refusion.cli.app import main\n"
        "def fuse(name):\n"
        "    sys.argv = ['refusion', 'fuse', name, name, '-o', 'fused.png', '--quiet']\n"
        "    main()\n"
        "try:\n"
        "    fuse('small.png')\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "used = int(Path('/proc/self/status').read_text().split('VmSize:')[1].split()[0]) * 1024\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000,) * 2)\n"
        "fuse('large.png')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ended.stderr.startswith("refusion: Memory ran out; close other programs")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.returncode == 2


def test_memory_that_runs_out_all_the_same_is_a_sentence():
    with pytest.raises(PictureError, match=r"Memory ran out\. An image of 30 x 20 pixels"), enough_memory(1, 20, 30):
        np.empty(1 << 60, np.uint8)
    with pytest.raises(PictureError, match="batch of 4 pairs"), enough_memory(4, 20, 30):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes")
    with pytest.raises(RuntimeError, match="another reason"), enough_memory(1, 20, 30):
        raise RuntimeError("another reason")
