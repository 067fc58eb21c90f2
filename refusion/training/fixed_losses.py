"""Fixed rules for the weights of the fusion loss, as baselines for the learned ones.

The hand-made losses of the paper's ablation: the fusion loss keeps its form (section 3.2), and only what the loss
proposal module would propose is replaced.
"""

import torch
from torch import Tensor

from refusion.modules.gradients import image_gradient
from refusion.modules.loss_proposal import LossWeights
from refusion.training.settings import FIXED_LOSSES


def trust_larger(a: Tensor, b: Tensor) -> Tensor:
    """One-hot weights of the larger of two maps at each pixel.

    Args:
        a: map of the first source, (N, 1, H, W).
        b: map of the second source, the same shape.

    Returns:
        (N, 2, H, W): 1 for the larger, 0 for the smaller, 1/2 for both where they are equal.
    """
    first = (torch.sign(a - b) + 1) / 2
    return torch.cat((first, 1 - first), dim=1)


def fixed_weights(loss: str, a: Tensor, b: Tensor) -> LossWeights:
    """Weights of a loss that is not learned; exchanging the sources exchanges them.

    Args:
        loss: ``average`` (w = v = 1/2), ``max-gradient`` (v trusts the source with the larger `image_gradient`,
            w = 1/2), ``max-intensity`` (w trusts the brighter source, v = 1/2) or ``max-both``.
        a: first sources, (N, 1, H, W), luminance in [0, 1].
        b: second sources, the same shape.

    Raises:
        ValueError: there is no such loss.
    """
    if loss not in FIXED_LOSSES:
        raise ValueError(f"There is no fixed loss {loss!r}; choose {' or '.join(FIXED_LOSSES)}.")
    half = torch.full_like(torch.cat((a, b), dim=1), 0.5)
    intensity = trust_larger(a, b) if loss in ("max-intensity", "max-both") else half
    gradient = trust_larger(image_gradient(a), image_gradient(b)) if loss in ("max-gradient", "max-both") else half
    return LossWeights(intensity, gradient)
