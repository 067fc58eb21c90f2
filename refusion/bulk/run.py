"""`fuse_dataset`: a data set of pairs of any length, fused on all cores of this machine or by Ray on many machines.

The rows are split into parts, and each part becomes one shard (see `refusion.bulk.shards`). A part gives the same file
whichever worker fuses it, so it may be assigned twice; a resumed run assigns the parts that have no shard.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from refusion.bulk.cluster import connect, fuse_on_cluster
from refusion.bulk.manifest import CONTENT, SIZE, agree, check_folder
from refusion.bulk.plan import Plan, make_plan
from refusion.bulk.shards import IMAGES, read_shards
from refusion.bulk.worker import Worker
from refusion.inference.options import OptionValues, options_of
from refusion.models.loading import Model, load_for_workers
from refusion.pairs.errors import DataError
from refusion.pairs.failures import FAILURES, Failure, failure_lines
from refusion.pairs.rows import Part, Source
from refusion.pairs.sources import open_source
from refusion.system.devices import all_devices
from refusion.system.pool import in_processes
from refusion.system.stores import Store
from refusion.tasks import Task
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
    match: tuple[str, str] | None = None,
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
        source: see `refusion.pairs.sources.open_source`, also for `columns`, `id_column`, `split`, `revision` and
            `streaming`.
        out: folder of the results, created if missing, or a URI such as ``s3://bucket/folder``. Its sub-folder
            ``data`` gets Parquet files with the columns ``row`` (index in the source), ``id``, ``fused`` (PNG, 16
            bits where a source has more than 8) and ``note``.
        task: see `refusion.fuse`.
        model: see `refusion.fuse`; a loaded model is copied to the workers.
        model_revision: branch, tag or commit of a model on the Hub.
        match: patterns of the names in a folder, see `refusion.pairs.jobs.match_folders`.
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
        TypeError: the source is a data set in memory, or there is no such option.
        ValueError: an option is invalid, or Ray is not installed.
        OSError: a result cannot be written, or (ChildProcessError) a worker was killed.
    """
    _check_source_type(source)
    _check_arguments(rows_per_shard, bits, device, batch_size, workers)
    wanted = options_of(options)
    network, chosen, digest = load_for_workers(task, model, model_revision)
    wanted = replace(wanted, **asdict(wanted.for_task(chosen)))
    opened = open_source(source, chosen, columns, id_column, split, revision, streaming or ray is not None, match)
    store = Store.at(out)
    check_folder(store, source)
    devices = connect(ray, device, workers) if ray else all_devices(device, workers)
    figures = _metrics_of(chosen) if scores else ()
    worker = Worker(opened.read, store, network, devices[0], chosen, wanted, bits, images, figures, batch_size)
    settings = _settings(worker, opened, columns, id_column, digest, rows_per_shard)
    size = agree(store, settings, rows_per_shard or _default_size(opened, len(devices)), mended=retry_failed)
    plan = make_plan(store, opened.parts(size), images=images, retry_failed=retry_failed)
    start = time.monotonic()
    results = _fuse_parts(worker, plan.pending, devices, ray, workers)
    tried, processes = _follow(results, plan.pending_rows, progress)
    return _summarize(store, opened, plan, tried, time.monotonic() - start, processes)


def _check_source_type(source: object) -> None:
    """Refuse a data set in memory, which other processes and machines cannot read and a resumed run cannot recognise.

    Raises:
        TypeError: the source is neither a path nor a string.
    """
    if isinstance(source, str | os.PathLike):
        return
    if hasattr(source, "to_parquet"):
        advice = 'Save it with to_parquet("pairs.parquet"), and give that file.'
    else:
        advice = "refusion.fuse_many fuses pairs in memory."
    raise TypeError(
        "A source is a path, an address such as s3://bucket/folder, or OWNER/NAME of a data set on the Hub, not "
        f"{type(source).__name__}. {advice}"
    )


def _check_arguments(
    rows_per_shard: int | None, bits: int | None, device: str | None, batch_size: int, workers: int | None
) -> None:
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


def _metrics_of(task: Task) -> tuple[str, ...]:
    from refusion.metrics.scoring import metrics_of

    return tuple(metrics_of(task))


def _settings(
    worker: Worker,
    source: Source,
    columns: tuple[str, str] | None,
    id_column: str | None,
    digest: str,
    rows_per_shard: int | None,
) -> dict[str, Any]:
    """The settings that the results depend on, for the manifest."""
    options = asdict(worker.options)
    del options["deghost"]  # only for stacks
    return {
        "task": worker.task.name,
        **options,
        "nodata": str(worker.options.nodata),  # nan is not equal to itself
        "bits": worker.bits,
        "scores": worker.metrics,
        "results": IMAGES if worker.images else "parquet",
        "columns": columns,
        "id_column": id_column,
        "device": worker.device.partition(":")[0],
        "weights": digest,
        "source": source.names,
        "rows": source.total,
        CONTENT: source.content,
        SIZE: rows_per_shard,
        "refusion": __version__,
    }


def _default_size(source: Source, workers: int) -> int:
    """Rows per shard with which no worker is idle for long."""
    return min(ROWS_PER_SHARD, -(-source.total // (_SHARDS_PER_WORKER * workers)))


def _fuse_parts(
    worker: Worker, parts: Sequence[Part], devices: Sequence[str], ray: str | None, workers: int | None
) -> Iterator[tuple[int, str]]:
    """Yield the number of rows of each finished part, and the process that fused it."""
    if ray and parts:
        return fuse_on_cluster(worker, parts, len(devices), workers)
    if min(len(devices), len(parts)) > 1:
        return in_processes([replace(worker, device=name).fuse for name in devices[: len(parts)]], parts)
    return map(worker.fuse, parts)


def _follow(
    results: Iterable[tuple[int, str]], total: int, progress: Callable[[int, int], None] | None
) -> tuple[int, int]:
    """Go through the finished parts and report the progress; returns the numbers of rows and of processes."""
    tell = progress or (lambda done, total: None)
    tried, processes = 0, set()
    tell(tried, total)
    for rows, process in results:
        tried += rows
        processes.add(process)
        tell(tried, total)
    return tried, len(processes)


def _summarize(store: Store, source: Source, plan: Plan, tried: int, seconds: float, processes: int) -> BulkSummary:
    """Read the footers of all shards, and write the list of failures.

    Raises:
        DataError: shards that were written are not there.
    """
    footers = read_shards(store, plan.parts)
    if len(footers) < len(plan.parts):
        lost = f"{len(plan.parts) - len(footers)} shards that were written are not in {store.name}"
        raise DataError(f"{lost}: all machines must write to one folder that they share, or to an object store.")
    failed = [failure for footer in footers.values() for failure in footer.failures]
    failures = (*failed, *(Failure(None, None, sentence) for sentence in source.left_out))
    if failures or store.exists(FAILURES):
        store.write(FAILURES, failure_lines(failures))
    noted = sum(footer.noted for footer in footers.values())
    fused = source.total - len(failed)
    return BulkSummary(fused, plan.done_rows, failures, tried, seconds, processes, source.notes, noted)
