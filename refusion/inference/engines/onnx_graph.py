"""The fusion module as ONNX graphs: one for each of its passes over an image, and one for a whole image at once.

Feature maps are (1, C, H, W), and ONNX Runtime is fastest at convolutions. So the layers of `refusion.modules.blocks`
are rearranged: layer norms are folded into the convolutions after them (see
`refusion.inference.engines.onnx_weights`); a map is padded before the pointwise convolution, which commutes with
repeating pixels; no map is split or permuted.

Attention matrices are computed from sums over pixels: of the whole image, or of its cells (see
`refusion.modules.blocks.windowed_attention`). So each pass ends with the sums for the matrices of the next pass.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
from onnx import ModelProto

from refusion.images.colour import LUMINANCE
from refusion.inference.engines.onnx_attention import Attention
from refusion.inference.engines.onnx_attention_layers import (
    Matrices,
    Sums,
    attended,
    given,
    made,
    made_of_parts,
    sums_of,
)
from refusion.inference.engines.onnx_builder import CHANNELS_AT_A_TIME, Graph
from refusion.inference.engines.onnx_weights import Block, Network, Weights

LAYER_NORM_EPS = 1e-5
"""The eps of torch.nn.LayerNorm."""


@dataclass(frozen=True)
class Pass:
    """One pass over the image, which is processed tile by tile, in any order.

    A tile has a halo of as many rows and columns as there are layers of 3 x 3 convolutions; each layer reduces it by
    one at every side, except at the border of the image. There the tile is already padded for the first layer, unless
    the padding mode is zeros.

    Attributes:
        model: its inputs are the maps ``x0`` ..., (1, C, h, w) each; the attention matrices ``attention0`` ...,
            computed from the sums of the previous pass; and ``pads0`` ... for each layer that pads: `PICTURE_ENDS`,
            with 0 at sides that are not borders of the image. Its outputs are ``y0`` ..., and after them ``sums0``
            ..., (1, 1, blocks, 2 n d, 2 n d), the input of `Attention.wanted`.
            With cells, the matrices are (`Attention.free_shares`, heads, d, rows, columns) of cells, interpolated by
            ``rows``, (h, rows), and ``columns``, (columns, w), for the values, one 3 x 3 convolution after the maps;
            the tile must begin with a cell, ``cell_pads`` completes its last cells, and there are sums of each cell.
        inputs: number of channels of each input map.
        outputs: number of channels of each output map.
        layers: number of layers of 3 x 3 convolutions.
        left: width of the halo that the output maps still have.
        pads: the layers that pad.
        attentions: the attentions that its sums are for.
        attended: whether it takes attention matrices as inputs.
    """

    model: ModelProto
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: int
    left: int
    pads: tuple[int, ...]
    attentions: tuple[Attention, ...]
    attended: bool


def passes(
    weights: Weights, padding_mode: str, cell: int | None = None, *, standalone: bool = False, inner: bool = False
) -> list[Pass]:
    """The passes that fuse two sources, in order.

    Args:
        weights: weights of the fusion module.
        padding_mode: padding mode of its 3 x 3 convolutions.
        cell: side of the cells, each with its own attention matrices; None for attention over the whole image.
        standalone: for programs that only cut out tiles: the sources are RGB, (1, 3, h, w), and no tile is padded.
        inner: for tiles that are nowhere padded, because they and their halo are away from the borders of the image.
    """
    result: list[Pass] = []
    sums: Sequence[Sums] = ()
    channels: tuple[int, ...] = (3, 3) if standalone else (1, 1)
    for head, tail in _stages(Network(weights)):
        graph = Graph(padding_mode, cell, whole=False, pads_first=standalone, inner=inner)
        matrices = [given(graph, f"attention{i}", one.attention) for i, one in enumerate(sums)]
        inputs = [graph.map(f"x{i}", count) for i, count in enumerate(channels)]
        if standalone and not result:
            inputs = [graph.pointwise(x, np.array([LUMINANCE])) for x in inputs]
        maps = head(graph, inputs, matrices)
        sums, maps = tail(graph, maps)
        for i, name in enumerate(maps):
            graph.output(f"y{i}", name)
        for i, one in enumerate(sums):
            graph.output(f"sums{i}", one.sums, ["summed_rows", "summed_columns", "blocks", "block", "block"])
        outputs = tuple(graph.channels[name] for name in maps)
        left = graph.layers - graph.depth[maps[0]]
        attentions = tuple(one.attention for one in sums)
        result.append(
            Pass(graph.model(), channels, outputs, graph.layers, left, tuple(graph.pads), attentions, bool(matrices))
        )
        channels = outputs
    return result


def matrix_graphs(weights: Weights, padding_mode: str, cell: int | None = None) -> list[ModelProto]:
    """Graphs that compute the attention matrices of the next pass, ``attention0`` ..., from ``sums0`` ...

    The sums are those of the tiles of a pass: added up, or of all cells of the image, with their rows and columns as
    the first two axes.

    Args:
        weights: weights of the fusion module.
        padding_mode: padding mode of its 3 x 3 convolutions.
        cell: see `passes`.
    """
    result = []
    for one in passes(weights, padding_mode, cell)[:-1]:
        graph = Graph(padding_mode, cell, whole=True)
        for i, attention in enumerate(one.attentions):
            sums = graph.given(f"sums{i}", ["summed_rows", "summed_columns", "blocks", "block", "block"])
            name, shape = made_of_parts(graph, Sums(sums, attention))
            graph.output(f"attention{i}", name, shape)
        result.append(graph.model())
    return result


def whole(weights: Weights, padding_mode: str, cell: int | None = None) -> ModelProto:
    """The network as one graph: inputs ``a`` and ``b``, (1, 1, height, width), and output ``fused``, of the same shape.

    Args:
        weights: weights of the fusion module.
        padding_mode: padding mode of its 3 x 3 convolutions.
        cell: see `passes`.
    """
    graph = Graph(padding_mode, cell, whole=True)
    maps: Sequence[str] = [graph.map("a", 1), graph.map("b", 1)]
    matrices: Sequence[Matrices] = ()
    for head, tail in _stages(Network(weights)):
        sums, maps = tail(graph, head(graph, maps, matrices))
        matrices = [made(graph, one, maps[0]) for one in sums]
    graph.output("fused", maps[0])
    return graph.model()


_Head = Callable[[Graph, Sequence[str], Sequence[Matrices]], Sequence[str]]
"""Computes maps from maps and attention matrices."""

_Tail = Callable[[Graph, Sequence[str]], tuple[Sequence[Sums], Sequence[str]]]
"""Computes the sums for the next matrices from maps; returns them, and the maps that the next pass needs."""


def _stages(network: Network) -> list[tuple[_Head, _Tail]]:
    heads: list[_Head] = [partial(_project_in, network)]
    heads += [partial(_rest_of_blocks, pair) for pair in network.encoders]
    heads += [partial(_interact, network), *(partial(_rest_of_blocks, [block]) for block in network.decoders)]
    tails: list[_Tail] = [partial(_sums_of_blocks, pair) for pair in network.encoders]
    tails += [partial(_cross_sums, network), *(partial(_sums_of_blocks, [block]) for block in network.decoders)]
    last = heads[-1]
    heads[-1] = lambda graph, maps, matrices: _project_out(network, graph, last(graph, maps, matrices))
    return list(zip(heads, [*tails, lambda graph, maps: ((), maps)], strict=True))


def _project_in(network: Network, graph: Graph, maps: Sequence[str], matrices: Sequence[Matrices]) -> Sequence[str]:
    return [graph.conv(x, weight) for x, weight in zip(maps, network.project_in, strict=True)]


def _project_out(network: Network, graph: Graph, maps: Sequence[str]) -> Sequence[str]:
    x = graph.layer("LeakyRelu", graph.conv(maps[0], network.project_out_0), alpha=0.01)
    return [graph.layer("Sigmoid", graph.conv(x, network.project_out_1))]


def _sums_of_blocks(blocks: Sequence[Block], graph: Graph, maps: Sequence[str]) -> tuple[Sequence[Sums], Sequence[str]]:
    result, scales = [], [_scale(graph, x) for x in maps]
    for x, scale, block in zip(maps, scales, blocks, strict=True):
        y = graph.layer("Mul", x, scale)
        some = [
            graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
            for part in _queries_and_keys(block.attention)
        ]
        result.append(sums_of(graph, some, block.attention))
    return result, [*maps, *scales]


def _rest_of_blocks(
    blocks: Sequence[Block], graph: Graph, maps: Sequence[str], matrices: Sequence[Matrices]
) -> Sequence[str]:
    result = []
    scales = maps[len(blocks) :]
    for x, scale, block, matrix in zip(maps, scales, blocks, matrices, strict=False):
        part, y = _thirds(block.qkv)[2], graph.layer("Mul", x, scale)
        v = graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
        x = graph.add(x, attended(graph, v, matrix))
        y = graph.layer("Mul", x, _scale(graph, x))
        parts = []
        for part, *halves in _hidden(block.project_out):
            gate, value = (
                graph.depthwise(y, block.hidden[some], block.hidden_bias[some], block.hidden_depthwise[some])
                for some in halves
            )
            parts.append(_gated(graph, gate, value, block.project_out[:, part]))
        result.append(graph.add(x, reduce(graph.add, parts)))
    return result


def _cross_sums(network: Network, graph: Graph, maps: Sequence[str]) -> tuple[Sequence[Sums], Sequence[str]]:
    queries, keys = (
        [
            graph.depthwise(x, source.qkv[part], None, source.qkv_depthwise[part])
            for x, source in zip(maps, network.sources, strict=True)
            for part in [_thirds(source.qkv)[third]]
        ]
        for third in (0, 1)
    )
    result = []
    for q, k, source in zip(reversed(queries), keys, network.sources, strict=True):
        one = source.attention
        of_a_block = one.heads_of_a_block(CHANNELS_AT_A_TIME) * one.of_a_head
        of_blocks = (graph.op("Reshape", x, graph.constant([-1, of_a_block, 0, 0])) for x in (q, k))
        both = graph.reshaped(graph.op("Concat", *of_blocks, axis=1), q, 2 * graph.channels[q])
        result.append(sums_of(graph, [both], one))
    return result, maps


def _interact(network: Network, graph: Graph, maps: Sequence[str], matrices: Sequence[Matrices]) -> Sequence[str]:
    attending = []
    for x, source, matrix in zip(maps, network.sources, matrices, strict=True):
        part = _thirds(source.qkv)[2]
        v = graph.depthwise(x, source.qkv[part], None, source.qkv_depthwise[part])
        attending.append(graph.add(x, attended(graph, v, matrix)))
    both = graph.layer("Concat", *attending, channels=len(network.joining), axis=1)
    parts = []
    for i, (x, source) in enumerate(zip(attending, network.sources, strict=True)):
        for part, *halves in _hidden(source.project_out):
            gates = halves[i]
            gate = graph.depthwise(both, network.gates[gates], None, network.gates_depthwise[gates])
            value = graph.depthwise(x, source.values[part], None, source.values_depthwise[part])
            parts.append(_gated(graph, gate, value, source.project_out[:, part]))
    return [graph.add(graph.pointwise(both, network.joining), reduce(graph.add, parts))]


def _scale(graph: Graph, x: str) -> str:
    """The reciprocal of the standard deviation at each pixel, a map of one channel.

    A layer norm is x multiplied by it; the next convolution ignores the first channel, which is the mean.
    """
    channels = graph.channels[x]
    squares = graph.op("Reshape", graph.layer("Mul", x, x), graph.constant([channels, -1]))
    # For a single output channel, a convolution takes several times as long as a matrix product.
    others = np.full((1, channels), 1 / channels)
    others[0, 0] = 0
    variance = graph.reshaped(graph.op("MatMul", graph.constant(others), squares), x, 1)
    deviation = graph.layer("Sqrt", graph.layer("Add", variance, graph.constant(LAYER_NORM_EPS)))
    return graph.layer("Reciprocal", deviation)


def _gated(graph: Graph, gate: str, value: str, project_out: np.ndarray) -> str:
    return graph.pointwise(graph.layer("Mul", graph.layer("Gelu", gate), value), project_out)


def _queries_and_keys(one: Attention) -> Iterator[np.ndarray]:
    """Indices of queries and keys among all outputs, some at a time: in each block, queries come before keys."""
    of_a_block = one.heads_of_a_block(CHANNELS_AT_A_TIME) * one.of_a_head
    queries = np.arange(len(one.projection))
    for heads in one.heads_at_a_time(CHANNELS_AT_A_TIME):
        some = queries[heads.start * one.of_a_head : heads.stop * one.of_a_head].reshape(-1, 1, of_a_block)
        yield np.concatenate((some, some + len(queries)), axis=1).ravel()


def _thirds(matrix: np.ndarray) -> tuple[slice, slice, slice]:
    """The outputs for queries, keys and values."""
    third = len(matrix) // 3
    return slice(third), slice(third, 2 * third), slice(2 * third, 3 * third)


def _hidden(project_out: np.ndarray) -> Iterator[tuple[slice, slice, slice]]:
    """Chunks of the hidden channels.

    Args:
        project_out: the matrix that they are multiplied by.

    Yields:
        The channels, and their slices in the first and second half: gates and values, or the gates of both sources.
    """
    hidden = project_out.shape[1]
    for start in range(0, hidden, CHANNELS_AT_A_TIME):
        stop = min(start + CHANNELS_AT_A_TIME, hidden)
        yield slice(start, stop), slice(start, stop), slice(hidden + start, hidden + stop)
