"""Batches: fuse many pairs and collect the results in one archive."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.uploads import SourceError
from refusion.inference.finishing import Fused
from refusion.pairs.matching import match as match_files
from refusion.pairs.matching import name_files
from refusion.tasks import Task

MAX_PAIRS = 50
"""Most pairs in one batch."""

PREVIEW = 720
"""Longest side in pixels of the images in the gallery."""

FAILED = "failed.txt"
"""File in the archive that lists the pairs that could not be fused; absent if all of them were fused."""


@dataclass
class Batch:
    """Matched pairs and their results.

    Attributes:
        pairs: name and both files of every pair.
        done: name of each pair that was fused, and the notes on it.
        previews: name and file of a small version of each fused image.
        failed: name of every pair or file that could not be fused, and the reason.
        archive: the file with the fused images; None before the first one.
        gaps: whether values that are not finite were taken as missing in a source.
    """

    pairs: list[tuple[str, tuple[Path, Path]]]
    done: dict[str, tuple[str, ...]] = field(default_factory=dict)
    previews: list[tuple[str, Path]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    archive: Path | None = None
    gaps: bool = False


def match(firsts: list[Path], seconds: list[Path], task: Task, *, by_place: bool = False) -> Batch:
    """Match two lists of files.

    Args:
        firsts: the first image of each pair.
        seconds: the second image of each pair.
        task: the task, for its labels and the endings of its file names.
        by_place: match the files by their position in the lists; otherwise by name, without the suffix and without
            an ending such as `_ir` or `_vis`.

    Raises:
        SourceError: there are more than `MAX_PAIRS` pairs.
    """
    batch = _by_place(firsts, seconds, task) if by_place else _by_name(firsts, seconds, task)
    if len(batch.pairs) > MAX_PAIRS:
        raise SourceError(f"There are {len(batch.pairs)} pairs, but a batch has at most {MAX_PAIRS}; give fewer.")
    return batch


def _by_place(firsts: list[Path], seconds: list[Path], task: Task) -> Batch:
    batch, used = Batch([]), set()
    for first, second in zip(firsts, seconds, strict=False):
        name, count = first.stem, 2
        while name in used:
            name, count = f"{first.stem}_{count}", count + 1
        used.add(name)
        batch.pairs.append((name, (first, second)))
    for these, others, label in ((firsts, seconds, task.labels[1]), (seconds, firsts, task.labels[0])):
        batch.failed += [(file.name, f"There is no {label} image at this position.") for file in these[len(others) :]]
    return batch


def _by_name(firsts: list[Path], seconds: list[Path], task: Task) -> Batch:
    named = [
        name_files(((file.stem.removesuffix(f"_{folder}"), file) for file in files), label)
        for files, folder, label in zip((firsts, seconds), task.folders, task.labels, strict=True)
    ]
    matched = match_files(*named)
    ambiguous = {name for files in named for name, *_ in files.doubles}
    usable = {file for files in named for name, file in files.by_name.items() if name not in ambiguous}
    failed = []
    for one in matched.left_out:
        other = task.labels[1] if one.where == task.labels[0] else task.labels[0]
        alone = one.file in usable
        told = f"There is no {other} image with this name; both images of a pair need the same name."
        failed.append((one.file.name, told if alone else f"It {one.reason}."))
    batch = Batch([(name, (a, b)) for name, a, b in matched.pairs], failed=failed)
    return batch


def fuse_batch(
    batch: Batch,
    session: str,
    settings: Settings,
    fusing: Fusing,
    files: ResultFiles,
    tell: Callable[[int], OnTick],
) -> Iterator[Batch]:
    """Fuse the pairs one by one into an archive; a pair that fails is listed, and the others are fused all the same.

    The files of the batch are kept meanwhile, even if it takes longer than Gradio keeps files.

    Args:
        batch: the batch from `match`; updated and yielded after every pair.
        session: see `refusion.demo.queue.JobQueue.run`.
        settings: how to fuse.
        fusing: computations of the demo.
        files: where results are written.
        tell: returns the progress callback for the pair with this index.

    Raises:
        ModelError: the model cannot be loaded.
        CancelledError: the visitor cancelled.
        OSError: a result cannot be written.
        zipfile.BadZipFile: the archive is damaged.
    """
    for index, (name, paths) in enumerate(batch.pairs):
        try:
            fused = fusing.fuse(session, paths, settings, tell(index))
        except SourceError as error:
            batch.failed.append((name, str(error)))
        else:
            _add(batch, f"{name}_fused.png", fused, files)
            batch.done[name] = fused.notes
            batch.gaps = batch.gaps or bool(fusing.with_gaps(paths, settings))
            batch.previews.append((name, files.preview(fused.to_image(8), f"{name}.png", PREVIEW)))
        _keep(batch, index + 1, files)
        yield batch


def finish(batch: Batch) -> Path | None:
    """Write the list of failures to the archive of a batch, and return the archive; None if no pair was fused.

    Raises:
        OSError: it cannot be written.
        zipfile.BadZipFile: it is damaged.
    """
    if batch.archive is not None and batch.failed:
        with zipfile.ZipFile(batch.archive, "a") as archive:
            archive.writestr(FAILED, "".join(f"{name}: {why}\n" for name, why in batch.failed))
    return batch.archive


def _add(batch: Batch, name: str, fused: Fused, files: ResultFiles) -> None:
    if batch.archive is None:
        batch.archive = files.new_archive("fused.zip")
    path = files.save_fused(fused, name)
    with zipfile.ZipFile(batch.archive, "a") as archive:
        archive.write(path, name)
    files.remove(path)


def _keep(batch: Batch, index: int, files: ResultFiles) -> None:
    """Keep what was made, and the sources of the pairs from an index on."""
    batch.previews = [(name, path) for name, path in batch.previews if files.keep(path)]
    for path in (batch.archive, *(path for _, paths in batch.pairs[index:] for path in paths)):
        if path is not None:
            files.keep(path)
