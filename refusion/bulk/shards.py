"""What a bulk fusion leaves behind: Parquet files, each of which is there whole or not at all and knows its rows.

A row counts as done from the moment that its shard gets its name. What failed is noted in the footer of the shard, so
that results and failures of the same rows become true together.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from refusion.pairs.files import DataError
from refusion.system.files import write_text

FAILURES = "failures.jsonl"
"""Name of the table of failures."""

UNFINISHED = ".unfinished"
"""Folder of files that have no name yet."""

_KEY = b"refusion.failures"

_FLUSH_BYTES = 16 << 20
"""Bytes of pictures that are held before they are written to the unfinished shard."""


@dataclass(frozen=True)
class Failure:
    """A row that could not be fused.

    Attributes:
        row: its index, or None for a file without a partner.
        id: its id.
        error: why, as a sentence.
    """

    row: int | None
    id: str | None
    error: str


@dataclass
class Progress:
    """What the finished shards hold.

    Attributes:
        done: bool by row index, up to the last row that is done.
        fused: rows with a result.
        failures: the others, in the order of their rows.
    """

    done: np.ndarray
    fused: int = 0
    failures: list[Failure] = field(default_factory=list)


def shard_schema(images: bool, scores: Iterable[str]) -> pa.Schema:
    """Columns of the shards, with what tells `datasets` that ``fused`` is an image.

    Args:
        images: whether the pictures are in files of their own, so that the shards only name them.
        scores: names of the score columns.
    """
    features: dict[str, Any] = {"row": datasets.Value("int64"), "id": datasets.Value("string")}
    features |= {"file_name": datasets.Value("string")} if images else {"fused": datasets.Image()}
    features["note"] = datasets.Value("string")
    features |= {name: datasets.Value("float64") for name in scores}
    return datasets.Features(features).arrow_schema


def write_shard(out: Path, name: str, schema: pa.Schema, results: Iterable[dict[str, Any] | Failure]) -> None:
    """Write one shard from results as they come.

    Args:
        out: the folder of the results.
        name: where, relative to it.
        schema: see `shard_schema`.
        results: rows of the schema, and failures.

    Raises:
        OSError: it cannot be written.
    """
    failures: list[dict[str, Any]] = []
    with finishing(out, name) as unfinished:
        options = {"compression": "none", "use_dictionary": False, "write_statistics": ["row"]}
        with pq.ParquetWriter(unfinished, schema, **options) as writer:
            held: list[dict[str, Any]] = []
            held_bytes = 0
            for result in results:
                if isinstance(result, Failure):
                    failures.append(asdict(result))
                    continue
                held.append(result)
                held_bytes += len(result["fused"]["bytes"]) if "fused" in result else 0
                if held_bytes >= _FLUSH_BYTES:
                    writer.write_table(pa.Table.from_pylist(held, schema))
                    held, held_bytes = [], 0
            if held:
                writer.write_table(pa.Table.from_pylist(held, schema))
            writer.add_key_value_metadata({_KEY: json.dumps(failures)})


@contextmanager
def finishing(out: Path, name: str) -> Iterator[Path]:
    """Give a path to write to; when the block ends well and the file is on disk, it gets its name.

    What is not finished lies in a folder of its own, out of the way of patterns such as ``*.parquet``.

    Args:
        out: the folder of the results.
        name: where the file belongs, relative to it.

    Raises:
        OSError: it cannot be written.
    """
    unfinished, path = out / UNFINISHED / Path(name).name, out / name
    try:
        yield unfinished
        sync(unfinished)
        path.parent.mkdir(exist_ok=True)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_progress(folder: Path) -> Progress:
    """What the finished shards in a folder hold; pictures are not read.

    Raises:
        DataError: a shard is damaged, or a row is in two of them.
    """
    done = np.zeros(0, dtype=bool)
    progress = Progress(done)
    for shard in sorted(folder.glob("rows-*.parquet")):
        rows, failures = _read_shard(shard)
        failed = np.array([failure.row for failure in failures], dtype=np.int64)
        covered = np.concatenate((rows, failed))
        if len(covered) and covered.max() >= len(done):
            grown = np.zeros(max(2 * len(done), int(covered.max()) + 1), dtype=bool)
            grown[: len(done)] = done
            done = grown
        if done[covered].any():
            raise DataError(
                f"Row {covered[done[covered]][0]} is in {shard.name} and in another shard of {folder.name}, so both "
                "were not written by this program, or the disk lost a name; remove one of them."
            )
        done[covered] = True
        progress.fused += len(rows)
        progress.failures += failures
    last = np.flatnonzero(done)[-1] + 1 if done.any() else 0
    progress.done = done[:last].copy()
    progress.failures.sort(key=lambda failure: failure.row or 0)
    return progress


def _read_shard(shard: Path) -> tuple[np.ndarray, list[Failure]]:
    try:
        with pq.ParquetFile(shard) as parquet:
            metadata = parquet.metadata.metadata or {}
            rows = parquet.read(columns=["row"], use_threads=False)["row"].to_numpy().astype(np.int64)
        return rows, [Failure(**failure) for failure in json.loads(metadata[_KEY])]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The shard {shard.name} is damaged or from elsewhere ({error}); remove it, and its rows are fused again."
        ) from error


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write the table of failures, one JSON object a line; no failure, no file."""
    path = folder / FAILURES
    if failures:
        lines = [json.dumps(asdict(failure), ensure_ascii=False) + "\n" for failure in failures]
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)
