"""Frames per second of fusing two videos of 640 x 480, from files to a file, with the engines of a CPU.

    python benchmarks/video.py --threads 2

The frames are an example pair, enlarged, that pans by one pixel per frame, with noise of 2 grey levels. The start of
the process is not counted; loading the model, and compiling it for `half`, is.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from machine import describe, write_json

import refusion
from refusion.models.loading import load

EXAMPLES = Path(__file__).parents[1] / "space" / "examples"
WIDTH, HEIGHT, RATE = 640, 480, 25


def write(path: Path, source: Path, count: int) -> None:
    """Write a video of a panning image."""
    rng = np.random.default_rng(0)
    image = cv2.resize(cv2.imread(str(source)), (WIDTH + count, HEIGHT), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for first in range(count):
            frame = image[:, first : first + WIDTH] + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
            frame = np.rint(frame).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))


def main() -> None:
    """Print a table of engines, which take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--engines", nargs="+", default=["onnx", "half"])
    parser.add_argument("--json", type=Path, help="write the medians and the machine there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rates: dict[str, list[float]] = {engine: [] for engine in args.engines}
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder) / f"{name}.mp4" for name in ("ir", "vis")]
        for path in sources:
            write(path, EXAMPLES / f"ir-vis_{path.stem}.png", args.frames)
        for _ in range(args.rounds):
            for engine in args.engines:
                begin = time.perf_counter()
                network = load("ir-vis", None, "cpu", engine)
                refusion.fuse_videos(sources, Path(folder) / f"{engine}.mp4", model=network, engine=engine)
                rates[engine].append(args.frames / (time.perf_counter() - begin))
    machine = f"{args.frames} frames, {args.rounds} rounds, {describe(args.threads, 'cpu')}"
    print(machine)
    print("| engine | frames per second |\n| --- | ---: |")
    medians = {engine: statistics.median(found) for engine, found in rates.items()}
    for engine, rate in medians.items():
        print(f"| {engine} | {rate:.2f} |")
    write_json(args.json, machine, {engine: {"frames_per_second": rate} for engine, rate in medians.items()})


if __name__ == "__main__":
    main()
