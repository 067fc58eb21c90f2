"""What a training leaves behind: a folder that `ReFusion.from_pretrained` loads, and a checkpoint beside it."""

import json
from pathlib import Path
from typing import Any

import torch

from refusion.checkpoints import CheckpointError, load_plain
from refusion.files import replacing, write_text
from refusion.fixed_losses import FIXED_LOSSES
from refusion.hub import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, save_model, save_weights
from refusion.model import ReFusion
from refusion.trainer import MetaTrainer, Progress

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.jsonl"


def save_checkpoint(folder: Path, trainer: MetaTrainer) -> None:
    """Write all of the state; a killed write leaves the previous checkpoint."""
    with replacing(folder / CHECKPOINT) as temporary:
        torch.save(trainer.state_dict(), temporary)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read the state that `save_checkpoint` wrote.

    Raises:
        CheckpointError: there is none, or the file is damaged or not a checkpoint of this program.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"There is no {CHECKPOINT} in {folder.name}, so there is nothing to resume.")
    state = load_plain(path)
    if not isinstance(state, dict) or "modules" not in state:
        raise CheckpointError(f"{path.name} in {folder.name} is not a checkpoint of this program.")
    return state


def save_models(folder: Path, trainer: MetaTrainer, task: str) -> None:
    """Write the fusion module as a model folder, and the two training modules in files of their own.

    With a fixed loss the loss proposal module was not trained, and is not written.
    """
    model = ReFusion(task=task)
    model.load_state_dict(trainer.fused_module().state_dict())
    save_model(folder, model, model.config)
    if trainer.settings.loss not in FIXED_LOSSES:
        save_weights(trainer.modules.proposal, folder / PROPOSAL_WEIGHTS)
    save_weights(trainer.modules.reconstruction, folder / RECONSTRUCTION_WEIGHTS)


def append_history(folder: Path, progress: Progress) -> None:
    """Add one line of figures to the history of the run."""
    row = {"step": progress.step, "seconds": round(progress.seconds, 1), "lr": progress.lr, **progress.losses}
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps({k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}) + "\n")


def trim_history(folder: Path, step: int) -> None:
    """Drop what was noted after `step`, which a resumed run does again, and a line that a kill left half written."""
    path = folder / HISTORY
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))
