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
from collections.abc import Iterable, Sequence
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
from refusion.row_convolution import Pointwise, RowConvolution, normalised, pad_columns, scaled

STRIP_PIXELS = 20_000
"""Pixels of a strip on a CPU: a map of 32 channels of float32 takes 2.6 MB."""

FEW_ROWS, MOST_PIXELS = 8, 50_000
"""Strips of wide pictures are larger, up to so many pixels, to have so many rows: the two rows that each convolution
holds are copied with every strip, whatever its height."""

PART_CHANNELS = 32
"""Channels that are worked on at a time where there are more, a multiple of this: of so many, three rows of 2,500
pixels fit the second-level cache of a core."""

GPU_STRIP_PIXELS = 1_000_000
"""Pixels of a strip on a GPU at most: a map of 32 channels of float32 takes 0.13 GB."""

GPU_STRIP_BYTES = 4096
"""Free memory of a GPU that each pixel of a strip is given, several times what its maps take."""


def strip_rows(height: int, width: int, device: torch.device) -> int:
    """Rows of a strip that suit the machine."""
    if device.type == "cpu":
        rows = max(STRIP_PIXELS // width, min(FEW_ROWS, MOST_PIXELS // width))
    elif device.type == "cuda":
        rows = min(GPU_STRIP_PIXELS, free_memory(device) // GPU_STRIP_BYTES) // width
    else:
        rows = GPU_STRIP_PIXELS // width
    return max(1, min(height, rows))


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
        self.block, self.band, self.features = block, band, features
        self.projections = _Projections(block.attn.qkv, block.attn.qkv_dwconv, block.norm1)
        self.scales = features.new_empty(features.shape[:2])
        self.sums = _AttentionSums(features)

    def push(self, strip: slice, last: bool) -> None:
        x = normalised(self.features[strip], self.block.norm1.eps, self.scales[strip])
        done, maps = self.projections.queries_and_keys.push(x, last)
        owned, _ = self.band.owned(done)
        self.sums.add([x[owned] for x in maps])


def _rest_of_blocks(bands: Sequence[Band], grams: "list[list[_Gram]]") -> "list[list[_Head]]":
    """What follows the Gram matrices, for each band and each block that is side by side."""
    matrices = []
    for of_bands in zip(*grams, strict=True):
        exchange(bands, [gram.scales for gram in of_bands])
        attention = of_bands[0].block.attn
        sums = [gram.sums for gram in of_bands]
        matrices.append(_attention_matrix(sums, attention.temperature, attention.project_out))
    return [[_RestOfBlock(gram, m) for gram, m in zip(of_band, matrices, strict=True)] for of_band in grams]


class _RestOfBlock:
    """A transformer block from the values of its attention on, where the first pass left its features and scales."""

    def __init__(self, gram: _Gram, attention: Tensor) -> None:
        ffn: GatedFeedForward = gram.block.ffn
        self.features, self.scales = gram.features, gram.scales
        self.values, self.attention = gram.projections.values, attention
        self.mode, self.eps = ffn.dwconv.padding_mode, gram.block.norm2.eps
        hidden = ffn.project_out.in_channels
        parts = _parts(hidden)
        self.convs = [
            RowConvolution(ffn.dwconv, Pointwise(ffn.project_in, gram.block.norm2, half, parts), half, room=True)
            for half in (slice(hidden), slice(hidden, 2 * hidden))
        ]
        self.project_out = _input_parts(ffn.project_out, parts)

    def push(self, strip: slice, last: bool) -> slice:
        attended, (v,) = self.values.push(scaled(self.features[strip], self.scales[strip]), last)
        x = self.features[attended]
        _add_product(x, v, self.attention)
        pad_columns(x, self.mode)
        x = normalised(x, self.eps)
        (done, gates), (_, values) = (conv.push(x, last) for conv in self.convs)
        x = self.features[done]
        _add_gated(x, gates, values, self.project_out)
        pad_columns(x, self.mode)
        return done


class _CrossGram:
    """The Gram matrices between the two sources, over the rows of one band."""

    def __init__(self, interaction: InteractiveFusion, band: Band, features: Tensor) -> None:
        self.interaction, self.band, self.features = interaction, band, features
        one, two = features.chunk(2, dim=2)
        self.projections = (
            _Projections(interaction.qkv1, interaction.qkv1_dwconv),
            _Projections(interaction.qkv2, interaction.qkv2_dwconv),
        )
        self.sums = _AttentionSums(one), _AttentionSums(two)

    def push(self, strip: slice, last: bool) -> None:
        (done, maps1), (_, maps2) = (
            projections.queries_and_keys.push(half[strip], last)
            for projections, half in zip(self.projections, self.features.chunk(2, dim=2), strict=True)
        )
        owned, _ = self.band.owned(done)
        q1, k1 = _queries_and_keys([x[owned] for x in maps1])
        q2, k2 = _queries_and_keys([x[owned] for x in maps2])
        self.sums[0].add([q2, k1])
        self.sums[1].add([q1, k2])


def _rest_of_interaction(crosses: "list[_CrossGram]") -> "list[list[_Head]]":
    """What follows the Gram matrices between the sources, for each band."""
    interaction = crosses[0].interaction
    one, two = zip(*(cross.sums for cross in crosses), strict=True)
    matrices = (
        _attention_matrix(one, interaction.temperature1, interaction.project_mid1),
        _attention_matrix(two, interaction.temperature2, interaction.project_mid2),
    )
    return [
        [_RestOfInteraction(cross.features, [p.values for p in cross.projections], matrices, interaction)]
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
        pushed = [conv.push(part, last) for conv, part in zip(self.convs, maps, strict=True)]
        # All of them before the features change, a row of which they still read.
        gates, values1, values2 = (list(outputs) for _, outputs in pushed)
        done = pushed[0][0]
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
    """Queries and keys of the attention, wanted in one pass over the picture, and the values, in the next.

    Args:
        conv: the pointwise convolution.
        depthwise: the depthwise convolution after it.
        norm: the layer norm before both, if there is one.
    """

    def __init__(self, conv: nn.Conv2d, depthwise: nn.Conv2d, norm: LayerNorm2d | None = None) -> None:
        channels = conv.out_channels // 3
        two, third = slice(2 * channels), slice(2 * channels, 3 * channels)
        # Narrow maps go together: that takes fewer calls.
        parts = 1 if 2 * channels <= PART_CHANNELS else 2
        self.queries_and_keys = RowConvolution(depthwise, Pointwise(conv, norm, two, parts), two)
        self.values = RowConvolution(depthwise, Pointwise(conv, norm, third), third, room=True)


def _queries_and_keys(maps: Sequence[Tensor]) -> Sequence[Tensor]:
    """Both, (..., C) each, where they stand in one map or in two."""
    return maps if len(maps) == 2 else maps[0].chunk(2, dim=-1)


class _AttentionSums:
    """What a matrix of transposed attention is made of, added up over the pixels."""

    def __init__(self, features: Tensor) -> None:
        channels = features.shape[2]
        # Apple's GPUs have no float64.
        dtype = torch.float32 if features.device.type == "mps" else torch.float64
        self.gram = features.new_zeros(channels, channels, dtype=dtype)
        self.squares = features.new_zeros(2, channels, dtype=dtype)

    def add(self, maps: Sequence[Tensor]) -> None:
        """Add some pixels: their queries and keys, (n, W, C) each, or both in one map, (n, W, 2 C)."""
        maps = [x.flatten(0, 1) for x in maps]
        q, k = _queries_and_keys(maps)
        self.gram += q.T @ k
        self.squares += torch.cat([(x * x).sum(dim=0) for x in maps]).view_as(self.squares)


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


def _add_gated(x: Tensor, gates: Iterable[Tensor], values: Iterable[Tensor], matrices: Sequence[Tensor]) -> None:
    """x += (gelu(gates) values) @ matrices, for (n, W, C) maps, part by part."""
    for gate, value, matrix in zip(gates, values, matrices, strict=True):
        _add_product(x, F.gelu(gate).mul_(value), matrix)


def _add_product(x: Tensor, y: Tensor, matrix: Tensor) -> None:
    """x += y @ matrix, for (n, W, C) maps."""
    x.flatten(0, 1).addmm_(y.flatten(0, 1), matrix)
