"""Metadata of exported ONNX models, as `onnxruntime.InferenceSession.get_modelmeta` returns them."""

import onnx

from refusion.models.model import ReFusion
from refusion.modules.fusion import FusionModule
from refusion.version import __version__


def describe(model: onnx.ModelProto, module: FusionModule, channels: str, result: str, **others: str) -> None:
    """Write the metadata of a model: what it was made from and by which version, and what goes in and comes out.

    Args:
        model: modified.
        module: the module that it was made from; that of `ReFusion` has a name, a task and a licence.
        channels: what the channels of the images are, such as ``RGB``.
        result: name of the output.
        **others: further metadata, by key.
    """
    sides = [side.dim_param or str(side.dim_value) for side in model.graph.output[0].type.tensor_type.shape.dim]
    layout = f"{channels} in [0, 1], float32 ({', '.join(sides)})"
    labels = ("first source", "second source")
    about = {"version": __version__, "batch": "1: one pair at a time"}
    if isinstance(module, ReFusion):
        about |= module.identity()
        labels = module.task.labels
    images = {name: f"{label}, {layout}" for name, label in zip("ab", labels, strict=True)}
    onnx.helper.set_model_props(model, {**about, **images, result: f"fused image, {layout}", **others})
    model.producer_version = __version__
    model.doc_string = f"ReFusion: {labels[0]} and {labels[1]}, registered, are fused into one image."
