"""The two modules that are needed only for training and explanation as layers of ONNX graphs."""

from functools import partial

import numpy as np

from refusion.inference.engines.onnx_blocks import Architecture, Attending, Maps, Plain, attending_blocks
from refusion.inference.engines.onnx_builder import Graph
from refusion.inference.engines.onnx_weights import Weights, basis, blocks, from_basis, into_basis, joining

LEAK = 0.01
"""Slope of the leaky ReLU of the reconstruction module below 0."""


def _proposal_layers(weights: Weights) -> list[Plain | Attending]:
    encoders = zip(blocks(weights, "encoder1"), blocks(weights, "encoder2"), strict=True)
    return [
        partial(_project_in, weights, ("project_in_1", "project_in_2")),
        *map(attending_blocks, encoders),
        _join,
        *(attending_blocks([block]) for block in blocks(weights, "trunk")),
        partial(_score, weights),
    ]


def _reconstruction_layers(weights: Weights) -> list[Plain | Attending]:
    branches = zip(blocks(weights, "branch1"), blocks(weights, "branch2"), strict=True)
    return [
        partial(_project_in, weights, ("project_in",)),
        *(attending_blocks([block]) for block in blocks(weights, "encoder")),
        _branch,
        *map(attending_blocks, branches),
        partial(_project_out, weights),
    ]


PROPOSAL = Architecture(2, _proposal_layers)
"""`refusion.modules.loss_proposal.LossProposalModule` without its gains: its sources are a and b; its result is one map
of four channels, the scores of intensity of a and b and of gradient of a and b."""

RECONSTRUCTION = Architecture(1, _reconstruction_layers)
"""`refusion.modules.reconstruction.ReconstructionModule`: its source is the fused image, its results are a and b."""


def _project_in(weights: Weights, names: tuple[str, ...], graph: Graph, maps: Maps) -> Maps:
    return [graph.conv(x, into_basis(weights[f"{name}.weight"])) for x, name in zip(maps, names, strict=True)]


def _join(graph: Graph, maps: Maps) -> Maps:
    channels = sum(graph.channels[x] for x in maps)
    return [graph.pointwise(graph.layer("Concat", *maps, channels=channels, axis=1), joining(channels))]


def _score(weights: Weights, graph: Graph, maps: Maps) -> Maps:
    x = graph.conv(maps[0], from_basis(weights["project_mid.weight"]))
    x = graph.layer("LeakyRelu", x, alpha=weights["activation.weight"].item())
    return [graph.conv(x, np.concatenate([weights["intensity_head.weight"], weights["gradient_head.weight"]]))]


def _branch(graph: Graph, maps: Maps) -> Maps:
    # A map is one output of a pass, so the second branch has its own.
    return [maps[0], graph.layer("Identity", maps[0])]


def _project_out(weights: Weights, graph: Graph, maps: Maps) -> Maps:
    results = []
    for x, name in zip(maps, ("project_out_1", "project_out_2"), strict=True):
        x = graph.layer("LeakyRelu", graph.pointwise(x, basis(graph.channels[x])), alpha=LEAK)
        results.append(graph.layer("Sigmoid", graph.conv(x, weights[f"{name}.weight"])))
    return results
