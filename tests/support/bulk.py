"""Data sets of small pairs, what a bulk fusion made of them, and processes that run one and get a real SIGKILL."""

import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from support.scenes import ROOT, textured

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["refusion.bulk.run"])


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def write_splits(folder: Path, splits: Sequence[str]) -> None:
    """Write Parquet files as `datasets` names them, with a pair in each."""
    (folder / "data").mkdir(parents=True)
    for number, split in enumerate(splits):
        images = {side: [png(textured(number + shift))] for side, shift in (("a", 0), ("b", 100))}
        pq.write_table(pa.table({**images, "name": [f"of {split}"]}), folder / f"data/{split}-00000-of-00001.parquet")


def pairs(count: int, height: int = 16, width: int = 24) -> list[dict]:
    return [
        {
            "name": f"pair {index}",
            "ir": {"bytes": png(textured(index, height, width)), "path": None},
            "vis": {"bytes": png(textured(1000 + index, height, width)), "path": None},
        }
        for index in range(count)
    ]


def write(path: Path, rows: list[dict], group: int = 5) -> Path:
    features = datasets.Features({"name": datasets.Value("string"), "ir": datasets.Image(), "vis": datasets.Image()})
    pq.write_table(pa.Table.from_pylist(rows, features.arrow_schema), path, row_group_size=group)
    return path


def spoil(rows: list[dict]) -> list[dict]:
    """Rows 3, 5, 8 and 13 cannot be fused."""
    rows[3]["ir"]["bytes"] = b"broken"
    rows[5]["vis"] = None
    rows[8]["vis"]["bytes"] = png(textured(1, 20, 20))
    rows[13]["ir"] = {"bytes": None, "path": str(ROOT / "space" / "examples" / "ir-vis_ir.png")}
    return rows


def results(out: Path) -> dict[int, tuple]:
    """Id and image, or what went wrong, by row; no row is there twice."""
    found: dict[int, tuple] = {}
    rows = [row for shard in sorted((out / "data").glob("*.parquet")) for row in pq.read_table(shard).to_pylist()]
    for row in rows:
        assert row["row"] not in found
        found[row["row"]] = (row["id"], row["fused"]["bytes"])
    if (out / "failures.jsonl").is_file():
        for line in (out / "failures.jsonl").read_text().splitlines():
            failure = json.loads(line)
            assert failure["row"] not in found
            found[failure["row"]] = (failure["id"], failure["error"])
    return found


def shards(out: Path) -> dict[str, bytes]:
    """Content of the shards."""
    return {path.name: path.read_bytes() for path in (out / "data").iterdir()}


def start(kill_after: int | None = None, **arguments: Any) -> BaseProcess:
    """Start `fuse_dataset` in a process of its own.

    Args:
        kill_after: rows after which it kills itself, right after a shard.
        **arguments: see `fuse_dataset`.
    """
    process = CONTEXT.Process(target=_work, args=(kill_after, arguments))
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    process.join(300)
    assert process.exitcode == 0


def kill_when(process: BaseProcess, now: Callable[[], bool]) -> None:
    """Kill a process as soon as something holds."""
    deadline = time.monotonic() + 200
    while not now():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _work(kill_after: int | None, arguments: dict[str, Any]) -> None:
    from refusion.bulk.run import fuse_dataset

    def suicide(done: int, _: int) -> None:
        if done == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    os.environ["OMP_NUM_THREADS"] = "1"
    fuse_dataset(**arguments, progress=suicide)
