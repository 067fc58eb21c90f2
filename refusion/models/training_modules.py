"""Load the two modules needed only for training and explanation, stored beside the fusion module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, check_training_weights, load_weights
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule


def load_training_modules(folder: Path, config: Mapping[str, Any]) -> tuple[LossProposalModule, ReconstructionModule]:
    """Load the loss proposal module and the reconstruction module of a model.

    Args:
        folder: the model folder.
        config: constructor arguments of the fusion module.

    Returns:
        Both modules in evaluation mode, on the CPU.

    Raises:
        NoWeightsError: the folder lacks one of them.
        ModelError: a file is damaged or does not match the configuration.
    """
    check_training_weights(folder)
    widths = _widths(config)
    proposal, reconstruction = LossProposalModule(**widths), ReconstructionModule(**widths)
    load_weights(proposal, folder / PROPOSAL_WEIGHTS)
    load_weights(reconstruction, folder / RECONSTRUCTION_WEIGHTS)
    return proposal.eval(), reconstruction.eval()


def check_training_modules(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that the modules present in a folder can be loaded, before they are published.

    Args:
        folder: the model folder.
        config: constructor arguments of the fusion module.

    Raises:
        ModelError: a file is damaged or does not match the configuration.
    """
    for name, kind in ((PROPOSAL_WEIGHTS, LossProposalModule), (RECONSTRUCTION_WEIGHTS, ReconstructionModule)):
        if (folder / name).is_file():
            load_weights(kind(**_widths(config)), folder / name)


def _widths(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "task"}
