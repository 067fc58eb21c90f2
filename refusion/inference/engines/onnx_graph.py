"""Modules as ONNX graphs: one for each pass over an image; the fusion module also for a whole image at once.

Attention matrices are computed from sums over pixels (see `refusion.inference.engines.onnx_blocks`). So each pass ends
with the sums for the matrices of the next pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from refusion.images.colour import LUMINANCE
from refusion.inference.engines.onnx_attention import Attention
from refusion.inference.engines.onnx_attention_layers import Matrices, Sums, given, made, made_of_parts
from refusion.inference.engines.onnx_blocks import Architecture
from refusion.inference.engines.onnx_builder import Graph
from refusion.inference.engines.onnx_fusion import FUSION
from refusion.inference.engines.onnx_weights import Weights


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
    weights: Weights,
    padding_mode: str,
    cell: int | None = None,
    *,
    architecture: Architecture = FUSION,
    standalone: bool = False,
    inner: bool = False,
) -> list[Pass]:
    """The passes of a module, in order.

    Args:
        weights: weights of the module.
        padding_mode: padding mode of its 3 x 3 convolutions.
        cell: side of the cells, each with its own attention matrices; None for attention over the whole image.
        architecture: the module.
        standalone: for programs that only cut out tiles: the sources are RGB, (1, 3, h, w), and no tile is padded.
        inner: for tiles that are nowhere padded, because they and their halo are away from the borders of the image.
    """
    result: list[Pass] = []
    sums: Sequence[Sums] = ()
    channels: tuple[int, ...] = (3 if standalone else 1,) * architecture.sources
    for head, tail in architecture.stages(weights):
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
    """Graphs that compute the attention matrices of the next pass, ``attention0`` ..., from ``sums0`` ..., for fusion.

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


def whole(
    weights: Weights, padding_mode: str, cell: int | None = None, size: tuple[int, int] | None = None
) -> ModelProto:
    """The fusion module as one graph: inputs ``a``, ``b``, (1, 1, height, width), and output ``fused`` of this shape.

    Args:
        weights: weights of the fusion module.
        padding_mode: padding mode of its 3 x 3 convolutions.
        cell: see `passes`.
        size: height and width, if only images of this size are fused.
    """
    graph = Graph(padding_mode, cell, whole=True, size=size)
    maps: Sequence[str] = [graph.map("a", 1), graph.map("b", 1)]
    matrices: Sequence[Matrices] = ()
    for head, tail in FUSION.stages(weights):
        sums, maps = tail(graph, head(graph, maps, matrices))
        matrices = [made(graph, one, maps[0]) for one in sums]
    graph.output("fused", maps[0])
    return graph.model()
