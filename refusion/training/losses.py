"""The proposed fusion loss and the reconstruction loss, as functions (paper, section 3.2 and 3.4).

Under autocast, too, they are computed in the type of the sources: in bfloat16 the differences of neighbouring pixels
would be lost.
"""

import torch
from torch import Tensor

from refusion.modules.gradients import image_gradient, sobel
from refusion.modules.loss_proposal import LossWeights


def proposed_fusion_loss(
    fused: Tensor, a: Tensor, b: Tensor, weights: LossWeights, alpha: float | Tensor, signed: bool = False
) -> Tensor:
    """L_f = L_int + alpha L_grad with proposed weights (paper, equations 1 to 3).

    Args:
        fused: fused luminance, (N, 1, H, W), in [0, 1].
        a: first sources, the same shape.
        b: second sources, the same shape.
        weights: w and v of the loss proposal module.
        alpha: weight of the gradient term.
        signed: compare the Sobel derivatives with their signs, along x and y apart, in place of G. Their magnitudes
            alone leave open which way an edge goes.

    Returns:
        A scalar, the mean over pixels and batch.

    Raises:
        ValueError: the shapes differ, or are not (N, 1, H, W).
    """
    _check_shapes(fused=fused, a=a, b=b)
    if {weight.shape for weight in weights} != {(len(a), 2, *a.shape[2:])}:
        shapes = " and ".join(str(tuple(weight.shape)) for weight in weights)
        raise ValueError(
            f"The weights have shapes {shapes}; for sources of shape {tuple(a.shape)}, w and v must be "
            f"{(len(a), 2, *a.shape[2:])}."
        )
    with torch.autocast(a.device.type, enabled=False):
        fused = fused.to(a.dtype)
        sources = torch.cat((a, b), dim=1)
        intensity = (weights.intensity * (sources - fused)).square().sum(dim=1).mean()
        derivatives = sobel if signed else image_gradient
        gradients = torch.stack((derivatives(a), derivatives(b)), dim=1)
        error = weights.gradient.unsqueeze(2) * (gradients - derivatives(fused).unsqueeze(1))
        gradient = error.square().sum(dim=(1, 2)).mean()
        return intensity + alpha * gradient


def reconstruction_loss(a: Tensor, b: Tensor, a_reconstructed: Tensor, b_reconstructed: Tensor) -> Tensor:
    """L_r: the larger of both sources' errors at each pixel, squared, for intensity and gradient.

    Args:
        a: first sources, (N, 1, H, W), in [0, 1].
        b: second sources, the same shape.
        a_reconstructed: reconstruction of a, the same shape.
        b_reconstructed: reconstruction of b, the same shape.

    Returns:
        A scalar, the mean over pixels and batch.

    Raises:
        ValueError: the shapes differ, or are not (N, 1, H, W).
    """
    _check_shapes(a=a, b=b, a_reconstructed=a_reconstructed, b_reconstructed=b_reconstructed)
    with torch.autocast(a.device.type, enabled=False):
        a_reconstructed, b_reconstructed = a_reconstructed.to(a.dtype), b_reconstructed.to(b.dtype)
        intensity = torch.maximum((a - a_reconstructed).abs(), (b - b_reconstructed).abs())
        gradient = torch.maximum(
            (image_gradient(a) - image_gradient(a_reconstructed)).abs(),
            (image_gradient(b) - image_gradient(b_reconstructed)).abs(),
        )
        return intensity.square().mean() + gradient.square().mean()


def alpha_at(progress: float, first: float = 0.05, last: float = 1.0) -> float:
    """Share of the gradient term, growing linearly over training (paper, section 4.1).

    Args:
        progress: how much of the training is done, in [0, 1].
        first: value at the start.
        last: value at the end.
    """
    return first + (last - first) * min(max(progress, 0.0), 1.0)


def _check_shapes(**images: Tensor) -> None:
    """Refuse shapes that torch would broadcast to a loss of something else."""
    shapes = {name: tuple(image.shape) for name, image in images.items()}
    if len(set(shapes.values())) > 1:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"The images have different shapes: {given}; they must be equal.")
    shape = next(iter(shapes.values()))
    if len(shape) != 4 or shape[1] != 1:
        raise ValueError(f"The images have shape {shape}; luminance of shape (N, 1, H, W) is accepted.")
