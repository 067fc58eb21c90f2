"""Resident memory over a bulk fusion of many small pairs.

python benchmarks/bulk_memory.py --pairs 10000 --json bulk_memory.json
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from machine import describe, write_json
from PIL import Image

from refusion.bulk.run import fuse_dataset


def picture(seed: int, side: int) -> bytes:
    """A PNG with waves, an edge and noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    waves = np.sin(rows / rng.uniform(2, 9)) * np.cos(columns / rng.uniform(2, 9))
    step = 60 * (columns > rng.integers(side // 4, 3 * side // 4))
    values = np.clip(110 + 50 * waves + step + rng.normal(0, 6, (side, side)), 0, 255)
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def render(path: Path, pairs: int, side: int, group: int = 100) -> None:
    """Write pairs into a Parquet file, a row group at a time."""
    schema = pa.schema({"ir": pa.binary(), "vis": pa.binary()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, pairs, group):
            seeds = range(start, min(start + group, pairs))
            rows = [{"ir": picture(2 * seed, side), "vis": picture(2 * seed + 1, side)} for seed in seeds]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def measure(source: Path, out: Path, pairs: int) -> list[tuple[int, float]]:
    """Fuse, and give rows done and resident megabytes, at each per cent."""
    process = psutil.Process()
    samples: list[tuple[int, float]] = []

    def sample(done: int, _: int | None) -> None:
        if done % max(1, pairs // 100) == 0:
            samples.append((done, process.memory_info().rss / 2**20))

    summary = fuse_dataset(source, out, progress=sample)
    assert summary.fused == pairs, summary
    return samples


def main() -> None:
    """Print pairs a second and memory; write all samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--render", type=Path, help="only write the pairs, into this Parquet file")
    args = parser.parse_args()
    if args.render:
        render(args.render, args.pairs, args.side)
        return
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "pairs.parquet", Path(folder) / "out"
        render(source, args.pairs, args.side)
        start, cpu = time.monotonic(), time.process_time()
        samples = measure(source, out, args.pairs)
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    print(machine)
    print(f"{args.pairs / seconds:.1f} pairs/s, {args.pairs / cpu:.1f} pairs a CPU second")
    for share in (1, 10, 25, 50, 75, 100):
        done, megabytes = min(samples, key=lambda sample: abs(sample[0] - args.pairs * share / 100))
        print(f"{done} pairs ({share} %): {megabytes:.1f} MB")
    figures = {"pairs": args.pairs, "side": args.side, "seconds": seconds, "cpu_seconds": cpu, "samples": samples}
    write_json(args.json, machine, figures)


if __name__ == "__main__":
    main()
