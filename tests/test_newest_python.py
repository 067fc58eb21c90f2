"""The newest Python, for which pip chooses newer packages than the other tests see, such as PyAV."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image
from support import videos, volumes
from support.environment import fresh_environment, installed_python
from support.scenes import EXAMPLES, ROOT

from refusion import fuse

VERSION = "3.13"
PAIR = (EXAMPLES / "ir-vis_ir.png", EXAMPLES / "ir-vis_vis.png")


@pytest.mark.slow
def test_the_newest_python_fuses_pairs_videos_and_volumes(tmp_path):
    interpreter = installed_python(VERSION)
    if interpreter is None:
        pytest.skip(f"there is no Python {VERSION} here")
    extras = "dicom,heic,raw,thermal,video,volumes"
    fresh_environment(tmp_path / "env", f"{ROOT}[{extras}]", interpreter=interpreter)

    def fused(name: str, *sources: object) -> None:
        command = [tmp_path / "env" / "bin" / "refusion", "fuse", *map(str, sources), "-o", name]
        environment = {**os.environ, "PYTHONPATH": "", "PYTHONWARNINGS": "error::DeprecationWarning"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    fused("pair.png", *PAIR)
    there = np.asarray(Image.open(tmp_path / "pair.png"), dtype=int)
    assert np.abs(there - np.asarray(fuse(*PAIR), dtype=int)).max() <= 1
    shown = [videos.write(tmp_path / f"{seed}.mp4", videos.scene(seed, 3)) for seed in (1, 2)]
    fused("fused.mp4", *shown)
    assert len(videos.read(tmp_path / "fused.mp4")) == 3
    scans = [volumes.write(tmp_path / f"{seed}.nii.gz", volumes.phantom(seed)) for seed in (1, 2)]
    fused("fused.nii.gz", *scans, "--task", "medical")
    assert volumes.read(tmp_path / "fused.nii.gz").shape == volumes.phantom(1).shape
