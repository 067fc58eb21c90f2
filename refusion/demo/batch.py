"""Many pairs in, one archive out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.uploads import SourceError
from refusion.tasks import Task

MAX_PAIRS = 50
"""Most pairs in one batch."""

FAILED = "failed.txt"
"""File in the archive that lists what could not be fused; not there if everything was."""


@dataclass
class Batch:
    """Pairs matched by name, and what became of them.

    Attributes:
        pairs: name and both files of every pair.
        done: name and fused picture of the pairs that were fused.
        failed: name of every pair or file that could not be fused, and why.
    """

    pairs: list[tuple[str, tuple[Path, Path]]]
    done: list[tuple[str, Path]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def match(firsts: list[Path], seconds: list[Path], task: Task) -> Batch:
    """Match two lists of files by name: without the suffix, and without `_ir` or `_vis` and the like at the end.

    Raises:
        SourceError: there are more than `MAX_PAIRS` pairs.
    """
    batch = Batch([])
    tables = []
    for files, folder, label in zip((firsts, seconds), task.folders, task.labels, strict=True):
        table: dict[str, Path] = {}
        for file in files:
            name = file.stem.removesuffix(f"_{folder}")
            if name in table:
                batch.failed.append((file.name, f"There are two {label} pictures of this name; give each its own."))
            else:
                table[name] = file
        tables.append(table)
    for this, other, label in (
        (tables[0], tables[1], task.labels[1]),
        (tables[1], tables[0], task.labels[0]),
    ):
        batch.failed += [
            (file.name, f"There is no {label} picture of this name; the two of a pair have the same name.")
            for name, file in this.items()
            if name not in other
        ]
    batch.pairs = [(name, (file, tables[1][name])) for name, file in tables[0].items() if name in tables[1]]
    if len(batch.pairs) > MAX_PAIRS:
        raise SourceError(f"These are {len(batch.pairs)} pairs, but at most {MAX_PAIRS} are taken at once; give fewer.")
    return batch


def fuse_batch(
    batch: Batch,
    session: str,
    settings: Settings,
    fusing: Fusing,
    files: ResultFiles,
    tell: Callable[[int], OnTick],
) -> Iterator[Batch]:
    """Fuse pair after pair; a bad one is listed, and the others go on.

    Args:
        batch: what `match` returned; it is filled and given back after every pair.
        session: see `refusion.demo.queue.JobQueue.run`.
        settings: how to fuse.
        fusing: what fuses.
        files: where results are written.
        tell: returns what is told about the time for the pair of this index.

    Raises:
        ModelError: the model cannot be loaded.
        CancelledError: the visitor cancelled.
    """
    for index, (name, paths) in enumerate(batch.pairs):
        try:
            fused = fusing.fuse(session, paths, settings, tell(index))
        except SourceError as error:
            batch.failed.append((name, str(error)))
        else:
            batch.done.append((name, files.save_fused(fused, f"{name}_fused.png")))
        yield batch


def archive(batch: Batch, files: ResultFiles) -> Path:
    """Write the archive of a batch and remove the single pictures."""
    texts = [(FAILED, "".join(f"{name}: {why}\n" for name, why in batch.failed))] if batch.failed else []
    path = files.zip([(f"{name}_fused.png", file) for name, file in batch.done], texts, "fused.zip")
    for _, file in batch.done:
        files.remove(file)
    return path
