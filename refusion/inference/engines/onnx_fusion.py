"""The fusion module as layers of ONNX graphs."""

from collections.abc import Sequence
from functools import partial, reduce

from refusion.inference.engines.onnx_attention_layers import Matrices, Sums, attended, sums_of
from refusion.inference.engines.onnx_blocks import (
    Architecture,
    Attending,
    Maps,
    Plain,
    attending_blocks,
    gated,
    hidden,
    thirds,
)
from refusion.inference.engines.onnx_builder import CHANNELS_AT_A_TIME, Graph
from refusion.inference.engines.onnx_weights import Network, Weights


def _layers(weights: Weights) -> list[Plain | Attending]:
    network = Network(weights)
    return [
        partial(_project_in, network),
        *map(attending_blocks, network.encoders),
        Attending(partial(_cross_sums, network), partial(_interact, network)),
        *(attending_blocks([block]) for block in network.decoders),
        partial(_project_out, network),
    ]


FUSION = Architecture(2, _layers)
"""`refusion.modules.fusion.FusionModule`: its sources are ``a`` and ``b``, its result is one map."""


def _project_in(network: Network, graph: Graph, maps: Maps) -> Maps:
    return [graph.conv(x, weight) for x, weight in zip(maps, network.project_in, strict=True)]


def _cross_sums(network: Network, graph: Graph, maps: Maps) -> tuple[Sequence[Sums], Maps]:
    queries, keys = (
        [
            graph.depthwise(x, source.qkv[part], None, source.qkv_depthwise[part])
            for x, source in zip(maps, network.sources, strict=True)
            for part in [thirds(source.qkv)[third]]
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


def _interact(network: Network, graph: Graph, maps: Maps, matrices: Sequence[Matrices]) -> Maps:
    attending = []
    for x, source, matrix in zip(maps, network.sources, matrices, strict=True):
        part = thirds(source.qkv)[2]
        v = graph.depthwise(x, source.qkv[part], None, source.qkv_depthwise[part])
        attending.append(graph.add(x, attended(graph, v, matrix)))
    both = graph.layer("Concat", *attending, channels=len(network.joining), axis=1)
    parts = []
    for i, (x, source) in enumerate(zip(attending, network.sources, strict=True)):
        for part, *halves in hidden(source.project_out):
            gates = halves[i]
            gate = graph.depthwise(both, network.gates[gates], None, network.gates_depthwise[gates])
            value = graph.depthwise(x, source.values[part], None, source.values_depthwise[part])
            parts.append(gated(graph, gate, value, source.project_out[:, part]))
    return [graph.add(graph.pointwise(both, network.joining), reduce(graph.add, parts))]


def _project_out(network: Network, graph: Graph, maps: Maps) -> Maps:
    x = graph.layer("LeakyRelu", graph.conv(maps[0], network.project_out_0), alpha=0.01)
    return [graph.layer("Sigmoid", graph.conv(x, network.project_out_1))]
