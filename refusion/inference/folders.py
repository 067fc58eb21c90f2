"""Fuse the pairs of folders and lists that have no result yet."""

import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR

from refusion.inference.many import Outcome
from refusion.pairs.jobs import Job
from refusion.system.errors import sentence_of

_FULL = (errno.ENOSPC, errno.EDQUOT)


def left_to_do(jobs: Iterable[Job], *, overwrite: bool) -> tuple[list[Job], list[float]]:
    """The pairs without a result, and when the results of the others were written; all pairs with `overwrite`."""
    to_do, written = [], []
    for job in jobs:
        time = None if overwrite else _written_at(job.output)
        if time is None:
            to_do.append(job)
        else:
            written.append(time)
    return to_do, written


def _written_at(output: Path) -> float | None:
    """When a result was written; None if there is none, as an empty file or a folder is not one."""
    try:
        found = output.stat()
    except OSError:
        return None
    return found.st_mtime if found.st_size > 0 and not S_ISDIR(found.st_mode) else None


def fuse_jobs(
    jobs: list[Job],
    fuse_pairs: Callable[[Iterable[tuple[Path, Path]]], Iterable[Outcome]],
    *,
    bits: int | None = None,
) -> Iterator[tuple[Job, str | None, tuple[str, ...]]]:
    """Fuse pairs and write each result atomically; stop where the disk is full.

    Args:
        jobs: the pairs.
        fuse_pairs: takes the pairs of paths and yields an outcome for each, like `refusion.fuse_many`.
        bits: see `refusion.images.writing.save_picture`.

    Yields:
        The pair, the reason of a failure or None, and the notes.
    """
    for job, outcome in zip(jobs, fuse_pairs((job.a, job.b) for job in jobs), strict=True):
        if outcome.fused is None:
            yield job, outcome.reason, ()
            continue
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            note = outcome.fused.save(job.output, bits)
        except (ValueError, OSError) as error:
            yield job, sentence_of(error), ()
            if _is_full(error):
                return
        else:
            yield job, None, (*outcome.fused.notes, *([note] if note else []))


def _is_full(error: Exception) -> bool:
    """Whether an error of writing means that the disk, or what the user may use of it, is full."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL
