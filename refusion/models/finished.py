"""Export a model together with its post-processing (anchor, output range and colour) as an ONNX file."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import onnx

from refusion.images.reading import read_picture
from refusion.inference.engines.dispatch import as_arrays
from refusion.inference.engines.onnx_finish import finished_graph
from refusion.inference.engines.onnx_graph import whole
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.inference.finishing import finish_pair
from refusion.inference.options import FinishOptions, Options
from refusion.inference.preparation import Prepared
from refusion.models.export import CHECKED_SIZES, ExportError
from refusion.models.model import ReFusion
from refusion.models.onnx_metadata import describe
from refusion.modules.windows import cell_of
from refusion.system.files import replacing
from refusion.tasks import CHOICES

FINISHED_SHARE = 0.001
"""Share of the pixels of a finished image that may differ by more than one grey level of 255."""


def export_finished(model: ReFusion, path: Path) -> float:
    """Export a model together with its post-processing (anchor, output range and colour) as ``.onnx``.

    The inputs are ``a`` and ``b``, RGB in [0, 1], float32 (1, 3, H, W) with any H and W of at least 8, and three int64
    scalars: indices into `refusion.tasks.CHOICES`, which the metadata of the file list together with the defaults of
    the task. The output is ``rgb``, (1, 3, H, W) in [0, 1]: the result of `refusion fuse` up to rounding, without
    alpha.

    Args:
        model: the model; not modified.
        path: path of the file.

    Returns:
        Largest share of pixels that differ from the model's by more than one grey level of 255, over `CHECKED_SIZES`.

    Raises:
        ExportError: the suffix is not ``.onnx``, or more pixels differ than `FINISHED_SHARE`.
        OSError: the file cannot be written.
    """
    if path.suffix != ".onnx":
        raise ExportError(f"{path.name} does not end in .onnx; a finished model is exported as nothing else.")
    module = copy.deepcopy(model).cpu().float().eval()
    options = Options().for_task(model.task)
    graph = finished_graph(whole(*as_arrays(module), cell_of(module.window)))
    defaults = {name: getattr(options, name) for name in CHOICES}
    choices = {name: json.dumps({"choices": names, "default": defaults[name]}) for name, names in CHOICES.items()}
    describe(graph, model, "RGB", "rgb", **choices)
    with replacing(path) as temporary:
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, temporary)
        session = InferenceSession(temporary, providers=["CPUExecutionProvider"])
        share = max(_share_beyond_a_level(module, session, options, *size) for size in CHECKED_SIZES)
        if not share <= FINISHED_SHARE:
            raise ExportError(
                f"{path.name} would differ from the model by more than one grey level in {share:.2%} of the pixels."
            )
    return share


def _share_beyond_a_level(
    model: ReFusion, session: InferenceSession, options: FinishOptions, height: int, width: int
) -> float:
    rng = np.random.default_rng(0)
    # Not pure noise, which has no regions where one source is the right choice.
    small = rng.integers(0, 256, (2, 4, 4, 3), np.uint8)
    sources = [cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in small]
    a, b = (read_picture(x) for x in sources)
    pair = Prepared(a, b)
    (luminance,) = model.fuse_luminances([pair.a.luminance], [pair.b.luminance])
    wanted = finish_pair(luminance, pair, options).to_array(8)
    feed = {name: np.array(names.index(getattr(options, name))) for name, names in CHOICES.items()}
    for name, source in zip("ab", sources, strict=True):
        feed[name] = source.transpose(2, 0, 1)[None].astype(np.float32) / 255
    (rgb,) = session.run(None, feed)
    levels = np.rint(255 * rgb[0].transpose(1, 2, 0))
    return float((np.abs(levels - wanted).max(axis=2) > 1).mean())
