"""The transformer block that all three modules are built from (paper, section 3.3; Restormer, CVPR 2022).

Every feature map keeps the height and width of the picture. Convolutions carry no bias.
"""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# What `check_widths` lets through, of what torch has.
_PaddingMode = Literal["zeros", "replicate", "reflect"]

# The eps of torch.nn.functional.normalize, which the paper's attention uses.
NORM_EPS = 1e-12


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels at each pixel of an (N, C, H, W) map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PointwiseConv(nn.Conv2d):
    """1 x 1 convolution, as the matrix product that it is in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    """Pointwise convolution without bias."""
    return PointwiseConv(inputs, outputs, 1, bias=False)


def conv3x3(inputs: int, outputs: int, padding_mode: str) -> nn.Conv2d:
    """3 x 3 convolution without bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, padding_mode=cast(_PaddingMode, padding_mode))


def depthwise3x3(channels: int, padding_mode: str) -> nn.Conv2d:
    """Depthwise 3 x 3 convolution without bias that keeps height and width."""
    return nn.Conv2d(
        channels, channels, 3, padding=1, groups=channels, bias=False, padding_mode=cast(_PaddingMode, padding_mode)
    )


def transposed_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attention between channels, over all pixels (Restormer, equation 1).

    q and k are L2-normalised along the pixels; here the norms are divided out of the small Gram matrix, which is
    the same and touches no full-size map. The Gram matrix of all channels is one matrix product in channels-last
    memory; the heads are the blocks on its diagonal.

    Args:
        q: queries, (N, C, H, W).
        k: keys, (N, C, H, W).
        v: values, (N, C, H, W).
        temperature: (heads, 1, 1); C must be a multiple of heads.

    Returns:
        (N, C, H, W).
    """
    n, channels, height, width = v.shape
    heads = temperature.shape[0]
    shape = (heads, channels // heads)
    q, k, v = (x.permute(0, 2, 3, 1).reshape(n, height * width, channels) for x in (q, k, v))
    if v.dtype == torch.float16:
        # Sums over many pixels leave its range, so that the norms are divided out before.
        gram = _normalised(q).transpose(1, 2) @ _normalised(k)
    else:
        q_norm, k_norm = (torch.linalg.vector_norm(x, dim=1).clamp_min(NORM_EPS) for x in (q, k))
        gram = (q.transpose(1, 2) @ k) / (q_norm.unsqueeze(2) * k_norm.unsqueeze(1))
    blocks = gram.unflatten(2, shape).unflatten(1, shape).diagonal(dim1=1, dim2=3)
    attention = (blocks * temperature.permute(1, 2, 0)).softmax(dim=2)
    attention = torch.diag_embed(attention, dim1=1, dim2=3).reshape(n, channels, channels)
    return (v @ attention.transpose(1, 2)).reshape(n, height, width, channels).permute(0, 3, 1, 2)


def _normalised(x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp_min(NORM_EPS)
    return (x / norm).to(x.dtype)


class TransposedAttention(nn.Module):
    """Self-attention between channels (Restormer's multi-Dconv head transposed attention)."""

    def __init__(self, channels: int, heads: int, padding_mode: str) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv1x1(channels, 3 * channels)
        self.qkv_dwconv = depthwise3x3(3 * channels, padding_mode)
        self.project_out = conv1x1(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        return self.project_out(transposed_attention(q, k, v, self.temperature))


class GatedFeedForward(nn.Module):
    """Gated depthwise feed-forward network (Restormer's GDFN), exact (erf) GELU."""

    def __init__(self, channels: int, expansion: int, padding_mode: str) -> None:
        super().__init__()
        hidden = expansion * channels
        self.project_in = conv1x1(channels, 2 * hidden)
        self.dwconv = depthwise3x3(2 * hidden, padding_mode)
        self.project_out = conv1x1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); (N, C, H, W) in and out."""

    def __init__(self, channels: int, heads: int, expansion: int, padding_mode: str) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.attn = TransposedAttention(channels, heads, padding_mode)
        self.norm2 = LayerNorm2d(channels)
        self.ffn = GatedFeedForward(channels, expansion, padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


def transformer_blocks(count: int, channels: int, heads: int, expansion: int, padding_mode: str) -> nn.Sequential:
    """`count` transformer blocks in a row."""
    return nn.Sequential(*(TransformerBlock(channels, heads, expansion, padding_mode) for _ in range(count)))


def check_widths(channels: int, heads: int, expansion: int, padding_mode: str) -> None:
    """Refuse constructor arguments that no module can be built from.

    Raises:
        ValueError: a sentence that names the argument and what is accepted.
    """
    for name, value in (("channels", channels), ("heads", heads), ("expansion", expansion)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    if channels % heads:
        raise ValueError(f"channels ({channels}) must be a multiple of heads ({heads}).")
    if padding_mode not in ("zeros", "replicate", "reflect"):
        raise ValueError(f"padding_mode is {padding_mode!r}; it must be zeros, replicate or reflect.")
