"""CPU seconds of every metric for one pair of 640 x 480, and of a toolkit's metrics in GNU Octave if it is installed.

OMP_NUM_THREADS=1 python benchmarks/metrics.py A B FUSED [--toolkit MEFB/metrics Qabf NMI ...]

The names after the folder are those of the toolkit's files without "metrics". Octave needs its image package.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from refusion.metrics.conventions import MEFB, REFUSION, Conventions
from refusion.metrics.fusion import METRICS, score
from refusion.system.markdown import table

NAMES = {"Cross_entropy": "CE", "Edge_intensity": "EI", "Avg_gradient": "AG", "Entropy": "EN", "Psnr": "PSNR"}
NAMES |= {"Spatial_frequency": "SF", "Mutinf": "MI", "Ssim": "SSIM", "Rmse": "RMSE", "Variance": "variance"}

OCTAVE = """
pkg load image
addpath('{folder}');
a = imread('{a}'); b = imread('{b}'); f = imread('{fused}');
for name = {{{names}}}
  start = cputime;
  value = feval(['metrics' name{{1}}], a, b, f);
  printf('%s %.10g %.3f\\n', name{{1}}, value, cputime - start);
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs=3, help="first source, second source, fused image")
    parser.add_argument("--toolkit", nargs="+", metavar=("FOLDER", "NAME"), help="folder of metrics, and their names")
    args = parser.parse_args()
    images = [Image.open(path).convert("L").resize((640, 480)) for path in args.images]
    arrays = [np.asarray(image) for image in images]
    score(*arrays, METRICS)
    print(table(["metric", "refusion", "mefb"], [[name, *_seconds(name, arrays)] for name in METRICS]))
    start = time.process_time()
    score(*arrays, METRICS)
    print(f"\nAll {len(METRICS)} of one pair: {time.process_time() - start:.2f} CPU seconds.")
    if args.toolkit:
        print()
        print(table(["toolkit", "its value", "ours", "its s", "ours s"], _beside(args.toolkit, images)))


def _seconds(name: str, arrays: list[np.ndarray]) -> list[str]:
    return [f"{_call(name, arrays, conventions)[1]:.3f}" for conventions in (REFUSION, MEFB)]


def _call(name: str, arrays: list[np.ndarray], conventions: Conventions) -> tuple[float, float]:
    start = time.process_time()
    value = METRICS[name].function(*(arrays if METRICS[name].needs_sources else arrays[2:]), conventions).item()
    return value, time.process_time() - start


def _beside(toolkit: list[str], images: list[Image.Image]) -> list[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.png" for name in ("a", "b", "fused")]
        for file, image in zip(files, images, strict=True):
            image.save(file)
        names = ", ".join(f"'{name}'" for name in toolkit[1:])
        a, b, fused = files
        script = OCTAVE.format(folder=Path(toolkit[0]).resolve(), a=a, b=b, fused=fused, names=names)
        (Path(folder) / "run.m").write_text(script)
        command = ["octave", "--no-gui", "--quiet", str(Path(folder) / "run.m")]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    rows = []
    for line in lines:
        if len(parts := line.split()) == 3:
            value, seconds = _call(NAMES.get(parts[0], parts[0]), [np.asarray(x) for x in images], MEFB)
            rows.append([parts[0], f"{float(parts[1]):.6g}", f"{value:.6g}", parts[2], f"{seconds:.3f}"])
    return rows


if __name__ == "__main__":
    main()
