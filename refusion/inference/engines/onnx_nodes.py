"""Operations, constants and inputs of an ONNX graph, referred to by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET, IR_VERSION = 20, 9


class Nodes:
    """A graph under construction.

    Args:
        prefix: prefix of the names of results and constants, for graphs that become parts of others.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._count = 0
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[ValueInfoProto] = []

    def given(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> str:
        """Add an input, or return the existing one of this name."""
        if all(known.name != name for known in self._inputs):
            self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, value: np.ndarray | float | Sequence[float]) -> str:
        """Add a constant: float32, or int64 if made of integers."""
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        known = (array.dtype.str, array.shape, array.tobytes())
        if known not in self._names:
            self._names[known] = f"{self._prefix}c{len(self._names)}"
            self._constants.append(numpy_helper.from_array(array, self._names[known]))
        return self._names[known]

    def op(self, kind: str, *inputs: str | float, **attributes: Any) -> str:
        """Add an operation with one result; numbers become constants."""
        return self.results(1, kind, *inputs, **attributes)[0]

    def results(self, count: int, kind: str, *inputs: str | float, **attributes: Any) -> list[str]:
        """Add an operation with several results."""
        given = [x if isinstance(x, str) else self.constant(float(x)) for x in inputs]
        names = [f"{self._prefix}t{self._count + i}" for i in range(count)]
        self._count += count
        # ONNX Runtime 1.20 refuses some graphs whose nodes have no names.
        self._nodes.append(helper.make_node(kind, given, names, name=names[0], **attributes))
        return names

    def model_with(self, outputs: Sequence[ValueInfoProto], maps: Sequence[ValueInfoProto]) -> ModelProto:
        """The model.

        Args:
            outputs: the results of the graph.
            maps: the shapes of other values, where they are known.
        """
        graph = helper.make_graph(self._nodes, "refusion", self._inputs, outputs, self._constants, value_info=maps)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="refusion")
