"""The fusion module evaluated strip by strip: the result of `FusionModule.forward`, faster and in little memory.

Attention is over the whole picture, so it cannot be cut into tiles; but each attention matrix is made of sums over
pixels. Every transformer block therefore takes two passes over the picture: one that adds up its Gram matrix, one that
applies the attention and goes on. The second pass of a block and the first of the next one share a loop, in which a
strip of a few rows runs through all their layers while it is in the processor's cache.

What the output needs of a layer is folded into small matrices: the scale of the norms and the projection after the
attention. Only the features are held for the whole picture, in one map that each pass overwrites: the output of a 3 x 3
convolution is a row behind its input, so that rows are written only after they were read. The map has a column more at
each side, for what the convolutions see there; the border columns of a strip are written after each of its layers.

On a CPU, each thread takes a band of the picture through the passes (see `refusion.bands`). After each pass the bands
exchange the features at their borders.
"""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.bands import Band, bands_for, cut, exchange, side_by_side
from refusion.blocks import NORM_EPS, GatedFeedForward, LayerNorm2d, TransformerBlock
from refusion.devices import free_memory
from refusion.fusion import FusionModule, InteractiveFusion, check_sources
from refusion.row_convolution import Pointwise, RowConvolution, pad_columns

STRIP_PIXELS = 20_000
"""Pixels of a strip on a CPU: a map of 32 channels of float32 takes 2.6 MB."""

PART_CHANNELS = 32
"""Channels that are worked on at a time where there are more, a multiple of this: of so many, three rows of 2,500
pixels fit the second-level cache of a core."""

GPU_STRIP_PIXELS = 1_000_000
"""Pixels of a strip on a GPU at most: a map of 32 channels of float32 takes 0.13 GB."""

GPU_STRIP_BYTES = 4096
"""Free memory of a GPU that each pixel of a strip is given, several times what its maps take."""


def strip_rows(height: int, width: int, device: torch.device) -> int:
    """Rows of a strip that suit the machine."""
    pixels = STRIP_PIXELS if device.type == "cpu" else GPU_STRIP_PIXELS
    if device.type == "cuda":
        pixels = min(GPU_STRIP_PIXELS, free_memory(device) // GPU_STRIP_BYTES)
    return max(1, min(height, round(pixels / width)))


def bytes_held(module: FusionModule, dtype: torch.dtype) -> int:
    """Memory for each pixel of the picture: its features, both sources, the scales of two norms and the result.

    Strips come on top.
    """
    return (2 * module.project_in_1.out_channels + 5) * dtype.itemsize


def fuse_in_strips(
    module: FusionModule, a: Tensor, b: Tensor, *, rows: int | None = None, bands: int | None = None
) -> Tensor:
    """Fuse luminance, as `FusionModule.forward` does, without gradients.

    Args:
        module: the fusion module.
        a: first source, (1, 1, H, W), in [0, 1], H and W at least 8; of the module's dtype and on its device.
        b: second source, likewise.
        rows: rows of a strip; what suits the machine if not given.
        bands: bands that the picture is cut into, a thread for each; what suits the machine if not given.

    Returns:
        Fused luminance, (1, 1, H, W), in (0, 1).

    Raises:
        ValueError: the shapes differ, are not (1, 1, H, W), or are smaller than 8 x 8; `rows` is less than 1; or the
            picture has too few rows for so many bands.
    """
    check_sources(a, b)
    height, width = a.shape[2:]
    if len(a) != 1:
        raise ValueError(f"The sources have shape {tuple(a.shape)}; one pair, (1, 1, H, W), is accepted.")
    if rows is None:
        rows = strip_rows(height, width, a.device)
    if rows < 1:
        raise ValueError(f"A strip has {rows} rows; it must have at least 1.")
    if bands is None:
        bands = bands_for(height, a.device)
    with torch.inference_mode():
        return _fuse(module, a[0, 0, :, :, None], b[0, 0, :, :, None], rows, cut(height, bands))[None, None]


def _fuse(module: FusionModule, a: Tensor, b: Tensor, rows: int, bands: Sequence[Band]) -> Tensor:
    height, width = a.shape[:2]
    channels = module.project_in_1.out_channels
    maps = [_room(a, band.height, width + 2, 2 * channels) for band in bands]
    halves = [features.chunk(2, dim=2) for features in maps]

    def passes(heads: Sequence[Sequence[_Head]], tails: Sequence[Sequence[_Tail]]) -> None:
        """Take all bands through one pass."""
        side_by_side([partial(_pass, *one, rows) for one in zip(bands, heads, tails, strict=True)])
        exchange(bands, maps)

    heads: list[list[_Head]] = [
        [
            _ProjectIn(module.project_in_1, a[band.start : band.stop], one),
            _ProjectIn(module.project_in_2, b[band.start : band.stop], two),
        ]
        for band, (one, two) in zip(bands, halves, strict=True)
    ]
    for blocks in zip(module.encoder1, module.encoder2, strict=True):
        grams = [
            [_Gram(cast(TransformerBlock, block), band, half) for block, half in zip(blocks, both, strict=True)]
            for band, both in zip(bands, halves, strict=True)
        ]
        passes(heads, grams)
        heads = _rest_of_blocks(bands, grams)
    crosses = [_CrossGram(module.interaction, *of_band) for of_band in zip(bands, maps, strict=True)]
    passes(heads, [[cross] for cross in crosses])
    heads = _rest_of_interaction(crosses)
    for block in module.decoder:
        grams = [[_Gram(cast(TransformerBlock, block), *of_band)] for of_band in zip(bands, maps, strict=True)]
        passes(heads, grams)
        heads = _rest_of_blocks(bands, grams)
    fused = a.new_empty(height, width)
    passes(heads, [[_ProjectOut(module, *of_band, fused)] for of_band in zip(bands, maps, strict=True)])
    return fused


def _room(like: Tensor, *shape: int) -> Tensor:
    """An empty tensor that will be filled only once."""
    if like.device.type != "cpu":
        return like.new_empty(shape)
    # Larger blocks than any that was freed before come straight from the system and go back to it, page by page, each
    # time: with glibc, freeing one of nearly 32 MB once lets the strips' blocks stay with the process.
    torch.empty(31 << 20, dtype=torch.uint8)
    # NumPy asks for large pages.
    return torch.from_numpy(np.empty(shape, torch.empty(0, dtype=like.dtype).numpy().dtype))


class _Head(Protocol):
    """Writes rows of the features."""

    def push(self, strip: slice, last: bool) -> slice:
        """Take a strip; the rows that are finished."""


class _Tail(Protocol):
    """Reads rows of the features."""

    def push(self, strip: slice, last: bool) -> None:
        """Take a strip."""


def _pass(band: Band, heads: Sequence[_Head], tails: Sequence[_Tail], rows: int, stop: threading.Event) -> None:
    """Take all strips of a band through the layers of one pass.

    The heads write rows of the features, all of them the same ones; the tails read them. What the convolutions see
    beyond an inner border of the band is wrong, and so are the rows next to it: they lie in the halo.
    """
    for start in range(0, band.height, rows):
        if stop.is_set():
            return
        strip = slice(start, min(start + rows, band.height))
        last = strip.stop == band.height
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
        done, (x,) = self.conv.push(self.source[strip], last)
        pad_columns(x, self.conv.mode)
        self.features[done] = x
        return done


class _Gram:
    """The Gram matrix of a transformer block's attention, over the rows of one band."""

    def __init__(self, block: TransformerBlock, band: Band, features: Tensor) -> None:
        self.block, self.features = block, features
        self.scales = features.new_empty(features.shape[:2])
        self.projections = _Projections(features, block.attn.qkv, block.attn.qkv_dwconv, block.norm1, self.scales)
        self.band, self.sums = band, _AttentionSums(features)

    def push(self, strip: slice, last: bool) -> None:
        done, q, k = self.projections.push(strip, last)
        owned, _ = self.band.owned(done)
        self.sums.add(q[owned], k[owned])


def _rest_of_blocks(bands: Sequence[Band], grams: "list[list[_Gram]]") -> "list[list[_Head]]":
    """What follows the Gram matrices, for each band and each block that is side by side."""
    matrices = []
    for of_bands in zip(*grams, strict=True):
        exchange(bands, [gram.scales for gram in of_bands])
        attention = of_bands[0].block.attn
        sums = [gram.sums for gram in of_bands]
        matrices.append(_attention_matrix(sums, attention.temperature, attention.project_out))
    return [
        [
            _RestOfBlock(gram.features, gram.projections.values(), m, gram.block)
            for gram, m in zip(of_band, matrices, strict=True)
        ]
        for of_band in grams
    ]


class _RestOfBlock:
    """A transformer block from the values of its attention on."""

    def __init__(self, features: Tensor, values: RowConvolution, attention: Tensor, block: TransformerBlock) -> None:
        ffn: GatedFeedForward = block.ffn
        self.features, self.values, self.attention = features, values, attention
        parts = _parts(ffn.project_out.in_channels)
        self.conv = RowConvolution(ffn.dwconv, Pointwise(ffn.project_in, block.norm2, parts=2 * parts), room=True)
        self.project_out = _input_parts(ffn.project_out, parts)

    def push(self, strip: slice, last: bool) -> slice:
        attended, (values,) = self.values.push(self.features[strip], last)
        x = self.features[attended]
        _add_product(x, values, self.attention)
        pad_columns(x, self.conv.mode)
        done, expanded = self.conv.push(x, last)
        half = len(expanded) // 2
        x = self.features[done]
        _add_gated(x, expanded[:half], expanded[half:], self.project_out)
        pad_columns(x, self.conv.mode)
        return done


class _CrossGram:
    """The Gram matrices between the two sources, over the rows of one band."""

    def __init__(self, interaction: InteractiveFusion, band: Band, features: Tensor) -> None:
        self.interaction, self.band, self.features = interaction, band, features
        one, two = features.chunk(2, dim=2)
        self.projections = (
            _Projections(one, interaction.qkv1, interaction.qkv1_dwconv),
            _Projections(two, interaction.qkv2, interaction.qkv2_dwconv),
        )
        self.sums = _AttentionSums(one), _AttentionSums(two)

    def push(self, strip: slice, last: bool) -> None:
        (done, q1, k1), (_, q2, k2) = (projections.push(strip, last) for projections in self.projections)
        owned, _ = self.band.owned(done)
        self.sums[0].add(q2[owned], k1[owned])
        self.sums[1].add(q1[owned], k2[owned])


def _rest_of_interaction(crosses: "list[_CrossGram]") -> "list[list[_Head]]":
    """What follows the Gram matrices between the sources, for each band."""
    interaction = crosses[0].interaction
    one, two = zip(*(cross.sums for cross in crosses), strict=True)
    matrices = (
        _attention_matrix(one, interaction.temperature1, interaction.project_mid1),
        _attention_matrix(two, interaction.temperature2, interaction.project_mid2),
    )
    return [
        [_RestOfInteraction(cross.features, [p.values() for p in cross.projections], matrices, interaction)]
        for cross in crosses
    ]


class _RestOfInteraction:
    """The interactive fusion from the values of its attention on."""

    def __init__(
        self,
        features: Tensor,
        values: list[RowConvolution],
        attention: tuple[Tensor, Tensor],
        module: InteractiveFusion,
    ) -> None:
        self.features, self.values, self.attention = features, values, attention
        parts = _parts(module.project_out1.in_channels)
        layers = (
            (module.gates, module.gates_dwconv, 2 * parts),
            (module.value1, module.value1_dwconv, parts),
            (module.value2, module.value2_dwconv, parts),
        )
        self.convs = [
            RowConvolution(depthwise, Pointwise(conv, parts=count), room=True) for conv, depthwise, count in layers
        ]
        self.project_out = [
            part for conv in (module.project_out1, module.project_out2) for part in _input_parts(conv, parts)
        ]

    def push(self, strip: slice, last: bool) -> slice:
        for half, values, attention in zip(self._halves(slice(None)), self.values, self.attention, strict=True):
            attended, (x,) = values.push(half[strip], last)
            _add_product(half[attended], x, attention)
        pad_columns(self.features[attended], self.convs[0].mode)
        maps = self.features[attended], *self._halves(attended)
        (done, gates), (_, values1), (_, values2) = (
            conv.push(part, last) for conv, part in zip(self.convs, maps, strict=True)
        )
        x = self.features[done]
        _add_gated(x, gates, values1 + values2, self.project_out)
        pad_columns(x, self.convs[0].mode)
        return done

    def _halves(self, rows: slice) -> tuple[Tensor, ...]:
        return self.features[rows].chunk(2, dim=2)


class _ProjectOut:
    """The last two convolutions, over the rows of one band."""

    def __init__(self, module: FusionModule, band: Band, features: Tensor, fused: Tensor) -> None:
        self.band, self.features, self.fused = band, features, fused
        self.convs = RowConvolution(module.project_out_0, room=True), RowConvolution(module.project_out_1)

    def push(self, strip: slice, last: bool) -> None:
        _, (x,) = self.convs[0].push(self.features[strip], last)
        x = F.leaky_relu_(x, 0.01)
        pad_columns(x, self.convs[1].mode)
        done, (x,) = self.convs[1].push(x, last)
        owned, rows = self.band.owned(done)
        torch.sigmoid(x[owned][..., 0], out=self.fused[rows])


class _Projections:
    """Queries, keys and values of the attention, from the features of one map.

    Queries and keys are wanted in one pass over the picture, the values in the next.

    Args:
        features: (H, W + 2, C).
        conv: the pointwise convolution.
        depthwise: the depthwise convolution after it.
        norm: the layer norm before both, if there is one.
        scales: those of the norm, (H, W + 2), from the first pass for the second.
    """

    def __init__(
        self,
        features: Tensor,
        conv: nn.Conv2d,
        depthwise: nn.Conv2d,
        norm: LayerNorm2d | None = None,
        scales: Tensor | None = None,
    ) -> None:
        self.features, self.layers, self.scales = features, (conv, depthwise, norm), scales
        self.channels = features.shape[2]
        outputs = slice(0, 2 * self.channels)
        # Narrow maps go together: a depthwise convolution of 16 channels takes as long as one of 32.
        parts = 1 if 2 * self.channels <= PART_CHANNELS else 2
        self.conv = RowConvolution(depthwise, Pointwise(conv, norm, outputs, parts, scales), outputs)

    def push(self, strip: slice, last: bool) -> tuple[slice, Tensor, Tensor]:
        """The rows that are ready, and their queries and keys, (n, W, C) each."""
        done, maps = self.conv.push(self.features[strip], last)
        q, k = maps if len(maps) == 2 else maps[0].chunk(2, dim=2)
        return done, q, k

    def values(self) -> RowConvolution:
        """What makes the values from the features, with room for border columns."""
        conv, depthwise, norm = self.layers
        outputs = slice(2 * self.channels, 3 * self.channels)
        before = Pointwise(conv, norm, outputs, scales=self.scales, known=True)
        return RowConvolution(depthwise, before, outputs, room=True)


class _AttentionSums:
    """What a matrix of transposed attention is made of, added up over the pixels."""

    def __init__(self, features: Tensor) -> None:
        channels = features.shape[2]
        # Apple's GPUs have no float64.
        dtype = torch.float32 if features.device.type == "mps" else torch.float64
        self.gram = features.new_zeros(channels, channels, dtype=dtype)
        self.squares = features.new_zeros(2, channels, dtype=dtype)

    def add(self, q: Tensor, k: Tensor) -> None:
        """Add some pixels, (n, W, C) each."""
        q, k = q.flatten(0, 1), k.flatten(0, 1)
        self.gram += q.T @ k
        self.squares += torch.stack(((q * q).sum(dim=0), (k * k).sum(dim=0)))


def _attention_matrix(sums: Sequence[_AttentionSums], temperature: Tensor, projection: nn.Conv2d) -> Tensor:
    """The attention and the projection after it, from the sums over all bands.

    Returns:
        The (C, C) matrix that (n, W, C) values are multiplied by.
    """
    gram = torch.stack([one.gram for one in sums]).sum(dim=0)
    q_norm, k_norm = torch.stack([one.squares for one in sums]).sum(dim=0).sqrt().clamp_min(NORM_EPS)
    gram = (gram / (q_norm[:, None] * k_norm)).to(temperature.dtype)
    shape = (len(temperature), len(gram) // len(temperature))
    of_heads = gram.unflatten(1, shape).unflatten(0, shape).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    attention = torch.block_diag(*(of_heads * temperature).softmax(dim=2))
    return (projection.weight.flatten(1) @ attention).T.contiguous()


def _parts(channels: int) -> int:
    """Into how many maps this many channels are divided."""
    return channels // PART_CHANNELS if channels % PART_CHANNELS == 0 else 1


def _input_parts(conv: nn.Conv2d, parts: int) -> tuple[Tensor, ...]:
    """The matrices that parts of a pointwise convolution's input are multiplied by."""
    return conv.weight.flatten(1).T.chunk(parts)


def _add_gated(x: Tensor, gates: list[Tensor], values: list[Tensor], matrices: Sequence[Tensor]) -> None:
    """x += (gelu(gates) values) @ matrices, for (n, W, C) maps, part by part."""
    for gate, value, matrix in zip(gates, values, matrices, strict=True):
        _add_product(x, F.gelu(gate).mul_(value), matrix)


def _add_product(x: Tensor, y: Tensor, matrix: Tensor) -> None:
    """x += y @ matrix, for (n, W, C) maps."""
    x.flatten(0, 1).addmm_(y.flatten(0, 1), matrix)
