"""Small modules, batches and trainers."""

from pathlib import Path
from typing import TypeVar

import torch

from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule
from refusion.pairs.dataset import load_pairs
from refusion.tasks import get_task
from refusion.training.crops import exchange
from refusion.training.settings import TrainingSettings
from refusion.training.trainer import MetaTrainer
from refusion.training.updates import MetaOptions, Modules

Module = TypeVar("Module", bound=torch.nn.Module)

SMALL = {"channels": 4, "heads": 2, "blocks": 1}


def modules(**arguments) -> Modules:
    """The three modules in double precision; the weights that are proposed are not 1/2 everywhere, as at the start."""
    made = Modules(
        *(m(**(arguments or SMALL)).double() for m in (FusionModule, LossProposalModule, ReconstructionModule))
    )
    with torch.no_grad():
        for weight in (made.proposal.intensity_head.weight, made.proposal.gradient_head.weight):
            weight.normal_(std=0.3)
    return made


def batch(seed: int, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 2, 1, side, side, generator=generator, dtype=torch.float64)
    return exchange(a, b)


def options(**given) -> MetaOptions:
    defaults = {"inner_lr": 0.05, "noise": 0.0, "equivariant": False, "image_space": False}
    return MetaOptions(**{**defaults, **given}, generator=torch.Generator().manual_seed(7))


def scattered(kind: type[Module] = FusionModule, **arguments) -> Module:
    """A module in which every weight matters: scales, shifts and temperatures are not at their start."""
    module = kind(**arguments).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name or "temperature" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
            elif "gains" in name or "_head" in name:
                parameter.normal_(std=0.5)  # these start at 0
            else:
                parameter.mul_(1.5)
    return module


def trainer(data: Path, **given) -> MetaTrainer:
    defaults = {"crop": 16, "batch_size": 1, "rounds": 4, "meta_updates": 1, "fusion_updates": 1}
    settings = TrainingSettings(**{**defaults, **given})
    return MetaTrainer(load_pairs(data, get_task("ir-vis")), settings)
