"""Output of a bulk fusion: Parquet files, each of which is written whole or not at all.

A shard is named after its first row, so it is the same file whichever worker writes it, and however often. Its rows
count as done once it has its name. Failures are noted in its footer, so results and failures are published together.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from refusion.pairs.errors import DataError
from refusion.pairs.failures import Failure
from refusion.pairs.rows import Part
from refusion.system.stores import Store

SHARDS = "data"
IMAGES = "images"
_KEY, _NOTED = b"refusion.failures", b"refusion.noted"

_FLUSH_BYTES = 16 << 20
"""Bytes of images that are held before they are written to the unfinished shard."""


@dataclass(frozen=True)
class Footer:
    """What a shard says of its rows.

    Attributes:
        failures: rows that could not be fused.
        noted: number of rows with a note.
    """

    failures: tuple[Failure, ...]
    noted: int


def shard_name(part: Part) -> str:
    """Path of the shard of a part in the folder of the results."""
    return f"{SHARDS}/rows-{part.first:012d}.parquet"


def shard_schema(images: bool, scores: Iterable[str]) -> pa.Schema:
    """Columns of the shards, with the metadata that tells `datasets` that ``fused`` is an image.

    Args:
        images: whether the images are separate files, which the shards only name.
        scores: names of the score columns.
    """
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    names = {"row": "int64", "id": "string", **({"file_name": "string"} if images else {"fused": "image"})}
    names |= {"note": "string", **dict.fromkeys(scores, "float64")}
    features = {n: {"_type": "Image"} if t == "image" else {"_type": "Value", "dtype": t} for n, t in names.items()}
    types = {name: image if kind == "image" else pa.type_for_alias(kind) for name, kind in names.items()}
    return pa.schema(types, {"huggingface": json.dumps({"info": {"features": features}})})


def write_shard(store: Store, name: str, schema: pa.Schema, results: Iterable[dict[str, Any] | Failure]) -> None:
    """Write one shard from rows of the schema and failures, in the order given.

    Raises:
        OSError: it cannot be written.
    """
    failures: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    noted = 0
    options = {"compression": "none", "use_dictionary": False, "write_statistics": ["row"]}
    with store.finishing(name) as unfinished, pq.ParquetWriter(unfinished, schema, **options) as writer:
        for result in results:
            if isinstance(result, Failure):
                failures.append(asdict(result))
                continue
            held.append(result)
            noted += result["note"] is not None
            if sum(len(row["fused"]["bytes"]) for row in held if "fused" in row) >= _FLUSH_BYTES:
                writer.write_table(pa.Table.from_pylist(held, schema))
                held.clear()
        if held:
            writer.write_table(pa.Table.from_pylist(held, schema))
        writer.add_key_value_metadata({_KEY: json.dumps(failures), _NOTED: str(noted)})


def open_shard(store: Store, name: str) -> tuple[pq.ParquetFile, Footer]:
    """Open a shard, which has to be closed; returns it and what its footer says."""
    parquet = pq.ParquetFile(f"{store.root}/{name}", filesystem=store.filesystem)
    said = parquet.metadata.metadata
    failures = tuple(Failure(**failure) for failure in json.loads(said[_KEY]))
    if _NOTED in said:
        return parquet, Footer(failures, int(said[_NOTED]))
    # Written before the number was kept.
    notes = parquet.read(["note"])["note"]
    return parquet, Footer(failures, len(notes) - notes.null_count)


def rows_of(shard: pq.ParquetFile) -> Iterator[Any]:
    """Yield the rows of a shard, and close it after the last: Windows replaces no file that is open."""
    with shard:
        for batch in shard.iter_batches(1, use_threads=False):
            yield from batch.to_pylist()


def lost_rows(shard: pq.ParquetFile, is_there: Callable[[str], bool]) -> set[int]:
    """The rows of a shard whose image is a separate file that is gone."""
    if "file_name" not in shard.schema_arrow.names:
        return set()
    table = shard.read(["row", "file_name"], use_threads=False).to_pydict()
    return {row for row, name in zip(table["row"], table["file_name"], strict=True) if not is_there(name)}


def lost_images(store: Store, parts: Iterable[Part]) -> dict[Part, int]:
    """How many images of each part are gone, of those parts that have a shard; the others are not in it."""
    there = store.files(IMAGES)
    lost: dict[Part, int] = {}
    for part in parts:
        shard, _ = open_shard(store, shard_name(part))
        with shard:
            if rows := lost_rows(shard, there.__contains__):
                lost[part] = len(rows)
    return lost


def read_shards(store: Store, parts: Sequence[Part]) -> dict[Part, Footer]:
    """The parts that have a shard, in their order, and the footer of each; nothing else is read.

    Raises:
        DataError: a shard is damaged, or belongs to none of these parts.
    """
    found = {name for name in store.files(SHARDS) if name.endswith(".parquet")}
    done = [part for part in parts if shard_name(part) in found]
    if foreign := found - {shard_name(part) for part in done}:
        raise DataError(f"{min(foreign)} in {store.name} is not a shard of this run; remove it.")

    def read(part: Part) -> Footer:
        try:
            parquet, footer = open_shard(store, shard_name(part))
            with parquet:
                if parquet.metadata.num_rows + len(footer.failures) != part.rows:
                    raise ValueError(f"it should have {part.rows} rows")
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{shard_name(part)} is damaged or from another run ({error}); remove it to fuse its rows again."
            ) from error
        return footer

    with ThreadPoolExecutor(16) as pool:
        return dict(zip(done, pool.map(read, done), strict=True))
