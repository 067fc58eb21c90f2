"""The fusion module as ONNX graphs: one for each of its passes over a picture, and one for a whole picture at once.

Feature maps are (1, C, H, W), and what ONNX Runtime does best is a convolution. So the layers of `refusion.blocks` are
arranged anew: the centring and the weight of a layer norm stand in the pointwise convolution after it; a map is padded
before the pointwise convolution, with which repeating pixels commutes; no map is split or rearranged.

The attention is over the whole picture. So each pass ends with the sums over the pixels that the attention matrices of
the next one are made of.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

LAYER_NORM_EPS = 1e-5
"""The eps of torch.nn.LayerNorm."""

NORM_EPS = 1e-12
"""The eps of torch.nn.functional.normalize, which the paper's attention uses."""

Weights = Mapping[str, np.ndarray]
"""The state dict of a `refusion.fusion.FusionModule`, float32."""

SIDES = ("height", "width")

PICTURE_ENDS = (0, 0, 1, 1, 0, 0, 1, 1)
"""What a map (N, C, H, W) is padded by for a 3 x 3 convolution where the picture ends at all sides."""

HIDDEN_CHANNELS = 32
"""Channels of the gated layers that are worked on at a time."""

_OPSET, _IR_VERSION = 20, 9
_PAD_MODES = {"zeros": "constant", "replicate": "edge", "reflect": "reflect"}


@dataclass(frozen=True)
class Attention:
    """What makes an attention matrix of the sums over the pixels.

    Attributes:
        temperatures: one for each channel, (C, 1).
        between_heads: what is added to the scores, (C, C): channels of different heads do not attend to each other.
        projection: the pointwise convolution after the attention, (C, C).
    """

    temperatures: np.ndarray
    between_heads: np.ndarray
    projection: np.ndarray

    def matrix(self, gram: np.ndarray, q_squares: np.ndarray, k_squares: np.ndarray) -> np.ndarray:
        """The attention and the projection after it.

        Args:
            gram: products of each query with each key, summed over the pixels, (C, C), float64.
            q_squares: squares of the queries, summed likewise, (C).
            k_squares: the same of the keys.

        Returns:
            Weights of a pointwise convolution of the values, (C, C, 1, 1), float32.
        """
        q_norms, k_norms = (np.maximum(np.sqrt(squares), NORM_EPS) for squares in (q_squares, k_squares))
        scores = gram / (q_norms[:, None] * k_norms) * self.temperatures + self.between_heads
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return (self.projection @ (shares / shares.sum(axis=1, keepdims=True)))[:, :, None, None].astype(np.float32)


@dataclass(frozen=True)
class Pass:
    """One pass over the picture, which is taken part by part, in any order.

    A part comes with what lies around it, as many rows and columns as there are layers of 3 x 3 convolutions; each of
    them uses up one at every side, but where the picture ends. There it comes padded for the first one, unless it is
    zeros that are padded.

    Attributes:
        model: takes the maps ``x0`` ..., (1, C, h, w) each; the matrices ``attention0`` ... that the sums of the pass
            before were made into; and ``pads0`` ... for each layer that pads: `PICTURE_ENDS`, with 0 where the picture
            goes on.
            It gives ``y0`` ..., and after them ``gram0``, ``q_squares0``, ``k_squares0`` and so on.
        inputs: channels of each map that it takes.
        outputs: channels of each map that it gives.
        layers: of 3 x 3 convolutions.
        left: rows and columns around the part that the maps it gives still have.
        pads: which of the layers pad.
        attentions: what its sums are made into.
    """

    model: ModelProto
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: int
    left: int
    pads: tuple[int, ...]
    attentions: tuple[Attention, ...]


def passes(weights: Weights, padding_mode: str) -> list[Pass]:
    """The passes that make a fused picture of two sources, one after the other.

    Args:
        weights: of the fusion module.
        padding_mode: what its 3 x 3 convolutions see beyond the border.
    """
    result: list[Pass] = []
    sums: Sequence[_Sums] = ()
    channels: tuple[int, ...] = (1, 1)
    for head, tail in _stages(weights):
        graph = _Graph(padding_mode, whole=False)
        given = [graph.matrix(f"attention{i}", one.attention) for i, one in enumerate(sums)]
        maps = head(graph, [graph.map(f"x{i}", count) for i, count in enumerate(channels)], given)
        sums, maps = tail(graph, maps)
        for i, name in enumerate(maps):
            graph.output(f"y{i}", name, [1, graph.channels[name], "h", "w"])
        for i, one in enumerate(sums):
            count = len(one.attention.projection)
            graph.output(f"gram{i}", one.gram, [count, count])
            graph.output(f"q_squares{i}", one.q_squares, [count])
            graph.output(f"k_squares{i}", one.k_squares, [count])
        outputs = tuple(graph.channels[name] for name in maps)
        left = graph.layers - graph.depth[maps[0]]
        made = tuple(one.attention for one in sums)
        result.append(Pass(graph.model(), channels, outputs, graph.layers, left, tuple(graph.pads), made))
        channels = outputs
    return result


def whole(weights: Weights, padding_mode: str) -> ModelProto:
    """The network as one graph: of ``a`` and ``b``, (1, 1, height, width), it makes ``fused``, of the same shape.

    Args:
        weights: of the fusion module.
        padding_mode: what its 3 x 3 convolutions see beyond the border.
    """
    graph = _Graph(padding_mode, whole=True)
    maps: Sequence[str] = [graph.map("a", 1), graph.map("b", 1)]
    matrices: Sequence[str] = ()
    for head, tail in _stages(weights):
        sums, maps = tail(graph, head(graph, maps, matrices))
        matrices = [_attend(graph, one) for one in sums]
    graph.output("fused", maps[0], [1, 1, *SIDES])
    return graph.model()


class _Graph:
    """A graph in the making, in which maps are called by name.

    Args:
        padding_mode: of the 3 x 3 convolutions.
        whole: whether maps are of whole pictures, which end at all sides.

    Attributes:
        channels: of each map.
        depth: how many 3 x 3 convolutions each map comes after.
        layers: how many of them come after one another.
        pads: for which of these layers it is given what is padded.
    """

    def __init__(self, padding_mode: str, *, whole: bool) -> None:
        self.padding_mode, self.whole = padding_mode, whole
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

    def matrix(self, name: str, attention: Attention) -> str:
        """An attention matrix that is given."""
        shape = [*attention.projection.shape, 1, 1]
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, called: str, name: str, shape: Sequence[int | str]) -> None:
        """Give something under a name."""
        for node in self._nodes:
            node.output[:] = [called if x == name else x for x in node.output]
            node.input[:] = [called if x == name else x for x in node.input]
        self._outputs.append(helper.make_tensor_value_info(called, TensorProto.FLOAT, shape))

    def constant(self, value: np.ndarray | float | Sequence[int]) -> str:
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
            self.pads[depth] = f"pads{depth}"
            shape = [len(PICTURE_ENDS)]
            self._inputs.append(helper.make_tensor_value_info(self.pads[depth], TensorProto.INT64, shape))
        return self.pads[depth]


@dataclass(frozen=True)
class _Sums:
    """Names of the sums that an attention matrix is made of, and what makes it."""

    gram: str
    q_squares: str
    k_squares: str
    attention: Attention


_Head = Callable[[_Graph, Sequence[str], Sequence[str]], Sequence[str]]
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


def _project_in(weights: Weights, graph: _Graph, maps: Sequence[str], matrices: Sequence[str]) -> Sequence[str]:
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
        q, k = (
            graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
            for part in _thirds(block.qkv)[:2]
        )
        result.append(_sums(graph, q, k, block.attention))
    return result, [*maps, *scales]


def _rest_of_blocks(
    blocks: Sequence[_Block], graph: _Graph, maps: Sequence[str], matrices: Sequence[str]
) -> Sequence[str]:
    result = []
    scales = maps[len(blocks) :]
    for x, scale, block, matrix in zip(maps, scales, blocks, matrices, strict=False):
        part, y = _thirds(block.qkv)[2], graph.op("Mul", x, scale)
        v = graph.depthwise(y, block.qkv[part], block.qkv_bias[part], block.qkv_depthwise[part])
        x = graph.add(x, graph.op("Conv", v, matrix, kernel_shape=[1, 1]))
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
    sums = [
        _sums(graph, q, k, _attention(weights, f"interaction.temperature{i}", f"interaction.project_mid{i}"))
        for i, (q, k) in enumerate(zip(reversed(queries), keys, strict=True), 1)
    ]
    return sums, maps


def _interact(weights: Weights, graph: _Graph, maps: Sequence[str], matrices: Sequence[str]) -> Sequence[str]:
    attended = []
    for i, (x, attention) in enumerate(zip(maps, matrices, strict=True), 1):
        matrix, depthwise = _matrix(weights, f"interaction.qkv{i}"), weights[f"interaction.qkv{i}_dwconv.weight"]
        part = _thirds(matrix)[2]
        v = graph.depthwise(x, matrix[part], None, depthwise[part])
        attended.append(graph.add(x, graph.op("Conv", v, attention, kernel_shape=[1, 1])))
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


def _sums(graph: _Graph, q: str, k: str, attention: Attention) -> _Sums:
    channels = len(attention.projection)
    pixels = graph.op("Div", graph.op("Size", q), graph.constant(channels))
    pixels = graph.op("Cast", pixels, to=TensorProto.FLOAT)
    means = (graph.op("GlobalAveragePool", graph.op("Mul", x, x)) for x in (q, k))
    of_q, of_k = (graph.op("Mul", graph.op("Reshape", x, graph.constant([channels])), pixels) for x in means)
    q, k = (graph.op("Reshape", x, graph.constant([channels, -1])) for x in (q, k))
    return _Sums(graph.op("MatMul", q, graph.op("Transpose", k, perm=[1, 0])), of_q, of_k, attention)


def _attend(graph: _Graph, sums: _Sums) -> str:
    """`Attention.matrix` in a graph."""
    least = graph.constant(NORM_EPS)
    q_norms, k_norms = (
        graph.op("Max", graph.op("Sqrt", squares), least) for squares in (sums.q_squares, sums.k_squares)
    )
    norms = graph.op("Mul", graph.op("Unsqueeze", q_norms, graph.constant([1])), k_norms)
    scores = graph.op("Mul", graph.op("Div", sums.gram, norms), graph.constant(sums.attention.temperatures))
    shares = graph.op("Softmax", graph.op("Add", scores, graph.constant(sums.attention.between_heads)), axis=1)
    matrix = graph.op("MatMul", graph.constant(sums.attention.projection), shares)
    return graph.op("Reshape", matrix, graph.constant([*sums.attention.projection.shape, 1, 1]))


def _attention(weights: Weights, temperature: str, projection: str) -> Attention:
    matrix, temperatures = _matrix(weights, projection), weights[temperature].reshape(-1)
    of_a_head = len(matrix) // len(temperatures)
    head = np.arange(len(matrix)) // of_a_head
    between = np.where(head[:, None] == head, 0.0, -np.inf)
    return Attention(np.repeat(temperatures, of_a_head)[:, None], between, matrix)


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
