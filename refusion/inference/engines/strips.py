"""Evaluate the fusion module strip by strip: the result of `FusionModule.forward`, faster and in little memory.

The attention is over the whole image, so the image cannot be divided into tiles; but each attention matrix is computed
from sums over pixels. Every transformer block therefore makes two passes over the image: one adds up its Gram matrix,
the other applies the attention and the rest of the block. The second pass of a block and the first of the next block
share a loop, in which a strip of a few rows runs through all their layers while it is in the processor's cache.

The weight of the norms and the projection after the attention are folded into small matrices. Only the features are
stored for the whole image, in one map that each pass overwrites: the output of a 3 x 3 convolution is one row behind
its input, so that rows are written only after they were read. The map has an additional column at each side for the
padding of the convolutions; the border columns of a strip are filled after each of its layers.

This is for GPUs; on a CPU, `refusion.inference.engines.onnx_tiles` is faster, but supports only float32. For windowed
attention, use `refusion.inference.engines.parts`.
"""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.inference.engines.row_convolution import Pointwise, RowConvolution, normalised, pad_columns, scaled
from refusion.modules.blocks import NORM_EPS, GatedFeedForward, LayerNorm2d, TransformerBlock
from refusion.modules.fusion import FusionModule, InteractiveFusion, check_sources
from refusion.system.devices import free_memory

STRIP_PIXELS = {"cpu": 20_000}
"""Maximum pixels of a strip by device type, if not `GPU_STRIP_PIXELS`."""

GPU_STRIP_PIXELS = 1_000_000
"""Maximum pixels of a strip on a GPU: a map of 32 channels of float32 takes 0.13 GB."""

GPU_STRIP_BYTES = 4096
"""Free GPU memory in bytes per pixel of a strip, several times the size of its maps."""


def strip_rows(height: int, width: int, device: torch.device) -> int:
    """Number of rows of a strip for a device."""
    pixels = STRIP_PIXELS.get(device.type, GPU_STRIP_PIXELS)
    if device.type == "cuda":
        pixels = min(pixels, free_memory(device) // GPU_STRIP_BYTES)
    return max(1, min(height, pixels // width))


def bytes_held(module: FusionModule, dtype: torch.dtype) -> int:
    """Memory in bytes per pixel of the image, for features, both sources, the scales of two norms and the result.

    The memory of the strips is not included.
    """
    return (2 * module.project_in_1.out_channels + 5) * dtype.itemsize


def fuse_in_strips(module: FusionModule, a: Tensor, b: Tensor, *, rows: int | None = None) -> Tensor:
    """Fuse luminance, as `FusionModule.forward` does, without gradients.

    Args:
        module: the fusion module.
        a: first source, (1, 1, H, W), in [0, 1], H and W at least 8; of the module's dtype and on its device.
        b: second source, likewise.
        rows: rows of a strip; by default chosen for the device.

    Returns:
        Fused luminance, (1, 1, H, W), in (0, 1).

    Raises:
        ValueError: the shapes differ, are not (1, 1, H, W), or are smaller than 8 x 8; or `rows` is less than 1.
    """
    check_sources(a, b)
    height, width = a.shape[2:]
    if len(a) != 1:
        raise ValueError(f"The sources have shape {tuple(a.shape)}; one pair, (1, 1, H, W), is accepted.")
    if rows is None:
        rows = strip_rows(height, width, a.device)
    if rows < 1:
        raise ValueError(f"A strip has {rows} rows; it must have at least 1.")
    with torch.inference_mode():
        return _fuse(module, a[0, 0, :, :, None], b[0, 0, :, :, None], rows)[None, None]


def _fuse(module: FusionModule, a: Tensor, b: Tensor, rows: int) -> Tensor:
    height, width = a.shape[:2]
    features = a.new_empty(height, width + 2, 2 * module.project_in_1.out_channels)
    halves = features.chunk(2, dim=2)
    heads: list[_Head] = [
        _ProjectIn(module.project_in_1, a, halves[0]),
        _ProjectIn(module.project_in_2, b, halves[1]),
    ]
    for blocks in zip(module.encoder1, module.encoder2, strict=True):
        grams = [_Gram(cast(TransformerBlock, block), half) for block, half in zip(blocks, halves, strict=True)]
        _pass(heads, grams, height, rows)
        heads = [_RestOfBlock(gram) for gram in grams]
    cross = _CrossGram(module.interaction, features)
    _pass(heads, [cross], height, rows)
    heads = [_RestOfInteraction(cross)]
    for block in module.decoder:
        gram = _Gram(cast(TransformerBlock, block), features)
        _pass(heads, [gram], height, rows)
        heads = [_RestOfBlock(gram)]
    fused = a.new_empty(height, width)
    _pass(heads, [_ProjectOut(module, features, fused)], height, rows)
    return fused


class _Head(Protocol):
    """Writes rows of the features."""

    def push(self, strip: slice, last: bool) -> slice:
        """Process a strip, and return the rows that are finished."""


class _Tail(Protocol):
    """Reads rows of the features."""

    def push(self, strip: slice, last: bool) -> None:
        """Process a strip."""


def _pass(heads: Sequence[_Head], tails: Sequence[_Tail], height: int, rows: int) -> None:
    """Run all strips through the layers of one pass.

    The heads write rows of the features, all heads the same rows; the tails read them.
    """
    for start in range(0, height, rows):
        strip = slice(start, min(start + rows, height))
        last = strip.stop == height
        finished = [head.push(strip, last) for head in heads]
        for tail in tails:
            tail.push(finished[0], last)


class _ProjectIn:
    """The first convolution of one source."""

    def __init__(self, conv: nn.Conv2d, source: Tensor, features: Tensor) -> None:
        self.conv, self.features = RowConvolution(conv, room=True), features
        self.source = source.new_empty(len(source), features.shape[1], 1)
        self.source[:, 1:-1] = source
        pad_columns(self.source, conv.padding_mode)

    def push(self, strip: slice, last: bool) -> slice:
        done, x = self.conv.push(self.source[strip], last)
        pad_columns(x, self.conv.mode)
        self.features[done] = x
        return done


class _Gram:
    """The Gram matrix of a transformer block's attention."""

    def __init__(self, block: TransformerBlock, features: Tensor) -> None:
        self.block, self.features = block, features
        self.projections = _Projections(block.attn.qkv, block.attn.qkv_dwconv, block.norm1)
        self.scales = features.new_empty(features.shape[:2])
        self.sums = _AttentionSums(features)

    def push(self, strip: slice, last: bool) -> None:
        x = normalised(self.features[strip], self.block.norm1.eps, self.scales[strip])
        _, queries_and_keys = self.projections.queries_and_keys.push(x, last)
        self.sums.add(*queries_and_keys.flatten(0, 1).chunk(2, dim=1))


class _RestOfBlock:
    """A transformer block from the values of its attention on, using the features and scales of the first pass."""

    def __init__(self, gram: _Gram) -> None:
        attn, ffn, norm = gram.block.attn, cast(GatedFeedForward, gram.block.ffn), gram.block.norm2
        self.features, self.scales, self.values = gram.features, gram.scales, gram.projections.values
        self.attention = gram.sums.attention_matrix(attn.temperature, attn.project_out)
        self.mode, self.eps = ffn.dwconv.padding_mode, norm.eps
        self.conv = RowConvolution(ffn.dwconv, Pointwise(ffn.project_in, norm), room=True)
        self.project_out = ffn.project_out.weight.flatten(1).T

    def push(self, strip: slice, last: bool) -> slice:
        attended, v = self.values.push(scaled(self.features[strip], self.scales[strip]), last)
        x = self.features[attended]
        _add_product(x, v, self.attention)
        pad_columns(x, self.mode)
        done, hidden = self.conv.push(normalised(x, self.eps), last)
        x = self.features[done]
        gate, value = hidden.chunk(2, dim=2)
        _add_gated(x, gate, value, self.project_out)
        pad_columns(x, self.mode)
        return done


class _CrossGram:
    """The Gram matrices between the two sources."""

    def __init__(self, interaction: InteractiveFusion, features: Tensor) -> None:
        self.interaction, self.features = interaction, features
        self.halves = features.chunk(2, dim=2)
        self.projections = (
            _Projections(interaction.qkv1, interaction.qkv1_dwconv),
            _Projections(interaction.qkv2, interaction.qkv2_dwconv),
        )
        self.sums = _AttentionSums(self.halves[0]), _AttentionSums(self.halves[1])

    def push(self, strip: slice, last: bool) -> None:
        (q1, k1), (q2, k2) = (
            projections.queries_and_keys.push(half[strip], last)[1].flatten(0, 1).chunk(2, dim=1)
            for projections, half in zip(self.projections, self.halves, strict=True)
        )
        self.sums[0].add(q2, k1)
        self.sums[1].add(q1, k2)


class _RestOfInteraction:
    """The interactive fusion from the values of its attention on."""

    def __init__(self, cross: _CrossGram) -> None:
        module = cross.interaction
        self.features, self.halves = cross.features, cross.halves
        self.values = [projections.values for projections in cross.projections]
        self.attention = (
            cross.sums[0].attention_matrix(module.temperature1, module.project_mid1),
            cross.sums[1].attention_matrix(module.temperature2, module.project_mid2),
        )
        layers = (
            (module.gates, module.gates_dwconv),
            (module.value1, module.value1_dwconv),
            (module.value2, module.value2_dwconv),
        )
        self.convs = [RowConvolution(depthwise, Pointwise(conv), room=True) for conv, depthwise in layers]
        self.project_out = [conv.weight.flatten(1).T for conv in (module.project_out1, module.project_out2)]

    def push(self, strip: slice, last: bool) -> slice:
        for half, values, attention in zip(self.halves, self.values, self.attention, strict=True):
            attended, v = values.push(half[strip], last)
            _add_product(half[attended], v, attention)
        pad_columns(self.features[attended], self.convs[0].mode)
        maps = (self.features[attended], *(half[attended] for half in self.halves))
        (done, gates), *pushed = (conv.push(x, last) for conv, x in zip(self.convs, maps, strict=True))
        x = self.features[done]
        for gate, (_, value), matrix in zip(gates.chunk(2, dim=2), pushed, self.project_out, strict=True):
            _add_gated(x, gate, value, matrix)
        pad_columns(x, self.convs[0].mode)
        return done


class _ProjectOut:
    """The last two convolutions."""

    def __init__(self, module: FusionModule, features: Tensor, fused: Tensor) -> None:
        self.features, self.fused = features, fused
        self.convs = RowConvolution(module.project_out_0, room=True), RowConvolution(module.project_out_1)

    def push(self, strip: slice, last: bool) -> None:
        _, x = self.convs[0].push(self.features[strip], last)
        x = F.leaky_relu_(x, 0.01)
        pad_columns(x, self.convs[1].mode)
        done, x = self.convs[1].push(x, last)
        torch.sigmoid(x[..., 0], out=self.fused[done])


class _Projections:
    """Queries and keys of the attention, needed in one pass over the image, and values, needed in the next.

    Args:
        conv: the pointwise convolution.
        depthwise: the depthwise convolution after it.
        norm: the layer norm before both, or None.
    """

    def __init__(self, conv: nn.Conv2d, depthwise: nn.Conv2d, norm: LayerNorm2d | None = None) -> None:
        third = conv.out_channels // 3
        two, one = slice(2 * third), slice(2 * third, 3 * third)
        self.queries_and_keys = RowConvolution(depthwise, Pointwise(conv, norm, two), two)
        self.values = RowConvolution(depthwise, Pointwise(conv, norm, one), one, room=True)


class _AttentionSums:
    """The sums over pixels from which a matrix of transposed attention is computed."""

    def __init__(self, features: Tensor) -> None:
        channels = features.shape[2]
        # Apple's GPUs have no float64.
        dtype = torch.float32 if features.device.type == "mps" else torch.float64
        self.gram = features.new_zeros(channels, channels, dtype=dtype)
        self.squares = features.new_zeros(2, channels, dtype=dtype)

    def add(self, q: Tensor, k: Tensor) -> None:
        """Add the queries and keys of some pixels, (pixels, C) each."""
        if q.dtype == torch.float16:  # Sums over many pixels overflow it.
            q, k = q.float(), k.float()
        self.gram += q.T @ k
        self.squares += torch.stack([(x * x).sum(dim=0) for x in (q, k)])

    def attention_matrix(self, temperature: Tensor, projection: nn.Conv2d) -> Tensor:
        """Combine the attention and the projection after it.

        Returns:
            The (C, C) matrix by which (n, W, C) values are multiplied.
        """
        q_norm, k_norm = self.squares.sqrt().clamp_min(NORM_EPS)
        gram = (self.gram / (q_norm[:, None] * k_norm)).to(temperature.dtype)
        shape = (len(temperature), len(gram) // len(temperature))
        of_heads = gram.unflatten(1, shape).unflatten(0, shape).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        attention = torch.block_diag(*(of_heads * temperature).softmax(dim=2))
        return (projection.weight.flatten(1) @ attention).T.contiguous()


def _add_gated(x: Tensor, gate: Tensor, value: Tensor, matrix: Tensor) -> None:
    """x += (gelu(gate) value) @ matrix, for (n, W, C) maps."""
    _add_product(x, F.gelu(gate).mul_(value), matrix)


def _add_product(x: Tensor, y: Tensor, matrix: Tensor) -> None:
    """x += y @ matrix, for (n, W, C) maps."""
    x.flatten(0, 1).addmm_(y.flatten(0, 1), matrix)
