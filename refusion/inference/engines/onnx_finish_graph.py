"""A builder of the ONNX graph of the steps after the network."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, compose, helper

from refusion.images.colour import LUMINANCE
from refusion.inference.engines.onnx_builder import SIDES
from refusion.inference.engines.onnx_nodes import Nodes
from refusion.tasks import CHOICES


class FinishGraph(Nodes):
    """A graph of the steps after the network, with one output."""

    def __init__(self) -> None:
        super().__init__("finish_")
        self._sizes: list[ValueInfoProto] = []
        self._luminances: dict[str, str] = {}

    def add(self, x: str | float, y: str | float) -> str:
        """The sum."""
        return self.op("Add", x, y)

    def subtract(self, x: str | float, y: str | float) -> str:
        """The difference."""
        return self.op("Sub", x, y)

    def multiply(self, x: str | float, y: str | float) -> str:
        """The product."""
        return self.op("Mul", x, y)

    def divide(self, x: str | float, y: str | float) -> str:
        """The quotient."""
        return self.op("Div", x, y)

    def clip(self, x: str) -> str:
        """Clip to [0, 1]."""
        return self.op("Clip", x, 0, 1)

    def luminance(self, rgb: str) -> str:
        """Luminance (1, 1, H, W) of RGB."""
        if rgb not in self._luminances:
            weights = self.constant(np.array(LUMINANCE).reshape(1, 3, 1, 1))
            self._luminances[rgb] = self.op("Conv", rgb, weights, kernel_shape=[1, 1])
        return self._luminances[rgb]

    def means(self, window: int, *maps: str) -> list[str]:
        """Means of maps (1, 1, H, W) over a window around each pixel, with replicate padding."""
        x = maps[0] if len(maps) == 1 else self.op("Concat", *maps, axis=1)
        x = self.op("Pad", x, self.constant([0, 0, *[window // 2] * 2] * 2), mode="edge")
        x = self.op("AveragePool", x, kernel_shape=[window, 1])
        x = self.op("AveragePool", x, kernel_shape=[1, window])
        return [x] if len(maps) == 1 else self.results(len(maps), "Split", x, axis=1, num_outputs=len(maps))

    def is_chosen(self, choice: str, name: str) -> str:
        """Whether the input `choice` selects the option `name`."""
        return self.op("Equal", choice, self.constant(CHOICES[choice].index(name)))

    def either(self, condition: str, first: Callable[[], str], second: Callable[[], str]) -> str:
        """The first result if the condition holds, else the second; only this one is computed."""
        return self.op("If", condition, then_branch=self._branch(first), else_branch=self._branch(second))

    def choose(self, choice: str, results: Mapping[Any, Callable[[], str]]) -> str:
        """The result that the input `choice` selects; the others are not computed."""
        (name, first), *others = results.items()
        if not others:
            return first()
        return self.either(self.is_chosen(choice, name), first, lambda: self.choose(choice, dict(others)))

    def insert(self, model: ModelProto, inputs: dict[str, str]) -> str:
        """Insert a model and return its only result.

        Args:
            model: the model.
            inputs: the value for each of its inputs.
        """
        graph = compose.add_prefix(model, "network_").graph
        names = {f"network_{name}": value for name, value in inputs.items()}
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
        self._nodes += graph.node
        self._constants += graph.initializer
        # ONNX Runtime keeps its own layout if it knows that maps have the same size.
        self._sizes += graph.value_info
        return graph.output[0].name

    def model(self, result: str) -> ModelProto:
        """The model, whose output ``rgb`` is a value of the graph."""
        self._nodes.append(helper.make_node("Identity", [result], ["rgb"]))
        return self.model_with([helper.make_tensor_value_info("rgb", TensorProto.FLOAT, [1, 3, *SIDES])], self._sizes)

    def _branch(self, result: Callable[[], str]) -> GraphProto:
        outside, self._nodes = self._nodes, []
        # The output of a branch must be computed in the branch.
        name = self.op("Identity", result())
        graph = helper.make_graph(self._nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
        self._nodes = outside
        return graph
