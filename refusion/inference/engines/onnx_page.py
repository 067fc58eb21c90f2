"""Write the graphs of a model for the static page (space/static), which cuts the tiles and stores the features.

Small images are fused by ``finished.onnx`` at once. Large ones are fused by ``pass0.onnx`` ... tile by tile;
``matrices0.onnx`` ... compute the attention matrices of the next pass, and ``finish.onnx``, shared by all models,
runs the steps after the network. ``passes.json`` describes the inputs and outputs of the passes.
"""

import json
from pathlib import Path

import onnx

from refusion.inference.engines.onnx_finish import finish_graph, finished_graph
from refusion.inference.engines.onnx_graph import matrix_graphs, passes, whole
from refusion.inference.engines.onnx_weights import Weights
from refusion.modules.windows import cell_of

FINISH = "finish.onnx"
"""Name of the file shared by all models."""


def write_graphs(folder: Path, weights: Weights, padding_mode: str, window: int | None) -> None:
    """Write the graphs of a model.

    Args:
        folder: an existing folder.
        weights: weights of its fusion module.
        padding_mode: padding mode of its 3 x 3 convolutions.
        window: side of the window of its attention; None for the whole image.

    Raises:
        OSError: a file cannot be written.
    """
    cell = cell_of(window)
    onnx.save(finished_graph(whole(weights, padding_mode, cell)), folder / "finished.onnx")
    described = []
    for index, one in enumerate(passes(weights, padding_mode, cell, standalone=True)):
        onnx.save(one.model, folder / f"pass{index}.onnx")
        described.append(
            {
                "inputs": one.inputs,
                "outputs": one.outputs,
                "layers": one.layers,
                "left": one.left,
                "pads": one.pads,
                "sums": len(one.attentions),
            }
        )
    for index, model in enumerate(matrix_graphs(weights, padding_mode, cell)):
        onnx.save(model, folder / f"matrices{index}.onnx")
    (folder / "passes.json").write_text(json.dumps({"cell": cell, "passes": described}), encoding="utf-8")


def write_finish(folder: Path) -> None:
    """Write `FINISH`.

    Raises:
        OSError: the file cannot be written.
    """
    onnx.save(finish_graph(), folder / FINISH)
