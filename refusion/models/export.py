"""Export the fusion module as an ONNX model or a `torch.export` program."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import torch
from torch import Tensor
from torch.export import Dim

from refusion.images.picture import MIN_SIDE
from refusion.inference.engines.dispatch import as_arrays
from refusion.inference.engines.onnx_builder import SIDES
from refusion.inference.engines.onnx_graph import whole
from refusion.inference.engines.onnx_runtime import GraphOptimizationLevel, InferenceSession, SessionOptions
from refusion.models.export_formats import ExportError, check_export
from refusion.models.onnx_changes import OPSETS, with_opset, with_own_constants, with_size
from refusion.models.onnx_metadata import describe
from refusion.modules.fusion import FusionModule
from refusion.modules.windows import cell_of
from refusion.system.files import replacing

CHECKED_SIZES = ((8, 8), (37, 53), (96, 64))
"""Heights and widths at which an exported model is compared with the module."""

MAX_SIDE = 1 << 14
"""Longest fixed side."""

MAX_PAIRS = 1 << 10
"""Largest batch of a `torch.export` program."""

TOLERANCE = 1e-4
"""Largest accepted difference of luminance in [0, 1] between the exported model and the module."""


def export(module: FusionModule, path: Path, *, opset: int | None = None, size: tuple[int, int] | None = None) -> float:
    """Export the module as ``.onnx`` or ``.pt2`` (`torch.export.load`); it is written only if its output is right.

    Both take two sources, each float32 (N, 1, H, W) in [0, 1] with any H and W of at least 8, and return the fused
    luminance. The ONNX model is that of `refusion.inference.engines.onnx_graph.whole`, with the metadata of `describe`.
    Its N is 1, since its attention is a convolution with weights that are computed from the pair; programs take up to
    `MAX_PAIRS`.

    Args:
        module: the fusion module; not modified.
        path: path of the file; the suffix selects the format.
        opset: ONNX operator set version, one of `OPSETS`; by default the last. Older runtimes need older ones.
        size: height and width to fix in an ONNX model, for runtimes without dynamic shapes; values that depend only
            on the size are then computed in advance.

    Returns:
        Largest difference between the outputs of the file and of the module, over `checked_sizes`.

    Raises:
        ExportError: the suffix or opset is not supported, the size is out of range, the opset or size is given for
            another format, or the output of the file differs from that of the module.
        OSError: the file cannot be written.
    """
    check_export(path)
    writers: dict[str, Callable[[FusionModule, Path], Callable[[Tensor, Tensor], Tensor]]]
    about = partial(describe, module=module, channels="luminance", result="fused")
    writers = {
        ".onnx": partial(_write_onnx, opset=opset or OPSETS[-1], size=size, about=about),
        ".pt2": _write_program,
    }
    if path.suffix != ".onnx" and (opset or size):
        raise ExportError(f"An opset and a fixed size are for .onnx files, but {path.name} was given.")
    if opset is not None and opset not in OPSETS:
        raise ExportError(f"The opset is {opset}; {OPSETS[0]} to {OPSETS[-1]} are accepted.")
    if size is not None and not MIN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        raise ExportError(f"The size is {size[1]} x {size[0]}; sides of {MIN_SIDE} to {MAX_SIDE} are accepted.")
    module = copy.deepcopy(module).cpu().float().eval()
    with replacing(path) as temporary:
        run = writers[path.suffix](module, temporary)
        difference = max(_difference(module, run, *one) for one in checked_sizes(size))
        if not difference <= TOLERANCE:
            raise ExportError(f"{path.name} would differ from the model by {difference:.1e} in luminance.")
    return difference


def checked_sizes(size: tuple[int, int] | None) -> tuple[tuple[int, int], ...]:
    """Heights and widths at which an exported model is compared with the module; only `size` if it is fixed."""
    return CHECKED_SIZES if size is None else (size,)


def _write_onnx(
    module: FusionModule,
    path: Path,
    *,
    opset: int,
    size: tuple[int, int] | None,
    about: Callable[[onnx.ModelProto], None],
) -> Callable[[Tensor, Tensor], Tensor]:
    model = with_opset(whole(*as_arrays(module), cell_of(module.window)), opset)
    if size is not None:
        model = _computed_beforehand(with_size(model, dict(zip(SIDES, size, strict=True))), path)
    about(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda a, b: torch.from_numpy(session.run(None, {"a": a.numpy(), "b": b.numpy()})[0])


def _computed_beforehand(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the model with all values that depend only on its sides as constants; `path` is a scratch file."""
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = onnx.load(path)
    # ONNX Runtime writes all domains that it supports, and its own version of the format.
    others = {node.domain for node in made.graph.node} - {""}
    opsets = [entry for entry in made.opset_import if entry.domain in ("", *others)]
    made.ir_version = model.ir_version
    del made.opset_import[:]
    made.opset_import.extend(opsets)
    return with_own_constants(made)


def _write_program(module: FusionModule, path: Path) -> Callable[[Tensor, Tensor], Tensor]:
    shape = {index: Dim(name, min=MIN_SIDE, max=1 << 16) for index, name in zip((2, 3), SIDES, strict=True)}
    shape[0] = Dim("pairs", max=MAX_PAIRS)
    # An example of one pair would fix the batch to 1.
    program = torch.export.export(module, tuple(torch.rand(2, 2, 1, 40, 48)), dynamic_shapes=(shape, shape))
    torch.export.save(program, path)
    return torch.export.load(path).module()


def _difference(module: FusionModule, run: Callable[[Tensor, Tensor], Tensor], height: int, width: int) -> float:
    a, b = torch.rand(2, 1, 1, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return (run(a, b) - module(a, b)).abs().max().item()
