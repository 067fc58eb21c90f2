"""Image gradients."""

import torch
from torch import Tensor
from torch.nn import functional as F


def image_gradient(x: Tensor) -> Tensor:
    """G(x) = |Sobel_x x| + |Sobel_y x|.

    Args:
        x: images, (N, 1, H, W).

    Returns:
        (N, 1, H, W), at least 0; the border is replicated, so a constant image has no gradient anywhere.
    """
    return sobel(x).abs().sum(dim=1, keepdim=True)


def sobel(x: Tensor) -> Tensor:
    """Sobel derivatives along both axes, with their signs.

    Args:
        x: images, (N, 1, H, W).

    Returns:
        (N, 2, H, W), along x and along y; the border is replicated.
    """
    along_x = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack((along_x, along_x.T)).unsqueeze(1)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)
