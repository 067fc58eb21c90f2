"""The fusion module as a file that other programs run: an ONNX model, or a program of `torch.export`."""

import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor
from torch.export import Dim

from refusion.images.picture import MIN_SIDE
from refusion.inference.engines.dispatch import as_arrays
from refusion.inference.engines.onnx_builder import SIDES
from refusion.inference.engines.onnx_graph import whole
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.modules.fusion import FusionModule
from refusion.modules.windows import cell_of
from refusion.system.files import replacing

CHECKED_SIZES = ((8, 8), (37, 53), (96, 64))
"""Heights and widths at which an exported model is compared with the module."""

TOLERANCE = 1e-4
"""Largest difference, of luminance in [0, 1], that the comparison lets pass."""


class ExportError(ValueError):
    """A model cannot be exported; the message is a sentence for people."""


def export(module: FusionModule, path: Path) -> float:
    """Write the module as ``.onnx`` or ``.pt2`` (`torch.export.load`), whole and checked, or not at all.

    Both take one pair, float32 (1, 1, H, W) in [0, 1] each, H and W free from 8 on, and give the fused luminance. The
    ONNX model is that of `refusion.inference.engines.onnx_graph.whole`.

    Args:
        module: the fusion module; it is not changed.
        path: where to write; the suffix names the format.

    Returns:
        Largest difference between what the file gives and what the module gives, over `CHECKED_SIZES`.

    Raises:
        ExportError: the suffix is another one, or the file differs from the module.
        OSError: the file cannot be written.
    """
    writers = {".onnx": _write_onnx, ".pt2": _write_program}
    if path.suffix not in writers:
        given = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise ExportError(f"{path.name} {given}; a model is exported as one of {', '.join(writers)}.")
    module = copy.deepcopy(module).cpu().float().eval()
    with replacing(path) as temporary:
        run = writers[path.suffix](module, temporary)
        difference = max(_difference(module, run, *size) for size in CHECKED_SIZES)
        if not difference <= TOLERANCE:
            raise ExportError(f"{path.name} would differ from the model by {difference:.1e} in luminance.")
    return difference


def _write_onnx(module: FusionModule, path: Path) -> Callable[[Tensor, Tensor], Tensor]:
    model = whole(*as_arrays(module), cell_of(module.window))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda a, b: torch.from_numpy(session.run(None, {"a": a.numpy(), "b": b.numpy()})[0])


def _write_program(module: FusionModule, path: Path) -> Callable[[Tensor, Tensor], Tensor]:
    sides = {index: Dim(name, min=MIN_SIDE, max=1 << 16) for index, name in zip((2, 3), SIDES, strict=True)}
    program = torch.export.export(module, tuple(torch.rand(2, 1, 1, 40, 48)), dynamic_shapes=(sides, sides))
    torch.export.save(program, path)
    return torch.export.load(path).module()


def _difference(module: FusionModule, run: Callable[[Tensor, Tensor], Tensor], height: int, width: int) -> float:
    a, b = torch.rand(2, 1, 1, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return (run(a, b) - module(a, b)).abs().max().item()
