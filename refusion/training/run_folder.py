"""The run folder: a model that `ReFusion.from_pretrained` loads, and a checkpoint beside it."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from refusion.hub.folder import (
    CHECKPOINT,
    CONFIG,
    HISTORY,
    PROPOSAL_WEIGHTS,
    RECONSTRUCTION_WEIGHTS,
    WEIGHTS,
    save_model,
    save_weights,
)
from refusion.models.model import ReFusion
from refusion.pairs.errors import DataError
from refusion.system.checkpoints import CheckpointError, load_plain
from refusion.system.files import remove_leftovers, write_bytes, write_text
from refusion.training.resuming import SETTINGS
from refusion.training.settings import FIXED_LOSSES
from refusion.training.trainer import MetaTrainer, Progress

LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of a run folder, which exists, during the block; a killed process keeps nobody out.

    Raises:
        DataError: another run writes to it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise DataError(
            f"Another run is writing to {folder.name}; wait for its end, or choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def save_checkpoint(folder: Path, trainer: MetaTrainer) -> None:
    """Write the checkpoint atomically; if it fails, the previous one is intact.

    Raises:
        OSError: it cannot be written, for instance because the disk is full.
    """
    # torch.save tells of a full disk by an error of its own, so it writes to memory.
    content = io.BytesIO()
    torch.save(trainer.state_dict(), content)
    write_bytes(folder / CHECKPOINT, content.getvalue())


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read the state that `save_checkpoint` wrote.

    Raises:
        CheckpointError: there is none, or the file is damaged or not a checkpoint of this program.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"There is no {CHECKPOINT} in {folder.name}, so there is nothing to resume.")
    _check_sums(path)
    state = load_plain(path)
    if not isinstance(state, dict) or "modules" not in state:
        raise CheckpointError(f"{path.name} in {folder.name} is not a checkpoint of this program.")
    return state


def _check_sums(path: Path) -> None:
    """Compare the content with the checksums in the file, which torch.load does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() is not None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError):
        damaged = True
    if damaged:
        raise CheckpointError(
            f"{path.name} in {path.parent.name} is damaged or not a checkpoint of this program; it was not loaded."
        )


def resume(folder: Path, trainer: MetaTrainer) -> None:
    """Resume a trainer from the checkpoint in a folder.

    Raises:
        CheckpointError: there is none, or it is damaged, foreign, or of a run with other settings.
    """
    state = load_checkpoint(folder)
    try:
        trainer.load_state_dict(state)
    except CheckpointError:
        raise
    # A foreign file may hold anything under the names that are looked for.
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{CHECKPOINT} in {folder.name} is not a checkpoint of this program, or one of another version: something "
            f"in it is missing or of another kind ({type(error).__name__})."
        ) from error


def tidy(folder: Path, step: int) -> None:
    """Remove half-written files, and the history after `step`, which a resumed run repeats."""
    for name in (CHECKPOINT, HISTORY, SETTINGS, CONFIG, WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS):
        remove_leftovers(folder / name)
    _trim_history(folder, step)


def save_models(folder: Path, trainer: MetaTrainer, task: str) -> None:
    """Write the fusion module as a model folder, with the two training modules beside it.

    With a fixed loss the loss proposal module was not trained, and is not written.
    """
    model = ReFusion(task=task, window=trainer.modules.fusion.window)
    model.load_state_dict(trainer.fused_module().state_dict())
    save_model(folder, model, model.config)
    if trainer.settings.loss not in FIXED_LOSSES:
        save_weights(trainer.modules.proposal, folder / PROPOSAL_WEIGHTS)
    save_weights(trainer.modules.reconstruction, folder / RECONSTRUCTION_WEIGHTS)


def append_history(folder: Path, progress: Progress) -> None:
    """Append a line of figures to the history of the run."""
    row = {"step": progress.step, "seconds": round(progress.seconds, 1), "lr": progress.lr, **progress.losses}
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps({k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}) + "\n")


def _trim_history(folder: Path, step: int) -> None:
    """Drop lines after `step`, and a half-written one."""
    path = folder / HISTORY
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))
