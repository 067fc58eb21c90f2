"""Transformer blocks in ONNX graphs, and the stages of a module that is made of them.

Feature maps are (1, C, H, W), and ONNX Runtime is fastest at convolutions. So the layers of `refusion.modules.blocks`
are rearranged: layer norms are folded into the convolutions after them (see
`refusion.inference.engines.onnx_weights`); a map is padded before the pointwise convolution, which commutes with
repeating pixels; no map is split or permuted.

Attention matrices are computed from sums over pixels: of the whole image, or of its cells (see
`refusion.modules.blocks.windowed_attention`). So each stage ends with the sums for the matrices of the next stage.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import TypeAlias

import numpy as np

from refusion.inference.engines.onnx_attention import Attention
from refusion.inference.engines.onnx_attention_layers import Matrices, Sums, attended, sums_of
from refusion.inference.engines.onnx_builder import CHANNELS_AT_A_TIME, Graph
from refusion.inference.engines.onnx_weights import Block, Weights

LAYER_NORM_EPS = 1e-5
"""The eps of torch.nn.LayerNorm."""

Maps: TypeAlias = Sequence[str]
"""Names of maps in a graph."""

Plain: TypeAlias = Callable[[Graph, Maps], Maps]
"""A layer without attention: computes maps from maps."""

Head: TypeAlias = Callable[[Graph, Maps, Sequence[Matrices]], Maps]
"""Computes maps from maps and attention matrices."""

Tail: TypeAlias = Callable[[Graph, Maps], tuple[Sequence[Sums], Maps]]
"""Computes the sums for the next matrices from maps; returns them, and the maps that the next head needs."""


@dataclass(frozen=True)
class Attending:
    """A layer with attention, cut in two where the matrices are needed."""

    sums: Tail
    rest: Head


@dataclass(frozen=True)
class Architecture:
    """A module as ONNX graphs are made of it.

    Attributes:
        sources: number of its input maps.
        layers: from its weights, the layers in order.
    """

    sources: int
    layers: Callable[[Weights], Sequence[Plain | Attending]]

    def stages(self, weights: Weights) -> list[tuple[Head, Tail]]:
        """The stages of the module, in order: the matrices for a head are computed from the sums of the tail before."""
        head: Head = _unchanged
        stages: list[tuple[Head, Tail]] = []
        for layer in self.layers(weights):
            if isinstance(layer, Attending):
                stages.append((head, layer.sums))
                head = layer.rest
            else:
                head = partial(_both, head, layer)
        return [*stages, (head, lambda graph, maps: ((), maps))]


def attending_blocks(blocks: Sequence[Block]) -> Attending:
    """A transformer block for each of several maps."""
    return Attending(partial(_sums_of_blocks, blocks), partial(_rest_of_blocks, blocks))


def _unchanged(graph: Graph, maps: Maps, matrices: Sequence[Matrices]) -> Maps:
    return maps


def _both(head: Head, layer: Plain, graph: Graph, maps: Maps, matrices: Sequence[Matrices]) -> Maps:
    return layer(graph, head(graph, maps, matrices))


def _sums_of_blocks(blocks: Sequence[Block], graph: Graph, maps: Maps) -> tuple[Sequence[Sums], Maps]:
    result, scales = [], [_scale(graph, x) for x in maps]
    for x, scale, block in zip(maps, scales, blocks, strict=True):
        y = graph.layer("Mul", x, scale)
        queries_and_keys = [
            graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
            for part in _queries_and_keys(block.attention)
        ]
        result.append(sums_of(graph, queries_and_keys, block.attention))
    return result, [*maps, *scales]


def _rest_of_blocks(blocks: Sequence[Block], graph: Graph, maps: Maps, matrices: Sequence[Matrices]) -> Maps:
    result = []
    scales = maps[len(blocks) :]
    for x, scale, block, matrix in zip(maps, scales, blocks, matrices, strict=False):
        part, y = thirds(block.qkv)[2], graph.layer("Mul", x, scale)
        v = graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
        x = graph.add(x, attended(graph, v, matrix))
        y = graph.layer("Mul", x, _scale(graph, x))
        parts = []
        for part, *halves in hidden(block.project_out):
            gate, value = (
                graph.depthwise(y, block.hidden[half], block.hidden_bias[half], block.hidden_depthwise[half])
                for half in halves
            )
            parts.append(gated(graph, gate, value, block.project_out[:, part]))
        result.append(graph.add(x, reduce(graph.add, parts)))
    return result


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


def gated(graph: Graph, gate: str, value: str, project_out: np.ndarray) -> str:
    return graph.pointwise(graph.layer("Mul", graph.layer("Gelu", gate), value), project_out)


def thirds(matrix: np.ndarray) -> tuple[slice, slice, slice]:
    """The outputs for queries, keys and values."""
    third = len(matrix) // 3
    return slice(third), slice(third, 2 * third), slice(2 * third, 3 * third)


def hidden(project_out: np.ndarray) -> Iterator[tuple[slice, slice, slice]]:
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


def _queries_and_keys(one: Attention) -> Iterator[np.ndarray]:
    """Indices of queries and keys among all outputs, some at a time: in each block, queries come before keys."""
    of_a_block = one.heads_of_a_block(CHANNELS_AT_A_TIME) * one.of_a_head
    queries = np.arange(len(one.projection))
    for heads in one.heads_at_a_time(CHANNELS_AT_A_TIME):
        of_heads = queries[heads.start * one.of_a_head : heads.stop * one.of_a_head].reshape(-1, 1, of_a_block)
        yield np.concatenate((of_heads, of_heads + len(queries)), axis=1).ravel()
