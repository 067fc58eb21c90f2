"""Adapt ONNX models to runtimes with older operator sets or without dynamic shapes."""

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

OPSETS = range(17, 21)
"""Operator set versions accepted by `with_opset`; from 20 on there is GELU, which makes runtimes faster."""

_GELU = 20
_ROOT, _ONE, _HALF = "gelu_root", "gelu_one", "gelu_half"


def with_opset(model: ModelProto, opset: int) -> ModelProto:
    """Convert the model to an operator set version.

    Args:
        model: of version 20, with operators that are the same in all `OPSETS`, and GELU; modified in place.
        opset: one of `OPSETS`.
    """
    model.opset_import[0].version = opset
    model.ir_version = 9 if opset > 18 else 8
    if opset >= _GELU or all(node.op_type != "Gelu" for node in model.graph.node):
        return model
    nodes = [new for node in model.graph.node for new in (_erf(node) if node.op_type == "Gelu" else [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for name, value in ((_ROOT, 0.5**0.5), (_ONE, 1.0), (_HALF, 0.5)):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return model


def _erf(gelu: NodeProto) -> Iterator[NodeProto]:
    """GELU(x) = x / 2 (1 + erf(x / sqrt 2))."""
    (x,), (result,) = gelu.input, gelu.output
    steps = [f"{result}_{number}" for number in range(4)]
    yield helper.make_node("Mul", [x, _ROOT], [steps[0]])
    yield helper.make_node("Erf", [steps[0]], [steps[1]])
    yield helper.make_node("Add", [steps[1], _ONE], [steps[2]])
    yield helper.make_node("Mul", [x, _HALF], [steps[3]])
    yield helper.make_node("Mul", [steps[3], steps[2]], [result])


def with_size(model: ModelProto, sides: Mapping[str, int]) -> ModelProto:
    """Fix the size of the images.

    Args:
        model: its inputs and outputs have named sides; modified in place.
        sides: length of each named side.
    """
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param in sides:
                side.dim_value = sides[side.dim_param]
    # The shapes of intermediate values follow from these.
    del model.graph.value_info[:]
    return model


def with_own_constants(model: ModelProto) -> ModelProto:
    """Give each matrix product its own constants, since OpenCV 4 makes a layer of the constant for each product.

    Args:
        model: modified in place.
    """
    known = {constant.name: constant for constant in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        for place, name in enumerate(node.input):
            if name in known and name in taken:
                copied = numpy_helper.from_array(numpy_helper.to_array(known[name]), f"{name}_of_{node.output[0]}")
                model.graph.initializer.append(copied)
                node.input[place] = copied.name
            taken.add(name)
    return model
