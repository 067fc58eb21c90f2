"""Load a model with the two modules that it was trained with; bundled models without torch."""

from dataclasses import dataclass
from pathlib import Path

from refusion.explanation.proposal import LossProposal
from refusion.hub.errors import ModelError
from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS
from refusion.hub.names import check_revision, local_folder, locate
from refusion.inference.engines.onnx_tiles import OnnxModule
from refusion.inference.engines.onnx_training_modules import RECONSTRUCTION
from refusion.inference.engines.onnx_weights import Weights
from refusion.inference.network import Network
from refusion.models.bundled import bundled_weights, is_bundled, load_bundled
from refusion.system.extras import need


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """The fusion module and the two modules trained with it, on the CPU.

    Attributes:
        fusion: the fusion module.
        proposal: proposes the weights of the loss.
        reconstruction: reconstructs both sources from the fused image.
    """

    fusion: Network
    proposal: LossProposal
    reconstruction: OnnxModule

    @classmethod
    def from_weights(
        cls, fusion: Network, proposal: Weights, reconstruction: Weights, padding_mode: str, window: int | None
    ) -> "TrainedModel":
        """Make the two modules from their weights.

        Args:
            fusion: the fusion module.
            proposal: state dict of the loss proposal module, float32.
            reconstruction: state dict of the reconstruction module, float32.
            padding_mode: padding mode of the 3 x 3 convolutions.
            window: side of the window of the attention; None for the whole image.
        """
        return cls(
            fusion,
            LossProposal(proposal, padding_mode, window),
            OnnxModule(reconstruction, padding_mode, window, RECONSTRUCTION),
        )


def load_trained(name: str | Path, *, revision: str | None = None) -> TrainedModel:
    """Load a model with the two modules it was trained with.

    Args:
        name: as in `refusion.ReFusion.from_pretrained`; only a bundled model is loaded without torch.
        revision: branch, tag or commit on the Hub.

    Raises:
        ModelError: there is no such model, it has only the fusion module, or its weights do not fit.
        MissingExtraError: torch is needed, but not installed.
    """
    if not isinstance(name, str | Path):
        raise ModelError("A loaded model holds only the fusion module; give the name or folder of the model instead.")
    located = locate(name)
    check_revision(located, revision)
    if isinstance(name, str) and is_bundled(name):
        config, proposal = bundled_weights(name, PROPOSAL_WEIGHTS)
        _, reconstruction = bundled_weights(name, RECONSTRUCTION_WEIGHTS)
        fusion = load_bundled(name)
        return TrainedModel.from_weights(fusion, proposal, reconstruction, config["padding_mode"], config["window"])
    need("torch", f"The model {name}")

    from refusion.inference.engines.dispatch import state_arrays
    from refusion.models.model import ReFusion
    from refusion.models.training_modules import load_training_modules

    folder = local_folder(located, revision=revision)
    model = ReFusion.from_pretrained(folder)
    proposal, reconstruction = map(state_arrays, load_training_modules(folder, model.config))
    return TrainedModel.from_weights(model, proposal, reconstruction, model.project_in_1.padding_mode, model.window)
