"""Convert checkpoints of the authors' release.

The release (github.com/HaowenBai/ReFusion) holds a plain state dict of 140 tensors in which every convolution
weight appears twice, as ``X.weight`` and ``X.conv.weight``. The checkpoints have no licence, so none is included
here; users provide their own copy.
"""

from pathlib import Path

import torch
from torch import Tensor

from refusion.hub.folder import check_weights
from refusion.models.model import ReFusion
from refusion.system.checkpoints import CheckpointError, load_plain

# Our name: their name.
_INTERACTION_NAMES = {
    "gates": "project_E",
    "gates_dwconv": "project_E_d",
    "value1": "project_E1",
    "value1_dwconv": "project_E1_d",
    "value2": "project_E2",
    "value2_dwconv": "project_E2_d",
}


def convert_checkpoint(path: Path, task: str) -> ReFusion:
    """Convert a checkpoint of the authors' release.

    Args:
        path: file of the release, such as ReFusion_IVIF.pth.
        task: task that it was trained for, one of `refusion.tasks.TASKS`.

    Returns:
        A model with the output of the release; its convolutions pad with zeros, as in the release.

    Raises:
        CheckpointError: the file is missing, not such a checkpoint, or has missing or unexpected weights.
        ModelError: a weight has another shape.
    """
    model = ReFusion(task=task, padding_mode="zeros")
    wanted = model.state_dict()
    weights = renamed(read_state_dict(path), wanted, path.name)
    check_weights(path.name, weights, wanted)
    model.load_state_dict(weights)
    return model.eval()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Load a state dict without running code that it may contain.

    Raises:
        CheckpointError: the file is missing, or not a plain state dict.
    """
    state = load_plain(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path.name} is not a plain state dict of tensors.")
    return state


def renamed(state: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Rename the weights for this library and drop the second copy of each convolution.

    Args:
        state: the authors' state dict.
        wanted: state dict of this library's module.
        name: name of the file, for messages.

    Raises:
        CheckpointError: a key is missing or unknown, or the two copies of a convolution differ.
    """
    theirs = {key: authors_key(key) for key in wanted}
    twins = {t: t.replace(".weight", ".conv.weight") for key, t in theirs.items() if wanted[key].ndim == 4}
    known = {*theirs.values(), *twins.values()}
    wrong = [f"lacks {key}" for key in sorted(known - state.keys())]
    wrong += [f"holds {key}, which the release has not" for key in sorted(state.keys() - known)]
    if wrong:
        more = f" and {len(wrong) - 6} more such differences" if len(wrong) > 6 else ""
        raise CheckpointError(f"{name} is no checkpoint of the authors' release: it {'; '.join(wrong[:6])}{more}.")
    for key, twin in twins.items():
        if not torch.equal(state[key], state[twin]):
            raise CheckpointError(f"{name} holds two different copies of one weight, {key} and {twin}.")
    return {key: state[t].clone() for key, t in theirs.items()}


def authors_key(key: str) -> str:
    """Name in the authors' release of a weight of the fusion module."""
    parts = key.split(".")
    if parts[0] == "interaction":
        parts[:2] = ["FM", _INTERACTION_NAMES.get(parts[1], parts[1])]
    if parts[-2].startswith("norm"):
        parts.insert(-1, "body")
    return ".".join(parts)
