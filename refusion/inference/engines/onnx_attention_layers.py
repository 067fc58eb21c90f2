"""The attention in ONNX graphs: sums over pixels, the matrices computed from them, and their application to values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
from onnx import TensorProto

from refusion.inference.engines.cells import interpolation
from refusion.inference.engines.onnx_attention import NORM_EPS, Attention
from refusion.inference.engines.onnx_builder import CHANNELS_AT_A_TIME, PICTURE_ENDS, Graph
from refusion.modules.windows import CELL_WEIGHTS, CELLS

PIXELS_OF_A_PRODUCT = 1 << 19
"""Longer products take OpenVINO ten times as long; they are added up of parts where the size is known."""


@dataclass(frozen=True)
class Sums:
    """Name of the sums from which attention matrices are computed, (rows, columns, blocks, 2 n d, 2 n d)."""

    sums: str
    attention: Attention


@dataclass(frozen=True)
class Matrices:
    """Names of the factors of the values, and the attention.

    For a whole image this is one pointwise convolution, the attention and the projection together. With cells there is
    one map for each of `Attention.free_shares` values of a head: its share in the outputs at every pixel,
    (heads, d, h, w).
    """

    names: Sequence[str]
    attention: Attention


def sums_of(graph: Graph, queries_and_keys: Sequence[str], attention: Attention) -> Sums:
    """Add the products of queries and keys with each other, summed over the pixels.

    Args:
        graph: the graph.
        queries_and_keys: maps of consecutive blocks of n heads: the n d queries of the first block, its keys, the
            queries of the next block, and so on.
        attention: the attention that the sums are for.
    """
    size = 2 * attention.of_a_head * attention.heads_of_a_block(CHANNELS_AT_A_TIME)
    results = []
    for x in queries_and_keys:
        blocks = graph.channels[x] // size
        if graph.cell is None:
            x = graph.op("Reshape", x, graph.constant([1, 1, blocks, size, -1]))
        else:
            if not graph.inner:
                x = graph.op("Pad", x, _cell_pads(graph, x), mode="constant")
            x = graph.op("Reshape", x, graph.constant([size * blocks, -1, graph.cell, 0]))
            x = graph.op("Reshape", x, graph.constant([0, 0, 0, -1, graph.cell]))
            x = graph.op("Transpose", x, perm=[1, 3, 0, 2, 4])
            x = graph.op("Reshape", x, graph.constant([0, 0, blocks, size, -1]))
        products = (graph.op("MatMul", part, _turned(graph, part)) for part in _parts(graph, x))
        results.append(reduce(partial(graph.op, "Add"), products))
    return Sums(results[0] if len(results) == 1 else graph.op("Concat", *results, axis=2), attention)


def given(graph: Graph, name: str, attention: Attention) -> Matrices:
    """Add inputs for the attention matrices of a tile."""
    channels, d = len(attention.projection), attention.of_a_head
    if graph.cell is None:
        return Matrices([graph.given(name, [channels, channels, 1, 1])], attention)
    of_cells = graph.given(name, [attention.free_shares, attention.heads, d, "cell_rows", "cell_columns"])
    rows = graph.given("rows", ["value_rows", "cell_rows"])
    columns = graph.given("columns", ["cell_columns", "value_columns"])
    shares = (graph.op("Gather", of_cells, graph.constant(np.array(i)), axis=0) for i in range(attention.free_shares))
    return Matrices([graph.op("MatMul", graph.op("MatMul", rows, x), columns) for x in shares], attention)


def made(graph: Graph, sums: Sums, picture: str) -> Matrices:
    """Add the attention matrices of a whole image, interpolated between cells or projected.

    Args:
        graph: the graph.
        sums: the sums from which they are computed.
        picture: a map of the size of the image.
    """
    attention = sums.attention
    shares = _shares(graph, sums)
    if graph.cell is None:
        return Matrices([_projected(graph, shares, attention)], attention)
    ends = graph.op("Shape", picture, start=2)
    shape = graph.op("Concat", graph.constant([attention.heads, attention.of_a_head]), ends, axis=0)
    of_cells = (_sliced(graph, shares, place) for place in range(attention.free_shares))
    return Matrices([graph.op("Reshape", _interpolated(graph, x, ends), shape) for x in of_cells], attention)


def made_of_parts(graph: Graph, sums: Sums) -> tuple[str, list[int | str]]:
    """Add the attention matrices that `given` takes as inputs; returns their name and shape.

    Args:
        graph: the graph.
        sums: the total over all tiles, or the sums of all cells.
    """
    attention = sums.attention
    shares = _shares(graph, sums)
    if graph.cell is None:
        channels = len(attention.projection)
        return _projected(graph, shares, attention), [channels, channels, 1, 1]
    cells = graph.op("Shape", shares, start=2)
    shape = graph.op("Concat", graph.constant([1, attention.heads, attention.of_a_head]), cells, axis=0)
    places = range(attention.free_shares)
    parts = [graph.op("Reshape", _sliced(graph, shares, place), shape) for place in places]
    return graph.op("Concat", *parts, axis=0), [len(parts), attention.heads, attention.of_a_head, "rows", "columns"]


def _shares(graph: Graph, sums: Sums) -> str:
    """`Attention.shares` in a graph, for each cell or the whole image: (heads d, d, rows, columns)."""
    attention = sums.attention
    heads, d = attention.heads, attention.of_a_head
    of_a_block = attention.heads_of_a_block(CHANNELS_AT_A_TIME)
    size = 2 * of_a_block * d
    # Indices into the sums of the products of each query with each key, and of both with themselves.
    places = np.arange(heads // of_a_block * size * size).reshape(-1, 2, of_a_block, d, 2, of_a_block, d)
    products = np.einsum("bninj->bnij", places[:, 0, :, :, 1])
    squares = np.einsum("bsnisni->bsni", places)
    of_queries, of_keys = squares[:, 0, :, :, None], squares[:, 1, :, None]
    wanted, among_wanted = np.unique(np.broadcast_arrays(products, of_queries, of_keys), return_inverse=True)
    x = graph.op("Reshape", sums.sums, graph.constant([0, 0, -1]))
    x = graph.op("Gather", x, graph.constant(wanted), axis=2)
    x = graph.op("Unsqueeze", graph.op("Transpose", x, perm=[2, 0, 1]), graph.constant([0]))
    if graph.cell is not None:
        kernel = np.outer(CELL_WEIGHTS, CELL_WEIGHTS).astype(np.float32)
        kernels = graph.constant(np.broadcast_to(kernel, (len(wanted), 1, CELLS, CELLS)))
        pads = [CELLS // 2] * 4
        x = graph.op("Conv", x, kernels, kernel_shape=[CELLS, CELLS], pads=pads, group=len(wanted))
    product, *both = (graph.op("Gather", x, graph.constant(places), axis=1) for places in among_wanted.reshape(3, -1))
    norms = (graph.op("Sqrt", graph.op("Max", y, graph.constant(NORM_EPS**2))) for y in both)
    scores = graph.op("Div", product, graph.op("Mul", *norms))
    scores = graph.op("Mul", scores, graph.constant(np.repeat(attention.temperatures, d * d)[:, None, None]))
    return graph.op("Softmax", graph.op("Reshape", scores, graph.constant([heads * d, d, 0, 0])), axis=1)


def attended(graph: Graph, values: str, matrices: Matrices) -> str:
    """Apply the attention and the projection to the values."""
    attention = matrices.attention
    channels, d = len(attention.projection), attention.of_a_head
    if graph.cell is None:
        return graph.layer("Conv", values, *matrices.names, channels=channels, kernel_shape=[1, 1])
    of_heads = graph.op("Reshape", values, graph.constant([attention.heads, d, 0, 0]))
    # The shares of an output add up to 1: it is the last value plus shares of the differences of the others from it.
    x = last = _sliced(graph, of_heads, d - 1)
    for place, of_place in enumerate(matrices.names):
        difference = graph.op("Sub", _sliced(graph, of_heads, place), last)
        x = graph.op("Add", x, graph.op("Mul", of_place, difference))
    return graph.pointwise(graph.reshaped(x, values, channels), attention.projection)


def _interpolated(graph: Graph, of_cells: str, ends: str) -> str:
    """Interpolate values of cells (N, 1, rows, columns) to pixels."""
    assert graph.cell is not None
    if graph.size is not None:
        # As in `given`: in OpenVINO, Resize would take more than half of the time.
        rows, columns = (interpolation(0, length, length, graph.cell)[0] for length in graph.size)
        return graph.op("MatMul", graph.op("MatMul", graph.constant(rows), of_cells), graph.constant(columns.T))
    scales = graph.constant([1.0, 1.0, float(graph.cell), float(graph.cell)])
    x = graph.op("Resize", of_cells, "", scales, mode="linear")
    return graph.op("Slice", x, graph.constant([0, 0]), ends, graph.constant([2, 3]))


def _parts(graph: Graph, x: str) -> Iterator[str]:
    """Cut the last axis of a map with all pixels of the image, if they are many and their number is known."""
    pixels = 0 if graph.size is None or graph.cell is not None else graph.size[0] * graph.size[1]
    if pixels <= PIXELS_OF_A_PRODUCT:
        yield x
        return
    for first in range(0, pixels, PIXELS_OF_A_PRODUCT):
        yield graph.op("Slice", x, *(graph.constant([n]) for n in (first, first + PIXELS_OF_A_PRODUCT, 4)))


def _turned(graph: Graph, x: str) -> str:
    return graph.op("Transpose", x, perm=[0, 1, 2, 4, 3])


def _cell_pads(graph: Graph, x: str) -> str:
    """Padding that completes the last cells of a map."""
    if not graph.whole:
        return graph.given("cell_pads", [len(PICTURE_ENDS)], TensorProto.INT64)
    assert graph.cell is not None
    missing = graph.op("Mod", graph.op("Neg", graph.op("Shape", x, start=2)), graph.constant([graph.cell]))
    return graph.op("Concat", graph.constant([0] * 6), missing, axis=0)


def _projected(graph: Graph, shares: str, attention: Attention) -> str:
    """`Attention.projected` in a graph, from `_shares` of the whole image."""
    heads, d = attention.heads, attention.of_a_head
    of_heads = graph.op("Reshape", shares, graph.constant([heads, d, d]))
    projection = attention.projection.reshape(-1, heads, d).swapaxes(0, 1)
    x = graph.op("Transpose", graph.op("MatMul", graph.constant(projection), of_heads), perm=[1, 0, 2])
    return graph.op("Reshape", x, graph.constant([heads * d, heads * d, 1, 1]))


def _sliced(graph: Graph, x: str, place: int) -> str:
    """Slice one index of the second axis, keeping the axis."""
    return graph.op("Slice", x, *(graph.constant([number]) for number in (place, place + 1, 1)))
