"""The fusion module: two sources in, one fused image out (paper, section 3.3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.images.picture import MIN_SIDE
from refusion.modules.blocks import (
    Widths,
    conv1x1,
    conv3x3,
    depthwise3x3,
    transformer_blocks,
    transposed_attention,
)


class InteractiveFusion(nn.Module):
    """Combines two feature maps: cross attention between channels, then gates.

    Two maps of shape (N, C, H, W) in, one of shape (N, 2 C, H, W) out.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        channels, heads, padding_mode = widths.channels, widths.heads, widths.padding_mode
        hidden = 2 * widths.expansion * channels
        self.window = widths.window
        self.temperature1 = nn.Parameter(torch.ones(heads, 1, 1))
        self.temperature2 = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv1 = conv1x1(channels, 3 * channels)
        self.qkv2 = conv1x1(channels, 3 * channels)
        self.qkv1_dwconv = depthwise3x3(3 * channels, padding_mode)
        self.qkv2_dwconv = depthwise3x3(3 * channels, padding_mode)
        self.project_mid1 = conv1x1(channels, channels)
        self.project_mid2 = conv1x1(channels, channels)
        self.gates = conv1x1(2 * channels, 2 * hidden)
        self.gates_dwconv = depthwise3x3(2 * hidden, padding_mode)
        self.value1 = conv1x1(channels, hidden)
        self.value2 = conv1x1(channels, hidden)
        self.value1_dwconv = depthwise3x3(hidden, padding_mode)
        self.value2_dwconv = depthwise3x3(hidden, padding_mode)
        self.project_out1 = conv1x1(hidden, 2 * channels)
        self.project_out2 = conv1x1(hidden, 2 * channels)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        q1, k1, v1 = self.qkv1_dwconv(self.qkv1(x1)).chunk(3, dim=1)
        q2, k2, v2 = self.qkv2_dwconv(self.qkv2(x2)).chunk(3, dim=1)
        x1 = x1 + self.project_mid1(transposed_attention(q2, k1, v1, self.temperature1, self.window))
        x2 = x2 + self.project_mid2(transposed_attention(q1, k2, v2, self.temperature2, self.window))
        both = torch.cat((x1, x2), dim=1)
        gate1, gate2 = self.gates_dwconv(self.gates(both)).chunk(2, dim=1)
        gated1 = F.gelu(gate1) * self.value1_dwconv(self.value1(x1))
        gated2 = F.gelu(gate2) * self.value2_dwconv(self.value2(x2))
        return both + self.project_out1(gated1) + self.project_out2(gated2)


class FusionModule(nn.Module):
    """The fusion module of ReFusion, the only one needed to fuse (59,856 parameters at the defaults).

    Args:
        channels: width C of the feature maps.
        heads: attention heads; must divide `channels`.
        expansion: width of the gated feed-forward network relative to its input.
        blocks: transformer blocks in each encoder and in the decoder, 0 to 100.
        padding_mode: padding of the 3 x 3 convolutions: ``replicate``, ``reflect`` or
            ``zeros`` (the authors' release; it leaves a visible frame).
        window: side of the attention window in pixels, a multiple of 5; None for the whole
            image (see `refusion.modules.blocks.windowed_attention`).

    Raises:
        TypeError: an argument is not of its type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        channels: int = Widths.channels,
        heads: int = Widths.heads,
        expansion: int = Widths.expansion,
        blocks: int = Widths.blocks,
        padding_mode: str = Widths.padding_mode,
        window: int | None = Widths.window,
    ) -> None:
        super().__init__()
        widths = Widths(channels, heads, expansion, blocks, padding_mode, window)
        self.project_in_1 = conv3x3(1, channels, padding_mode)
        self.project_in_2 = conv3x3(1, channels, padding_mode)
        self.window = window
        self.encoder1 = transformer_blocks(widths)
        self.encoder2 = transformer_blocks(widths)
        self.interaction = InteractiveFusion(widths)
        self.decoder = transformer_blocks(widths.doubled)
        self.project_out_0 = conv3x3(2 * channels, channels, padding_mode)
        self.project_out_1 = conv3x3(channels, 1, padding_mode)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse luminance.

        Args:
            a: first source, (N, 1, H, W), in [0, 1], H and W at least 8.
            b: second source, the same shape.

        Returns:
            Fused luminance, (N, 1, H, W), in (0, 1).

        Raises:
            ValueError: the shapes differ, are not (N, 1, H, W), or are smaller than 8 x 8.
        """
        if torch.onnx.is_in_onnx_export() and torch.jit.is_tracing():
            raise RuntimeError(
                "torch.onnx.export(dynamo=False) cannot trace this model; use refusion.models.export.export, or on the "
                "command line: refusion export MODEL -o model.onnx."
            )
        check_sources(a, b)
        # Only in this memory format are the inputs of the layer norms contiguous, and the norms fast.
        x1 = self.encoder1(self.project_in_1(a).contiguous(memory_format=torch.channels_last))
        x2 = self.encoder2(self.project_in_2(b).contiguous(memory_format=torch.channels_last))
        x = self.decoder(self.interaction(x1, x2))
        return torch.sigmoid(self.project_out_1(F.leaky_relu(self.project_out_0(x), 0.01)))


def check_sources(a: Tensor, b: Tensor) -> None:
    """Check that a pair of luminance tensors can be fused.

    Raises:
        ValueError: they cannot; the message gives the shapes and what is accepted.
    """
    if a.shape != b.shape:
        raise ValueError(f"The sources have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must be equal.")
    if a.ndim != 4 or a.shape[1] != 1:
        raise ValueError(f"The sources have shape {tuple(a.shape)}; luminance of shape (N, 1, H, W) is accepted.")
    if min(a.shape[-2:]) < MIN_SIDE:
        height, width = a.shape[-2:]
        raise ValueError(f"The sources are {width} x {height}; both sides must be at least {MIN_SIDE} pixels.")
