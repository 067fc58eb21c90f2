"""The reconstruction module: both sources from the fused image (paper, section 3.4). Training only."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.modules.blocks import Widths, conv3x3, transformer_blocks


class ReconstructionModule(nn.Module):
    """Reconstructs both sources from the fused image: one shared encoder, then one branch per source.

    Args:
        channels: width C of the feature maps.
        heads: attention heads; must divide `channels`.
        expansion: width of the gated feed-forward network relative to its input.
        blocks: transformer blocks in the encoder and in each branch.
        padding_mode: ``replicate``, ``reflect`` or ``zeros``.
        window: see `refusion.modules.fusion.FusionModule`.

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
        self.project_in = conv3x3(1, channels, padding_mode)
        self.encoder = transformer_blocks(widths)
        self.branch1 = transformer_blocks(widths)
        self.branch2 = transformer_blocks(widths)
        self.project_out_1 = conv3x3(channels, 1, padding_mode)
        self.project_out_2 = conv3x3(channels, 1, padding_mode)

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct both sources.

        Args:
            fused: fused luminance, (N, 1, H, W), around [0, 1] (noise may have been added).

        Returns:
            Reconstructions of a and b, each (N, 1, H, W), in (0, 1).
        """
        x = self.encoder(self.project_in(fused).contiguous(memory_format=torch.channels_last))
        a = torch.sigmoid(self.project_out_1(F.leaky_relu(self.branch1(x), 0.01)))
        b = torch.sigmoid(self.project_out_2(F.leaky_relu(self.branch2(x), 0.01)))
        return a, b
