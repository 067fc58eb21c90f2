"""`fuse_dataset`: a data set of pairs of any length, fused on all cores of this machine or by Ray on many machines.

The rows are split into parts, and each part becomes one shard (see `refusion.bulk.shards`). A part gives the same file
whichever worker fuses it, so it may be assigned twice; a resumed run assigns the parts that have no shard.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from typing_extensions import Unpack

from refusion.bulk.cluster import connect, fuse_on_cluster
from refusion.bulk.manifest import CONTENT, SIZE, agree, check_folder
from refusion.bulk.shards import FAILURES, IMAGES, Failure, lost_images, read_shards
from refusion.bulk.worker import Worker
from refusion.inference.options import Options, OptionValues
from refusion.models.loading import Model, load_for_workers
from refusion.pairs.errors import DataError
from refusion.pairs.rows import open_source
from refusion.system.devices import all_devices
from refusion.system.pool import in_processes
from refusion.system.stores import Store
from refusion.version import __version__

ROWS_PER_SHARD = 256
"""Default for the largest number of rows in a shard."""

_SHARDS_PER_WORKER = 4
"""Smallest number of shards per worker, so that few workers wait for the last one."""


@dataclass(frozen=True)
class BulkSummary:
    """Outcome of fusing a data set.

    Attributes:
        fused: number of rows with a result.
        before: number of rows that were fused or had failed before this run.
        failures: rows without a result, and files without a partner.
        tried: number of rows of this run.
        seconds: time from the first row of this run to the last.
        processes: number of processes that fused them.
        notes: notes on files that were left out because they are not images to fuse, as sentences.
        noted: number of rows with a result that have a note, in the column ``note``.
    """

    fused: int
    before: int
    failures: tuple[Failure, ...]
    tried: int
    seconds: float
    processes: int
    notes: tuple[str, ...] = ()
    noted: int = 0

    @property
    def pairs_per_second(self) -> float:
        """Rows of this run per second."""
        return self.tried / max(self.seconds, 1e-9)


def fuse_dataset(
    source: str | Path,
    out: str | Path,
    *,
    task: str | None = None,
    model: Model | None = None,
    model_revision: str | None = None,
    columns: tuple[str, str] | None = None,
    id_column: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    images: bool = False,
    scores: bool = False,
    rows_per_shard: int | None = None,
    bits: int | None = None,
    device: str | None = None,
    batch_size: int = 1,
    workers: int | None = None,
    ray: str | None = None,
    retry_failed: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> BulkSummary:
    """Fuse all pairs of a data set; if interrupted, call it again and it resumes.

    Each result equals that of `refusion.fuse`. A pair that cannot be fused is listed, and the others are fused.

    Args:
        source: see `refusion.pairs.rows.open_source`, also for `columns`, `id_column`, `split`, `revision` and
            `streaming`.
        out: folder of the results, created if missing, or a URI such as ``s3://bucket/folder``. Its sub-folder
            ``data`` gets Parquet files with the columns ``row`` (index in the source), ``id``, ``fused`` (PNG, 16
            bits where a source has more than 8) and ``note``.
        task: see `refusion.fuse`.
        model: see `refusion.fuse`; a loaded model is copied to the workers.
        model_revision: branch, tag or commit of a model on the Hub.
        columns: the two image columns.
        id_column: column of the ids.
        split: split of a data set on the Hub.
        revision: revision of a data set on the Hub.
        streaming: read a data set on the Hub without storing it; always on with `ray`.
        images: write PNG files to ``images``; the column ``file_name`` replaces ``fused``. Files that were deleted are
            written again.
        scores: add a column for each fusion metric of the task, with the sources as they were fused (resized, aligned);
            empty where an image is too small for it.
        rows_per_shard: rows of a Parquet file. If not given, the number that `out` was started with, or else 256, or
            fewer where that would leave workers idle.
        bits: 8 or 16; the depth of the sources if not given.
        device: ``cpu`` or ``cuda``; if not given, GPUs if there are any.
        batch_size: see `refusion.fuse_many`.
        workers: largest number of processes; one per GPU or core if not given. With 1, the calling process fuses.
        ray: address of a Ray cluster, as for `ray.init`; the workers are actors on its machines.
        retry_failed: fuse rows again that failed before.
        progress: called with the number of finished rows and the number of all rows of this run.
        **options: see `refusion.inference.options.Options`.

    Raises:
        DataError: the source or the folder of the results cannot be used, or it was started with other settings.
        ModelError: the model cannot be loaded.
        PictureError: the list of pairs is damaged.
        ValueError: an option is invalid, or Ray is not installed.
        OSError: a result cannot be written, or (ChildProcessError) a worker was killed.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(
            "One command fuses on all cores, so start it without torchrun or accelerate; --workers limits its "
            "processes, and --ray is for many machines."
        )
    for what, number, of in (
        ("shard", rows_per_shard, "rows"),
        ("batch", batch_size, "pairs"),
        ("run", workers, "workers"),
    ):
        if number is not None and number < 1:
            raise ValueError(f"A {what} has {number} {of}; it must have at least 1.")
    if bits not in (None, 8, 16):
        raise ValueError(f"An image is written with 8 or 16 bits, but {bits} were asked for.")
    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"There is no device {device!r}; choose cpu or cuda.")
    wanted = Options(**options)
    network, chosen, digest = load_for_workers(task, model, model_revision)
    wanted = replace(wanted, **asdict(wanted.for_task(chosen)))
    opened = open_source(source, chosen, columns, id_column, split, revision, streaming or ray is not None)
    store = Store.at(out)
    check_folder(store, source)
    devices = connect(ray, device, workers) if ray else all_devices(device, workers)
    figures: tuple[str, ...] = ()
    if scores:
        from refusion.metrics.figures import metrics_of

        figures = metrics_of(chosen)
    settings = {
        "task": chosen.name,
        **asdict(wanted),
        "nodata": str(wanted.nodata),  # nan is not equal to itself
        "bits": bits,
        "scores": figures,
        "results": IMAGES if images else "parquet",
        "columns": columns,
        "id_column": id_column,
        "device": devices[0].partition(":")[0],
        "weights": digest,
        "source": opened.names,
        "rows": opened.total,
        CONTENT: opened.content,
        SIZE: rows_per_shard,
        "refusion": __version__,
    }
    few = -(-opened.total // (_SHARDS_PER_WORKER * len(devices)))
    parts = opened.parts(agree(store, settings, rows_per_shard or min(ROWS_PER_SHARD, few), mended=retry_failed))
    before = read_shards(store, parts)
    gone = lost_images(store, before) if images else {}
    todo = [part for part in parts if part not in before or part in gone or (retry_failed and before[part].failures)]
    worker = Worker(opened.read, store, network, devices[0], chosen, wanted, bits, images, figures, batch_size)
    rows_of = {part: len(before[part].failures) if part in before else part.rows for part in todo}
    total = sum(rows + gone.get(part, 0) for part, rows in rows_of.items())
    tell = progress or (lambda done, total: None)
    start, tried, processes = time.monotonic(), 0, set()
    tell(tried, total)
    if ray and todo:
        results: Iterator[tuple[int, str]] = fuse_on_cluster(worker, todo, len(devices), workers)
    elif min(len(devices), len(todo)) > 1:
        results = in_processes([replace(worker, device=name).fuse for name in devices[: len(todo)]], todo)
    else:
        results = map(worker.fuse, todo)
    for rows, process in results:
        tried += rows
        processes.add(process)
        tell(tried, total)
    seconds = time.monotonic() - start
    after = read_shards(store, parts)
    if len(after) < len(parts):
        lost = f"{len(parts) - len(after)} shards that were written are not in {store.name}"
        raise DataError(f"{lost}: all machines must write to one folder that they share, or to an object store.")
    failed = [failure for footer in after.values() for failure in footer.failures]
    failures = (*failed, *(Failure(None, None, sentence) for sentence in opened.left_out))
    if failures or store.exists(FAILURES):
        store.write(FAILURES, "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in failures))
    done_before = sum(part.rows for part in before) - sum(gone.values())
    noted = sum(footer.noted for footer in after.values())
    fused = opened.total - len(failed)
    return BulkSummary(fused, done_before, failures, tried, seconds, len(processes), opened.notes, noted)
