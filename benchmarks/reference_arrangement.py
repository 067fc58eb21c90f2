"""The modules arranged like the fusion module of the authors' release, for comparison: same arithmetic and weights.

Feature maps are NCHW; layer norms consist of single operations on (N, H W, C), with a rearrangement before and after;
queries and keys are normalised as whole maps; the attention is applied to the values before they are projected.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.modules.fusion import FusionModule, InteractiveFusion
from refusion.modules.loss_proposal import LossProposalModule, feature_scores
from refusion.modules.reconstruction import ReconstructionModule

EPS = 1e-5


def _conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    margin = conv.kernel_size[0] // 2
    if margin and conv.padding_mode != "zeros":
        x, margin = F.pad(x, (margin,) * 4, mode=conv.padding_mode), 0
    return F.conv2d(x, conv.weight, padding=margin, groups=conv.groups)


def _layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    n, c, h, w = x.shape
    rows = x.reshape(n, c, h * w).transpose(1, 2)
    mean = rows.mean(-1, keepdim=True)
    variance = rows.var(-1, keepdim=True, unbiased=False)
    rows = (rows - mean) / torch.sqrt(variance + EPS) * norm.weight + norm.bias
    return rows.transpose(1, 2).reshape(n, c, h, w).contiguous()


def _attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    n, c, h, w = q.shape
    heads = len(temperature)
    q, k, v = (x.reshape(n, heads, c // heads, h * w) for x in (q, k, v))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return ((q @ k.transpose(-2, -1) * temperature).softmax(dim=-1) @ v).reshape(n, c, h, w)


def _block(x: Tensor, block: nn.Module) -> Tensor:
    attention, ffn = block.attn, block.ffn
    qkv = _conv(_conv(_layer_norm(x, block.norm1), attention.qkv), attention.qkv_dwconv)
    x = x + _conv(_attention(*qkv.chunk(3, dim=1), attention.temperature), attention.project_out)
    gate, value = _conv(_conv(_layer_norm(x, block.norm2), ffn.project_in), ffn.dwconv).chunk(2, dim=1)
    return x + _conv(F.gelu(gate) * value, ffn.project_out)


def _blocks(x: Tensor, blocks: nn.Sequential) -> Tensor:
    for block in blocks:
        x = _block(x, block)
    return x


def _interaction(x1: Tensor, x2: Tensor, m: InteractiveFusion) -> Tensor:
    q1, k1, v1 = _conv(_conv(x1, m.qkv1), m.qkv1_dwconv).chunk(3, dim=1)
    q2, k2, v2 = _conv(_conv(x2, m.qkv2), m.qkv2_dwconv).chunk(3, dim=1)
    x1 = x1 + _conv(_attention(q2, k1, v1, m.temperature1), m.project_mid1)
    x2 = x2 + _conv(_attention(q1, k2, v2, m.temperature2), m.project_mid2)
    both = torch.cat((x1, x2), dim=1)
    gate1, gate2 = _conv(_conv(both, m.gates), m.gates_dwconv).chunk(2, dim=1)
    gated1 = F.gelu(gate1) * _conv(_conv(x1, m.value1), m.value1_dwconv)
    gated2 = F.gelu(gate2) * _conv(_conv(x2, m.value2), m.value2_dwconv)
    return both + _conv(gated1, m.project_out1) + _conv(gated2, m.project_out2)


def reference_fuse(module: FusionModule, a: Tensor, b: Tensor) -> Tensor:
    """Fuse luminance, (N, 1, H, W) in [0, 1], as `FusionModule.forward` does."""
    x1, x2 = _conv(a, module.project_in_1), _conv(b, module.project_in_2)
    for one, other in zip(module.encoder1, module.encoder2, strict=True):
        x1, x2 = _block(x1, one), _block(x2, other)
    x = _blocks(_interaction(x1, x2, module.interaction), module.decoder)
    return torch.sigmoid(_conv(F.leaky_relu(_conv(x, module.project_out_0), 0.01), module.project_out_1))


class ReferenceFusionModule(FusionModule):
    """The fusion module in the authors' arrangement."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """See `FusionModule.forward`."""
        return reference_fuse(self, a, b)


class ReferenceLossProposalModule(LossProposalModule):
    """The loss proposal module in the authors' arrangement."""

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """See `LossProposalModule.logits`."""
        x1 = _blocks(_conv(a, self.project_in_1), self.encoder1)
        x2 = _blocks(_conv(b, self.project_in_2), self.encoder2)
        x = self.activation(_conv(_blocks(torch.cat((x1, x2), dim=1), self.trunk), self.project_mid))
        scores = torch.cat((_conv(x, self.intensity_head), _conv(x, self.gradient_head)), dim=1)
        return scores + feature_scores(self.gains, a, b)


class ReferenceReconstructionModule(ReconstructionModule):
    """The reconstruction module in the authors' arrangement."""

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """See `ReconstructionModule.forward`."""
        x = _blocks(_conv(fused, self.project_in), self.encoder)
        a, b = (F.leaky_relu(_blocks(x, branch), 0.01) for branch in (self.branch1, self.branch2))
        return torch.sigmoid(_conv(a, self.project_out_1)), torch.sigmoid(_conv(b, self.project_out_2))
