"""Rows per CPU second and resident memory of a bulk fusion of many small pairs, on all cores or on Ray.

    python benchmarks/bulk.py --pairs 400 --workers 1
    python benchmarks/bulk.py --pairs 400 --workers 2 --ray local

Both are of all processes together, including Ray's, from the first shard to the last, so they exclude the start-up.
"""

import argparse
import io
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Sample:
    """What all processes had done, and held, when so many rows were done."""

    rows: int
    seconds: float
    cpu_seconds: float
    megabytes: float


def look(rows: int) -> Sample:
    """A sample of this process and of all that it started."""
    cpu = memory = 0.0
    for process in (me := psutil.Process(), *me.children(recursive=True)):
        # One may be ending just now.
        with suppress(psutil.Error):
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += process.memory_info().rss / 2**20
    return Sample(rows, time.monotonic(), cpu, memory)


def measure(source: Path, out: Path, args: argparse.Namespace) -> list[Sample]:
    """Fuse, and look whenever another per cent is done."""
    samples: list[Sample] = []

    def sample(done: int, total: int) -> None:
        if not samples or done == total or done - samples[-1].rows >= total / 100:
            samples.append(look(done))

    summary = fuse_dataset(
        source, out, rows_per_shard=args.rows_per_shard, workers=args.workers, ray=args.ray, progress=sample
    )
    assert summary.fused == args.pairs, summary
    return samples


def main() -> None:
    """Print rates and memory; write all samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--rows-per-shard", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ray")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--render", type=Path, help="only write the pairs, into this Parquet file")
    args = parser.parse_args()
    if args.render:
        render(args.render, args.pairs, args.side)
        return
    if args.pairs <= args.rows_per_shard:
        parser.error(
            "the rate is measured from the first file to the last, so give more --pairs than "
            f"--rows-per-shard ({args.rows_per_shard})"
        )
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "pairs.parquet", Path(folder) / "out"
        render(source, args.pairs, args.side)
        before = look(0)
        samples = measure(source, out, args)
    first, last = samples[1], samples[-1]
    print(machine)
    rows, seconds, cpu = (getattr(last, name) - getattr(first, name) for name in ("rows", "seconds", "cpu_seconds"))
    print(f"{rows / seconds:.1f} pairs/s, {rows / cpu:.2f} pairs per CPU second")
    start, start_cpu = first.seconds - before.seconds, first.cpu_seconds - before.cpu_seconds
    print(f"{start:.1f} s and {start_cpu:.1f} CPU seconds to the end of the first shard ({first.rows} rows)")
    for share in (1, 10, 25, 50, 75, 100):
        one = min(samples, key=lambda sample: abs(sample.rows - args.pairs * share / 100))
        print(f"{one.rows} pairs ({share} %): {one.megabytes:.1f} MB")
    figures = {"arguments": " ".join(sys.argv[1:]), "samples": [asdict(sample) for sample in samples]}
    write_json(args.json, machine, figures)


if __name__ == "__main__":
    main()
