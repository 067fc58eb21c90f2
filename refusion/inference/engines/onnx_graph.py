"""The fusion module as ONNX graphs: one for each of its passes over a picture, and one for a whole picture at once.

Feature maps are (1, C, H, W), and what ONNX Runtime does best is a convolution. So the layers of
`refusion.modules.blocks` are arranged anew: the centring and the weight of a layer norm stand in the pointwise
convolution after it; a map is padded before the pointwise convolution, with which repeating pixels commutes; no map is
split or rearranged.

Attention matrices are made of sums over pixels: of the whole picture, or of its cells (see
`refusion.modules.blocks.windowed_attention`). So each pass ends with the sums that the matrices of the next one are
made of.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from refusion.modules.windows import CELL_WEIGHTS, CELLS

LAYER_NORM_EPS = 1e-5
"""The eps of torch.nn.LayerNorm."""

NORM_EPS = 1e-12
"""The eps of torch.nn.functional.normalize, which the paper's attention uses."""

Weights = Mapping[str, np.ndarray]
"""The state dict of a `refusion.modules.fusion.FusionModule`, float32."""

SIDES = ("height", "width")

PICTURE_ENDS = (0, 0, 1, 1, 0, 0, 1, 1)
"""What a map (N, C, H, W) is padded by for a 3 x 3 convolution where the picture ends at all sides."""

HIDDEN_CHANNELS = 32
"""Channels of the gated layers that are worked on at a time."""

_OPSET, _IR_VERSION = 20, 9
_PAD_MODES = {"zeros": "constant", "replicate": "edge", "reflect": "reflect"}


@dataclass(frozen=True)
class Attention:
    """What makes attention matrices of sums over pixels.

    Attributes:
        temperatures: one for each head, (heads).
        of_a_head: channels of a head, d.
        projection: the pointwise convolution after the attention, (C, C).
    """

    temperatures: np.ndarray
    of_a_head: int
    projection: np.ndarray

    @property
    def shape_of_sums(self) -> tuple[int, int, int]:
        """Products of queries and keys with each other, of each head: (heads, 2 d, 2 d)."""
        return len(self.temperatures), 2 * self.of_a_head, 2 * self.of_a_head

    @property
    def shape_of_wanted(self) -> tuple[int, int]:
        """What `wanted` gives for each head: (heads, d d + 2 d)."""
        return len(self.temperatures), self.of_a_head * (self.of_a_head + 2)

    def wanted(self, sums: np.ndarray) -> np.ndarray:
        """Products of each query with each key, and the squares of both.

        Args:
            sums: products of [queries; keys] with themselves, summed over pixels, (..., heads, 2 d, 2 d).

        Returns:
            (..., heads, d d + 2 d).
        """
        d = self.of_a_head
        products = sums[..., :d, d:].reshape(*sums.shape[:-2], d * d)
        return np.concatenate((products, np.diagonal(sums, axis1=-2, axis2=-1)), axis=-1)

    def shares(self, wanted: np.ndarray) -> np.ndarray:
        """The attention matrices of each head.

        Args:
            wanted: as `wanted` gives it, summed over as many pixels as the attention sees, (..., heads, d d + 2 d).

        Returns:
            How much each output (last axis but one) gets of each value: (..., heads, d, d), float32.
        """
        d = self.of_a_head
        norms = np.sqrt(np.maximum(wanted[..., d * d :], NORM_EPS**2))
        scores = wanted[..., : d * d].reshape(*wanted.shape[:-1], d, d)
        scores = scores / (norms[..., :d, None] * norms[..., None, d:]) * self.temperatures[:, None, None]
        # Sums over the first axis are several times as fast as over a short last one.
        scores = np.ascontiguousarray(np.moveaxis(scores, -1, 0))
        shares = np.exp(scores - scores.max(axis=0))
        return np.moveaxis(shares / shares.sum(axis=0), 0, -1).astype(np.float32)

    def projected(self, wanted: np.ndarray) -> np.ndarray:
        """The attention of a whole picture and the projection after it, as one pointwise convolution of the values.

        Args:
            wanted: as for `shares`, (heads, d d + 2 d).

        Returns:
            (C, C, 1, 1), float32.
        """
        matrix = np.zeros_like(self.projection)
        for head, shares in enumerate(self.shares(wanted)):
            channels = slice(head * self.of_a_head, (head + 1) * self.of_a_head)
            matrix[:, channels] = self.projection[:, channels] @ shares
        return matrix[:, :, None, None]


@dataclass(frozen=True)
class Pass:
    """One pass over the picture, which is taken part by part, in any order.

    A part comes with what lies around it, as many rows and columns as there are layers of 3 x 3 convolutions; each of
    them uses up one at every side, but where the picture ends. There it comes padded for the first one, unless it is
    zeros that are padded.

    Attributes:
        model: takes the maps ``x0`` ..., (1, C, h, w) each; the matrices ``attention0`` ... that the sums of the pass
            before were made into; and ``pads0`` ... for each layer that pads: `PICTURE_ENDS`, with 0 where the picture
            goes on. It gives ``y0`` ..., and after them ``sums0`` ..., (1, 1, heads, 2 d, 2 d).
            With cells, the matrices are (heads, d, `free_shares`, rows, columns) of cells, interpolated by ``rows``,
            (h, rows), and ``columns``, (columns, w), for the values, one 3 x 3 convolution after the maps; the part
            must begin with a cell, ``cell_pads`` makes its last cells whole, and there are sums for each cell.
        inputs: channels of each map that it takes.
        outputs: channels of each map that it gives.
        layers: of 3 x 3 convolutions.
        left: rows and columns around the part that the maps it gives still have.
        pads: which of the layers pad.
        attentions: what its sums are made into.
        attended: whether it takes attention matrices.
    """

    model: ModelProto
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: int
    left: int
    pads: tuple[int, ...]
    attentions: tuple[Attention, ...]
    attended: bool


def passes(weights: Weights, padding_mode: str, cell: int | None = None) -> list[Pass]:
    """The passes that make a fused picture of two sources, one after the other.

    Args:
        weights: of the fusion module.
        padding_mode: what its 3 x 3 convolutions see beyond the border.
        cell: side of the cells that have attention matrices of their own; None for those of the whole picture.
    """
    result: list[Pass] = []
    sums: Sequence[_Sums] = ()
    channels: tuple[int, ...] = (1, 1)
    for head, tail in _stages(weights):
        graph = _Graph(padding_mode, cell, whole=False)
        given = [_given(graph, f"attention{i}", one.attention) for i, one in enumerate(sums)]
        maps = head(graph, [graph.map(f"x{i}", count) for i, count in enumerate(channels)], given)
        attended = bool(sums)
        sums, maps = tail(graph, maps)
        for i, name in enumerate(maps):
            graph.output(f"y{i}", name, [1, graph.channels[name], "h", "w"])
        for i, one in enumerate(sums):
            graph.output(f"sums{i}", one.sums, ["cell_rows", "cell_columns", *one.attention.shape_of_sums])
        outputs = tuple(graph.channels[name] for name in maps)
        left = graph.layers - graph.depth[maps[0]]
        made = tuple(one.attention for one in sums)
        result.append(Pass(graph.model(), channels, outputs, graph.layers, left, tuple(graph.pads), made, attended))
        channels = outputs
    return result


def whole(weights: Weights, padding_mode: str, cell: int | None = None) -> ModelProto:
    """The network as one graph: of ``a`` and ``b``, (1, 1, height, width), it makes ``fused``, of the same shape.

    Args:
        weights: of the fusion module.
        padding_mode: what its 3 x 3 convolutions see beyond the border.
        cell: see `passes`.
    """
    graph = _Graph(padding_mode, cell, whole=True)
    maps: Sequence[str] = [graph.map("a", 1), graph.map("b", 1)]
    matrices: Sequence[_Matrix] = ()
    for head, tail in _stages(weights):
        sums, maps = tail(graph, head(graph, maps, matrices))
        matrices = [_made(graph, one, maps[0]) for one in sums]
    graph.output("fused", maps[0], [1, 1, *SIDES])
    return graph.model()


class _Graph:
    """A graph in the making, in which maps are called by name.

    Args:
        padding_mode: of the 3 x 3 convolutions.
        cell: side of the cells of the attention, if it has any.
        whole: whether maps are of whole pictures, which end at all sides.

    Attributes:
        channels: of each map.
        depth: how many 3 x 3 convolutions each map comes after.
        layers: how many of them come after one another.
        pads: for which of these layers it is given what is padded.
    """

    def __init__(self, padding_mode: str, cell: int | None, *, whole: bool) -> None:
        self.padding_mode, self.cell, self.whole = padding_mode, cell, whole
        self.channels: dict[str, int] = {}
        self.depth: dict[str, int] = {}
        self.layers = 0
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._ends: str | None = None
        self.pads: dict[int, str] = {}
        self._padded: dict[str, str] = {}

    def map(self, name: str, channels: int) -> str:
        """A map that is given."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *SIDES]))
        self.channels[name], self.depth[name] = channels, 0
        return name

    def given(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> str:
        """Something else that is given; the same one if it was asked for before."""
        if all(known.name != name for known in self._inputs):
            self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, called: str, name: str, shape: Sequence[int | str]) -> None:
        """Give something under a name."""
        for node in self._nodes:
            node.output[:] = [called if x == name else x for x in node.output]
            node.input[:] = [called if x == name else x for x in node.input]
        self._outputs.append(helper.make_tensor_value_info(called, TensorProto.FLOAT, shape))

    def constant(self, value: np.ndarray | float | Sequence[float]) -> str:
        """A constant: float32, or int64 if it is made of whole numbers."""
        array = np.asarray(value)
        name = f"c{len(self._constants)}"
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, channels: int | None = None, **attributes: Any) -> str:
        """The result of an operation; a map has as many channels as the first input if not told."""
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        if inputs[0] in self.channels:
            self.channels[name] = self.channels[inputs[0]] if channels is None else channels
            self.depth[name] = max(self.depth.get(x, 0) for x in inputs)
        return name

    def add(self, x: str, y: str) -> str:
        """x + y, where y may come after more 3 x 3 convolutions."""
        while not self.whole and self.depth[x] < self.depth[y]:
            x = self._cropped(x)
        return self.op("Add", x, y)

    def pointwise(self, x: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """A pointwise convolution with an (outputs, inputs) matrix."""
        given = [self.constant(weight[:, :, None, None])] + ([] if bias is None else [self.constant(bias)])
        return self.op("Conv", x, *given, channels=len(weight), kernel_shape=[1, 1])

    def conv(self, x: str, weight: np.ndarray) -> str:
        """A 3 x 3 convolution."""
        return self._unpadded(self._pad(x), weight, 1)

    def depthwise(self, x: str, pointwise: np.ndarray, bias: np.ndarray | None, weight: np.ndarray) -> str:
        """A pointwise convolution, and a depthwise one of 3 x 3 after it."""
        if self.padding_mode == "zeros":
            x = self._pad(self.pointwise(x, pointwise, bias))
        else:
            x = self.pointwise(self._pad(x), pointwise, bias)
        return self._unpadded(x, weight, len(weight))

    def model(self) -> ModelProto:
        """What was made."""
        graph = helper.make_graph(self._nodes, "refusion", self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="refusion")

    def _unpadded(self, x: str, weight: np.ndarray, groups: int) -> str:
        name = self.op(
            "Conv", x, self.constant(weight), channels=len(weight), kernel_shape=list(weight.shape[2:]), group=groups
        )
        self.depth[name] += 1
        self.layers = max(self.layers, self.depth[name])
        return name

    def _pad(self, x: str) -> str:
        if self._comes_padded(x):
            return x
        if x not in self._padded:
            self._padded[x] = self.op("Pad", x, self._pads_at(self.depth[x]), mode=_PAD_MODES[self.padding_mode])
        return self._padded[x]

    def _cropped(self, x: str) -> str:
        """What a 3 x 3 convolution of it covers."""
        if self._comes_padded(x):
            inside = [self.constant(places) for places in ([1, 1], [-1, -1], [2, 3])]
            name = self.op("Slice", x, *inside)
        else:
            kept = self.op("Sub", self._pads_at(self.depth[x]), self._picture_ends())
            name = self.op("Pad", x, kept, mode="constant")
        self.depth[name] = self.depth[x] + 1
        return name

    def _comes_padded(self, x: str) -> bool:
        return not self.whole and self.padding_mode != "zeros" and self.depth[x] == 0

    def _picture_ends(self) -> str:
        if self._ends is None:
            self._ends = self.constant(PICTURE_ENDS)
        return self._ends

    def _pads_at(self, depth: int) -> str:
        if self.whole:
            return self._picture_ends()
        if depth not in self.pads:
            self.pads[depth] = self.given(f"pads{depth}", [len(PICTURE_ENDS)], TensorProto.INT64)
        return self.pads[depth]


@dataclass(frozen=True)
class _Sums:
    """Name of the sums that attention matrices are made of, (rows, columns, heads, 2 d, 2 d), and what makes them."""

    sums: str
    attention: Attention


@dataclass(frozen=True)
class _Matrix:
    """Names of what values are multiplied by, and what made it.

    Of a whole picture it is a pointwise convolution, attention and projection together; with cells, the attention at
    every pixel, (heads, d, `free_shares`, h, w), of all heads or of some at a time.
    """

    names: Sequence[str]
    attention: Attention


_Head = Callable[[_Graph, Sequence[str], Sequence[_Matrix]], Sequence[str]]
"""Makes maps of maps and attention matrices."""

_Tail = Callable[[_Graph, Sequence[str]], tuple[Sequence[_Sums], Sequence[str]]]
"""Makes the sums of maps that the next matrices are made of; the maps, and what else is wanted again after it."""


def _stages(weights: Weights) -> list[tuple[_Head, _Tail]]:
    blocks = 0
    while f"decoder.{blocks}.norm1.weight" in weights:
        blocks += 1
    encoders = [[_Block(weights, f"encoder{side}.{i}") for side in (1, 2)] for i in range(blocks)]
    decoders = [[_Block(weights, f"decoder.{i}")] for i in range(blocks)]
    heads: list[_Head] = [partial(_project_in, weights), *(partial(_rest_of_blocks, pair) for pair in encoders)]
    heads += [partial(_interact, weights), *(partial(_rest_of_blocks, one) for one in decoders)]
    tails: list[_Tail] = [partial(_sums_of_blocks, pair) for pair in encoders]
    tails += [partial(_cross_sums, weights), *(partial(_sums_of_blocks, one) for one in decoders)]
    last = heads[-1]
    heads[-1] = lambda graph, maps, matrices: _project_out(weights, graph, last(graph, maps, matrices))
    return list(zip(heads, [*tails, lambda graph, maps: ((), maps)], strict=True))


def _project_in(weights: Weights, graph: _Graph, maps: Sequence[str], matrices: Sequence[_Matrix]) -> Sequence[str]:
    return [graph.conv(x, weights[f"project_in_{i}.weight"]) for i, x in enumerate(maps, 1)]


def _project_out(weights: Weights, graph: _Graph, maps: Sequence[str]) -> Sequence[str]:
    x = graph.op("LeakyRelu", graph.conv(maps[0], weights["project_out_0.weight"]), alpha=0.01)
    return [graph.op("Sigmoid", graph.conv(x, weights["project_out_1.weight"]))]


class _Block:
    """The weights of a transformer block, the layer norms folded into the pointwise convolutions after them."""

    def __init__(self, weights: Weights, name: str) -> None:
        self.qkv, self.qkv_bias = _after_norm(weights, f"{name}.attn.qkv", f"{name}.norm1")
        self.qkv_depthwise = weights[f"{name}.attn.qkv_dwconv.weight"]
        self.attention = _attention(weights, f"{name}.attn.temperature", f"{name}.attn.project_out")
        self.ffn, self.ffn_bias = _after_norm(weights, f"{name}.ffn.project_in", f"{name}.norm2")
        self.ffn_depthwise = weights[f"{name}.ffn.dwconv.weight"]
        self.project_out = _matrix(weights, f"{name}.ffn.project_out")


def _sums_of_blocks(
    blocks: Sequence[_Block], graph: _Graph, maps: Sequence[str]
) -> tuple[Sequence[_Sums], Sequence[str]]:
    result, scales = [], [_scale(graph, x) for x in maps]
    for x, scale, block in zip(maps, scales, blocks, strict=True):
        y = graph.op("Mul", x, scale)
        of_heads = []
        for heads in _heads_at_a_time(block.attention):
            some = _queries_and_keys(block.attention, heads)
            of_heads.append(graph.depthwise(y, block.qkv[some], block.qkv_bias[some], block.qkv_depthwise[some]))
        result.append(_sums(graph, of_heads, block.attention))
    return result, [*maps, *scales]


def _rest_of_blocks(
    blocks: Sequence[_Block], graph: _Graph, maps: Sequence[str], matrices: Sequence[_Matrix]
) -> Sequence[str]:
    result = []
    scales = maps[len(blocks) :]
    for x, scale, block, matrix in zip(maps, scales, blocks, matrices, strict=False):
        part, y = _thirds(block.qkv)[2], graph.op("Mul", x, scale)
        v = graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
        x = graph.add(x, _attended(graph, v, matrix))
        y = graph.op("Mul", x, _scale(graph, x))
        for part, gates, values in _hidden(block.project_out):
            gate, value = (
                graph.depthwise(y, block.ffn[some], block.ffn_bias[some], block.ffn_depthwise[some])
                for some in (gates, values)
            )
            x = graph.add(x, _gated(graph, gate, value, block.project_out[:, part]))
        result.append(x)
    return result


def _cross_sums(weights: Weights, graph: _Graph, maps: Sequence[str]) -> tuple[Sequence[_Sums], Sequence[str]]:
    queries, keys = [], []
    for i, x in enumerate(maps, 1):
        matrix, depthwise = _matrix(weights, f"interaction.qkv{i}"), weights[f"interaction.qkv{i}_dwconv.weight"]
        q, k = (graph.depthwise(x, matrix[part], None, depthwise[part]) for part in _thirds(matrix)[:2])
        queries.append(q)
        keys.append(k)
    result = []
    for i, (q, k) in enumerate(zip(reversed(queries), keys, strict=True), 1):
        attention = _attention(weights, f"interaction.temperature{i}", f"interaction.project_mid{i}")
        heads, d = len(attention.temperatures), attention.of_a_head
        of_heads = (graph.op("Reshape", x, graph.constant([heads, d, 0, 0])) for x in (q, k))
        both, shape = graph.op("Concat", *of_heads, axis=1), graph.constant([1, 2 * heads * d, 0, 0])
        both = graph.op("Reshape", both, shape, channels=2 * heads * d)
        result.append(_sums(graph, [both], attention))
    return result, maps


def _interact(weights: Weights, graph: _Graph, maps: Sequence[str], matrices: Sequence[_Matrix]) -> Sequence[str]:
    attended = []
    for i, (x, one) in enumerate(zip(maps, matrices, strict=True), 1):
        matrix, depthwise = _matrix(weights, f"interaction.qkv{i}"), weights[f"interaction.qkv{i}_dwconv.weight"]
        part = _thirds(matrix)[2]
        v = graph.depthwise(x, matrix[part], None, depthwise[part])
        attended.append(graph.add(x, _attended(graph, v, one)))
    both = graph.op("Concat", *attended, channels=sum(graph.channels[x] for x in attended), axis=1)
    gates, gates_depthwise = _matrix(weights, "interaction.gates"), weights["interaction.gates_dwconv.weight"]
    result = both
    for i, x in enumerate(attended, 1):
        values, depthwise = _matrix(weights, f"interaction.value{i}"), weights[f"interaction.value{i}_dwconv.weight"]
        project_out = _matrix(weights, f"interaction.project_out{i}")
        for part, *of_sources in _hidden(project_out):
            of_source = of_sources[i - 1]
            gate = graph.depthwise(both, gates[of_source], None, gates_depthwise[of_source])
            value = graph.depthwise(x, values[part], None, depthwise[part])
            result = graph.add(result, _gated(graph, gate, value, project_out[:, part]))
    return [result]


def _scale(graph: _Graph, x: str) -> str:
    """One by the standard deviation at each pixel, a map of one channel.

    A layer norm is x multiplied by it: the pointwise convolution after it does the centring, see `_after_norm`.
    """
    channels = graph.channels[x]
    centred = graph.pointwise(x, np.eye(channels) - 1 / channels)
    variance = graph.pointwise(graph.op("Mul", centred, centred), np.full((1, channels), 1 / channels))
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.constant(LAYER_NORM_EPS)))
    return graph.op("Reciprocal", deviation)


def _gated(graph: _Graph, gate: str, value: str, project_out: np.ndarray) -> str:
    return graph.pointwise(graph.op("Mul", graph.op("Gelu", gate), value), project_out)


def _sums(graph: _Graph, queries_and_keys: Sequence[str], attention: Attention) -> _Sums:
    """Products of queries and keys with each other, summed over the pixels.

    Args:
        graph: the graph.
        queries_and_keys: (1, 2 d n, h, w) each, of n heads that follow each other: the queries of the first one, its
            keys, the queries of the next one.
        attention: what the sums are made into.
    """
    d = attention.of_a_head
    results = []
    for x in queries_and_keys:
        heads = graph.channels[x] // (2 * d)
        if graph.cell is None:
            x = graph.op("Reshape", x, graph.constant([1, 1, heads, 2 * d, -1]))
        else:
            x = graph.op("Pad", x, _cell_pads(graph, x), mode="constant")
            x = graph.op("Reshape", x, graph.constant([2 * d * heads, -1, graph.cell, 0]))
            x = graph.op("Reshape", x, graph.constant([0, 0, 0, -1, graph.cell]))
            x = graph.op("Transpose", x, perm=[1, 3, 0, 2, 4])
            x = graph.op("Reshape", x, graph.constant([0, 0, heads, 2 * d, -1]))
        results.append(graph.op("MatMul", x, graph.op("Transpose", x, perm=[0, 1, 2, 4, 3])))
    return _Sums(results[0] if len(results) == 1 else graph.op("Concat", *results, axis=2), attention)


def _cell_pads(graph: _Graph, x: str) -> str:
    """What makes the last cells of a map whole."""
    if not graph.whole:
        return graph.given("cell_pads", [len(PICTURE_ENDS)], TensorProto.INT64)
    assert graph.cell is not None
    missing = graph.op("Mod", graph.op("Neg", graph.op("Shape", x, start=2)), graph.constant([graph.cell]))
    return graph.op("Concat", graph.constant([0] * 6), missing, axis=0)


def _given(graph: _Graph, name: str, attention: Attention) -> _Matrix:
    """Attention matrices that are given for a part of a picture."""
    channels, d = len(attention.projection), attention.of_a_head
    if graph.cell is None:
        return _Matrix([graph.given(name, [channels, channels, 1, 1])], attention)
    of_cells = graph.given(name, [channels // d, d, free_shares(d), "cell_rows", "cell_columns"])
    rows = graph.given("rows", ["value_rows", "cell_rows"])
    columns = graph.given("columns", ["cell_columns", "value_columns"])
    some = (_sliced(graph, of_cells, heads, 0) for heads in _heads_at_a_time(attention))
    return _Matrix([graph.op("MatMul", graph.op("MatMul", rows, x), columns) for x in some], attention)


def _made(graph: _Graph, sums: _Sums, picture: str) -> _Matrix:
    """Attention matrices of a whole picture: `Attention.shares` in a graph, then interpolated or projected.

    Args:
        graph: the graph.
        sums: what they are made of.
        picture: a map of the picture's size.
    """
    heads, size, _ = sums.attention.shape_of_sums
    d = size // 2
    x = graph.op("Reshape", sums.sums, graph.constant([0, 0, -1]))
    x = graph.op("Unsqueeze", graph.op("Transpose", x, perm=[2, 0, 1]), graph.constant([0]))
    if graph.cell is not None:
        count = heads * size * size
        kernel = np.broadcast_to(np.outer(CELL_WEIGHTS, CELL_WEIGHTS).astype(np.float32), (count, 1, CELLS, CELLS))
        pads = [CELLS // 2] * 4
        x = graph.op("Conv", x, graph.constant(kernel), kernel_shape=[CELLS, CELLS], pads=pads, group=count)
    # Products of each query with each key, and the squares of both, each as often as there are products.
    places = np.arange(heads * size * size).reshape(heads, size, size)
    squares = np.diagonal(places, axis1=1, axis2=2)
    products, of_queries, of_keys = (
        graph.op("Gather", x, graph.constant(np.broadcast_to(some, (heads, d, d)).ravel()), axis=1)
        for some in (places[:, :d, d:], squares[:, :d, None], squares[:, None, d:])
    )
    norms = (graph.op("Sqrt", graph.op("Max", y, graph.constant(NORM_EPS**2))) for y in (of_queries, of_keys))
    scores = graph.op("Div", products, graph.op("Mul", *norms))
    temperatures = np.repeat(sums.attention.temperatures, d * d)[:, None, None]
    scores = graph.op("Mul", scores, graph.constant(temperatures))
    shares = graph.op("Softmax", graph.op("Reshape", scores, graph.constant([heads * d, d, 0, 0])), axis=1)
    if graph.cell is None:
        of_heads = graph.op("Reshape", shares, graph.constant([heads, d, d]))
        projection = sums.attention.projection.reshape(-1, heads, d).swapaxes(0, 1)
        x = graph.op("Transpose", graph.op("MatMul", graph.constant(projection), of_heads), perm=[1, 0, 2])
        return _Matrix([graph.op("Reshape", x, graph.constant([heads * d, heads * d, 1, 1]))], sums.attention)
    some = [graph.constant([place]) for place in (0, free_shares(d), 1)]
    scales = graph.constant([1.0, 1.0, float(graph.cell), float(graph.cell)])
    x = graph.op("Resize", graph.op("Slice", shares, *some), "", scales, mode="linear")
    end, axes = graph.op("Shape", picture, start=2), graph.constant([2, 3])
    x = graph.op("Slice", x, graph.constant([0, 0]), end, axes)
    shape = graph.op("Concat", graph.constant([heads, d, free_shares(d)]), end, axis=0)
    return _Matrix([graph.op("Reshape", x, shape)], sums.attention)


def _attended(graph: _Graph, values: str, matrix: _Matrix) -> str:
    """The values after the attention and the projection."""
    attention = matrix.attention
    channels, d = len(attention.projection), attention.of_a_head
    if graph.cell is None:
        return graph.op("Conv", values, *matrix.names, channels=channels, kernel_shape=[1, 1])
    of_heads = graph.op("Reshape", values, graph.constant([channels // d, d, 0, 0]))
    groups = [slice(0, channels // d)] if len(matrix.names) == 1 else _heads_at_a_time(attention)
    kept = {} if free_shares(d) == 1 else {"keepdims": 0}
    results = []
    for heads, name in zip(groups, matrix.names, strict=True):
        # The shares of an output add up to 1: it is the last value and shares of what the others differ from it by.
        some = _sliced(graph, of_heads, heads, 0)
        last, others = (_sliced(graph, some, part, 1) for part in (slice(d - 1, d), slice(0, free_shares(d))))
        weighed = graph.op("Mul", graph.op("Unsqueeze", graph.op("Sub", others, last), graph.constant([1])), name)
        x = graph.op("Squeeze" if free_shares(d) == 1 else "ReduceSum", weighed, graph.constant([2]), **kept)
        results.append(graph.op("Add", x, last))
    x = results[0] if len(results) == 1 else graph.op("Concat", *results, axis=0)
    x = graph.op("Reshape", x, graph.constant([1, channels, 0, 0]), channels=channels)
    return graph.pointwise(x, attention.projection)


def _sliced(graph: _Graph, x: str, part: slice, axis: int) -> str:
    return graph.op("Slice", x, *(graph.constant([place]) for place in (part.start, part.stop, axis)))


def free_shares(of_a_head: int) -> int:
    """Shares of an output that have to be known, for they add up to 1."""
    return max(1, of_a_head - 1)


def _heads_at_a_time(attention: Attention) -> list[slice]:
    """Heads whose queries and keys stay in the processor's cache until they are used."""
    count = max(1, HIDDEN_CHANNELS // (2 * attention.of_a_head))
    heads = len(attention.temperatures)
    return [slice(first, min(first + count, heads)) for first in range(0, heads, count)]


def _queries_and_keys(attention: Attention, heads: slice) -> np.ndarray:
    """Places of the queries and keys of some heads among all outputs, each head's queries before its keys."""
    d, channels = attention.of_a_head, len(attention.projection)
    of_queries = np.arange(channels).reshape(-1, 1, d)[heads]
    return np.concatenate((of_queries, of_queries + channels), axis=1).ravel()


def _attention(weights: Weights, temperature: str, projection: str) -> Attention:
    matrix, temperatures = _matrix(weights, projection), weights[temperature].reshape(-1)
    return Attention(temperatures, len(matrix) // len(temperatures), matrix)


def _after_norm(weights: Weights, conv: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """A pointwise convolution after a layer norm, as one of the map multiplied by its `_scale`: its matrix and bias."""
    matrix = _matrix(weights, conv)
    bias = matrix @ weights[f"{norm}.bias"]
    matrix = matrix * weights[f"{norm}.weight"]
    return matrix - matrix.mean(axis=1, keepdims=True), bias


def _matrix(weights: Weights, conv: str) -> np.ndarray:
    return weights[f"{conv}.weight"][:, :, 0, 0]


def _thirds(matrix: np.ndarray) -> tuple[slice, slice, slice]:
    """The outputs for queries, keys and values."""
    third = len(matrix) // 3
    return slice(third), slice(third, 2 * third), slice(2 * third, 3 * third)


def _hidden(project_out: np.ndarray) -> Iterator[tuple[slice, slice, slice]]:
    """Parts of the hidden channels, which stay in the processor's cache until they are used.

    Args:
        project_out: the matrix that they are multiplied by.

    Yields:
        The channels, their places among gates and values (or the gates of both sources): first half and second half.
    """
    hidden = project_out.shape[1]
    for start in range(0, hidden, HIDDEN_CHANNELS):
        stop = min(start + HIDDEN_CHANNELS, hidden)
        yield slice(start, stop), slice(start, stop), slice(hidden + start, hidden + stop)
