"""`fuse_dataset`: a data set of pairs of any length, fused by one process or many, that can be killed at any time.

Every process takes its part of the rows and writes shards (see `refusion.bulk.shards`); a row is in one shard exactly.
A new start reads which rows the shards hold and deals out the others, to as many processes as there are then.
"""

import hashlib
import io
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from refusion.api import fuse_many
from refusion.bulk.shards import (
    UNFINISHED,
    Failure,
    finishing,
    read_progress,
    shard_schema,
    sync,
    write_failures,
    write_shard,
)
from refusion.images.levels import Windows
from refusion.images.reading import MAX_PIXELS, Reading, read_picture
from refusion.images.writing import to_png
from refusion.inference.finishing import Fused
from refusion.metrics.evaluation import MIN_SIZES, figures_of, levels
from refusion.metrics.fusion import METRICS, score
from refusion.models.loading import load_module
from refusion.models.model import ReFusion
from refusion.pairs.files import DataError
from refusion.pairs.rows import Row, Source, open_source
from refusion.system.devices import choose_device
from refusion.system.files import write_text
from refusion.tasks import Anchor, ChromaRule, OutputRange, check_choice, get_task
from refusion.version import __version__

ROWS_PER_SHARD = 256
"""Rows of a shard; what a process had done of an unfinished one is lost when it is killed."""

MANIFEST = "manifest.json"
SHARDS = "data"
IMAGES = "images"

_IMAGES_PER_FOLDER = 1000

_PATIENCE = timedelta(days=30)
"""How long a process that is finished waits for the others."""


Result: TypeAlias = dict[str, Any] | Failure
"""A row of a shard, or why there is none."""


class OtherProcessError(RuntimeError):
    """The main process has refused, and says why."""


@dataclass(frozen=True)
class BulkSummary:
    """What became of a data set.

    Attributes:
        fused: rows with a result.
        before: rows that were done, fused or failed, before this run.
        failures: rows without one, and files without a partner.
        seconds: from the first row of this run to the last, over all processes.
        processes: how many there were.
    """

    fused: int
    before: int
    failures: tuple[Failure, ...]
    seconds: float
    processes: int

    @property
    def done(self) -> int:
        """Rows that were fused or have failed."""
        return self.fused + sum(failure.row is not None for failure in self.failures)

    @property
    def pairs_per_second(self) -> float:
        """Rows of this run for each second of it."""
        return (self.done - self.before) / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `fuse_dataset` that say what the results are."""

    source: str | Path
    task: str | None
    model: ReFusion | str | Path | None
    columns: tuple[str, str] | None
    id_column: str | None
    split: str
    streaming: bool
    images: bool
    scores: bool
    options: dict[str, Any]
    bits: int | None
    device: str | None
    batch_size: int


@dataclass(frozen=True)
class _Job:
    """What one process needs to make results out of rows."""

    source: Source
    model: ReFusion
    options: dict[str, Any]
    bits: int | None
    images: bool
    figures: tuple[str, ...]
    settings: dict[str, Any]
    batch_size: int

    @property
    def schema(self) -> pa.Schema:
        return shard_schema(self.images, self.figures)


def fuse_dataset(
    source: str | Path,
    out: str | Path,
    *,
    task: str | None = None,
    model: ReFusion | str | Path | None = None,
    columns: tuple[str, str] | None = None,
    id_column: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    images: bool = False,
    scores: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
    output_range: OutputRange | None = None,
    anchor: Anchor | None = None,
    chroma: ChromaRule | None = None,
    window: Windows | None = None,
    temperatures: bool = False,
    nodata: float | None = None,
    bits: int | None = None,
    max_pixels: int = MAX_PIXELS,
    device: str | None = None,
    batch_size: int = 1,
    progress: Callable[[int, int | None], None] | None = None,
) -> BulkSummary:
    """Fuse all pairs of a data set; start it again after whatever ended it, and it goes on.

    In processes of `accelerate launch` or torchrun, all call it with the same arguments, and each fuses its part.
    Every picture is that of `refusion.fuse`. A pair that cannot be fused is noted, and the others are done.

    Args:
        source: see `refusion.pairs.rows.open_source`, as `columns`, `id_column`, `split`, `revision`, `streaming`.
        out: folder of the results, made if it is not there; all processes must reach it. ``data`` in it gets Parquet
            files with the columns ``row`` (place in the source), ``id``, ``fused`` (PNG, 16 bits where a source has
            more than 8) and ``note``.
        task: name of the task; the model's if not given, or ir-vis.
        model: see `refusion.fuse`; a loaded one is moved to the device.
        columns: the two picture columns.
        id_column: column of the ids.
        split: split of a data set on the Hub.
        revision: revision of a data set on the Hub.
        streaming: read a data set on the Hub without keeping it.
        images: write PNG files into ``images``; the column ``file_name`` takes the place of ``fused``.
        scores: add a column for each fusion metric of the task; empty where a picture is too small for it.
        rows_per_shard: rows of a Parquet file.
        output_range: see `refusion.fuse`, as the arguments below.
        anchor: see `refusion.fuse`.
        chroma: see `refusion.fuse`.
        window: see `refusion.fuse`.
        temperatures: see `refusion.fuse`.
        nodata: see `refusion.fuse`.
        bits: 8 or 16; as deep as the sources if not given.
        max_pixels: most pixels accepted.
        device: ``cpu`` or ``cuda``; a GPU if there is one, when not given.
        batch_size: see `refusion.fuse_many`.
        progress: called in the main process with the rows that it has done and its share of the rows, or None if that
            is not known.

    Returns:
        The summary, the same in all processes.

    Raises:
        DataError: the source cannot be used; or `out` cannot: it is a file, holds something else, was begun with
            other settings, or another run is at work there.
        ModelError: the model cannot be loaded.
        PictureError: the list of pairs is damaged.
        ValueError: there is no such choice.
        OSError: a result cannot be written.
        OtherProcessError: in the other processes, when the main process raised one of these at the start.
    """
    if rows_per_shard < 1:
        raise ValueError(f"A shard has {rows_per_shard} rows; it must have at least 1.")
    if batch_size < 1:
        raise ValueError(f"A batch has {batch_size} pairs; it must have at least 1.")
    options = {
        "output_range": output_range,
        "anchor": anchor,
        "chroma": chroma,
        "window": window,
        "temperatures": temperatures,
        "nodata": nodata,
        "max_pixels": max_pixels,
    }
    wanted = _Wanted(
        source, task, model, columns, id_column, split, streaming, images, scores, options, bits, device, batch_size
    )
    folder = Path(out)
    process = PartialState(cpu=True, timeout=_PATIENCE)
    with ExitStack() as held:

        def begin() -> tuple[_Job, np.ndarray]:
            _check_folder(folder, source)
            job = _open(wanted, revision, process.local_process_index)
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_lock(folder, 0))
            _refuse_company(folder)
            _agree_with_manifest(folder, job.settings)
            _tidy(folder, images)
            return job, read_progress(folder / SHARDS).done

        job, commit, done = _first_in_main(process, begin)
        if job is None:
            job = _open(wanted, commit, process.local_process_index)
            held.enter_context(_lock(folder, process.process_index))
        process.wait_for_everyone()
        start = time.monotonic()
        _fuse_part(job, folder, done, process, rows_per_shard, progress)
        process.wait_for_everyone()
        return _finish(job, folder, int(done.sum()), process, time.monotonic() - start)


def _open(wanted: _Wanted, revision: str | None, local_rank: int) -> _Job:
    name = get_task(wanted.task or "ir-vis").model if wanted.model is None else wanted.model
    model = load_module(name, "cpu")
    task = get_task(wanted.task) if wanted.task else model.task
    options = {
        **wanted.options,
        "task": task.name,
        "output_range": wanted.options["output_range"] or task.output_range,
        "anchor": wanted.options["anchor"] or task.anchor,
        "chroma": wanted.options["chroma"] or task.chroma,
    }
    check_choice("output range", options["output_range"], OutputRange)
    check_choice("anchor", options["anchor"], Anchor)
    check_choice("chroma rule", options["chroma"], ChromaRule)
    if wanted.bits not in (None, 8, 16):
        raise ValueError(f"A picture is written with 8 or 16 bits, but {wanted.bits} were asked for.")
    device = _device(wanted.device, local_rank)
    figures = tuple(name for name in figures_of(task) if name in METRICS) if wanted.scores else ()
    source = open_source(
        wanted.source,
        task,
        columns=wanted.columns,
        id_column=wanted.id_column,
        split=wanted.split,
        revision=revision,
        streaming=wanted.streaming,
    )
    settings = {
        **options,
        # As text, because nan is not equal to itself.
        "nodata": None if options["nodata"] is None else str(options["nodata"]),
        "bits": wanted.bits,
        "scores": list(figures),
        "results": IMAGES if wanted.images else "parquet",
        "columns": wanted.columns,
        "id_column": wanted.id_column,
        "device": device.type,
        "weights": _weights_digest(model),
        "source": source.fingerprint,
        "refusion": __version__,
    }
    # As it comes back from the manifest: lists for tuples.
    settings = json.loads(json.dumps(settings))
    return _Job(source, model.to(device), options, wanted.bits, wanted.images, figures, settings, wanted.batch_size)


def _device(name: str | None, local_rank: int) -> torch.device:
    if name not in (None, "cpu", "cuda"):
        raise ValueError(f"There is no device {name!r}; choose cpu or cuda.")
    device = choose_device(name)
    # Every process of a machine takes the next GPU.
    return device if device.type == "cpu" else torch.device("cuda", local_rank % torch.cuda.device_count())


def _weights_digest(model: ReFusion) -> str:
    digest = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _check_folder(folder: Path, source: str | Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"The output {folder.name} is a file, but a folder is needed; choose another.")
    if Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve()):
        raise DataError(f"The output {folder.name} lies within the source {Path(source).name}; choose another folder.")
    if folder.is_dir() and not (folder / MANIFEST).is_file():
        # Hidden files are what a run leaves that was ended before it had a manifest.
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if others:
            raise DataError(f"The output folder {folder.name} holds {others[0]}; give a new or an empty folder.")


def _lock(folder: Path, rank: int) -> FileLock:
    """The lock of one process; it is free again when the process ends, however it ends.

    Raises:
        DataError: another process holds it.
    """
    lock = FileLock(folder / f".process-{rank:05d}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(
            f"Another run is at work in {folder.name} (process {rank} of it); wait for its end, or give another folder."
        ) from None
    return lock


def _refuse_company(folder: Path) -> None:
    """Processes whose launcher was killed may still be at work."""
    for path in sorted(folder.glob(".process-*.lock")):
        if (rank := int(path.stem.rpartition("-")[2])) > 0:
            _lock(folder, rank).release()


def _agree_with_manifest(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / MANIFEST
    if not path.is_file():
        write_text(path, json.dumps(settings, indent=1) + "\n")
        sync(path)
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in settings if begun[key] != settings[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{MANIFEST} in {folder.name} is not one of this program; give another folder.") from error
    if differing:
        said = "; ".join(_difference(key, begun[key], settings[key]) for key in differing)
        raise DataError(f"{folder.name} was begun differently: {said}. Ask for the same, or give another folder.")


def _difference(key: str, begun: Any, now: Any) -> str:
    if key == "source":
        return "the source has changed, or is another one"
    if key == "weights":
        return "the model has other weights"
    return f"{key} was {begun}, now it is {now}"


def _tidy(folder: Path, images: bool) -> None:
    """Make the folders, and remove what a killed run had not finished."""
    for kind in (SHARDS, UNFINISHED, *([IMAGES] if images else [])):
        (folder / kind).mkdir(exist_ok=True)
    for leftover in (*(folder / UNFINISHED).iterdir(), *folder.glob(".manifest-*"), *folder.glob(".failures-*")):
        leftover.unlink()


def _first_in_main(
    process: PartialState, begin: Callable[[], tuple[_Job, np.ndarray]]
) -> tuple[_Job | None, str | None, np.ndarray]:
    """Let the main process begin, and tell the others what they must agree on; if it refuses, all end.

    Returns:
        In the main process its job; the commit of a data set on the Hub; the rows that are done.
    """
    job: _Job | None = None
    problem: Exception | None = None
    said: list[Any] = [None]
    if process.is_main_process:
        try:
            job, done = begin()
            said = [(job.source.revision, done)]
        except (ValueError, OSError) as error:
            problem = error
    if process.num_processes > 1:
        broadcast_object_list(said)
    if problem is not None:
        raise problem
    if said[0] is None:
        raise OtherProcessError("The main process has refused; see what it says.")
    revision, done = said[0]
    return job, revision, done


def _fuse_part(
    job: _Job,
    folder: Path,
    done: np.ndarray,
    process: PartialState,
    rows_per_shard: int,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Fuse the rows of this process that are not done."""
    results = _results(job, job.source.rows(done, process.process_index, process.num_processes), folder)
    if progress is not None and process.is_main_process:
        total = job.source.total
        share = None if total is None else math.ceil((total - int(done.sum())) / process.num_processes)
        results = _counted(results, progress, share)
    schema = job.schema
    while (first := next(results, None)) is not None:
        row = first.row if isinstance(first, Failure) else first["row"]
        name = f"{SHARDS}/rows-{row:012d}.parquet"
        write_shard(folder, name, schema, chain([first], islice(results, rows_per_shard - 1)))


def _counted(
    results: Iterator[Result], progress: Callable[[int, int | None], None], share: int | None
) -> Iterator[Result]:
    progress(0, share)
    for count, result in enumerate(results, 1):
        yield result
        progress(count, share)


def _results(job: _Job, rows: Iterator[Row], folder: Path) -> Iterator[Result]:
    taken: deque[Row] = deque()

    def pairs() -> Iterator[tuple[Path | BinaryIO, Path | BinaryIO]]:
        for row in rows:
            taken.append(row)
            yield row.sources()

    for outcome in fuse_many(pairs(), model=job.model, batch_size=job.batch_size, **job.options):
        row = taken.popleft()
        if outcome.fused is None:
            yield Failure(row.index, row.id, str(outcome.error))
            continue
        try:
            result, png = _result(job, row, outcome.fused)
        except ValueError as error:
            yield Failure(row.index, row.id, str(error))
            continue
        if job.images:
            name = f"{IMAGES}/{row.index // _IMAGES_PER_FOLDER:06d}/{row.index:09d}.png"
            with finishing(folder, name) as unfinished:
                unfinished.write_bytes(png)
            result["file_name"] = name
        else:
            result["fused"] = {"bytes": png, "path": f"{row.index:09d}.png"}
        yield result


def _result(job: _Job, row: Row, fused: Fused) -> tuple[dict[str, Any], bytes]:
    png = to_png(fused.picture, job.bits)
    result = {"row": row.index, "id": row.id, "note": " ".join(fused.notes) or None}
    return {**result, **_scores(job, row, png)}, png


def _scores(job: _Job, row: Row, png: bytes) -> dict[str, float]:
    if not job.figures:
        return {}
    reading = {name: job.options[name] for name in ("window", "temperatures", "nodata", "max_pixels")}
    alike = get_task(job.options["task"]).one_camera
    a, b = Reading(**reading, alike=alike).all(row.sources())
    fused = read_picture(io.BytesIO(png))
    names = [name for name in job.figures if min(a.size) >= MIN_SIZES.get(name, 0)]
    first, second, result = (levels(picture.luminance) for picture in (a, b, fused))
    return score(first, second, result, names)


def _finish(job: _Job, folder: Path, before: int, process: PartialState, seconds: float) -> BulkSummary:
    """Write the table of failures and sum up, in the main process for all of them."""
    said: list[Any] = [None]
    if process.is_main_process:
        after = read_progress(folder / SHARDS)
        done, total = int(after.done.sum()), job.source.total
        if total is not None and done != total:
            raise DataError(f"The source has {total} rows, but {done} of them came; it has changed while it was read.")
        failures = (*after.failures, *(Failure(None, None, sentence) for sentence in job.source.left_out))
        write_failures(folder, failures)
        said = [BulkSummary(after.fused, before, failures, seconds, process.num_processes)]
    if process.num_processes > 1:
        broadcast_object_list(said)
    summary: BulkSummary = said[0]
    return summary
