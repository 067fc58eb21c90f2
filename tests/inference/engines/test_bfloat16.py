"""The engine half on a CPU: bfloat16 in OpenVINO, the same images but for a grey level."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.command import check_refused, refusion
from support.networks import small_network
from support.scenes import ROOT, textured

import refusion as package
from refusion.images.picture import PictureError
from refusion.inference.engines import bfloat16, onnx_attention_layers
from refusion.inference.engines.bfloat16 import HalfNetwork
from refusion.inference.engines.dispatch import as_arrays
from refusion.inference.engines.onnx_graph import whole
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.inference.engines.onnx_tiles import OnnxNetwork
from refusion.inference.engines.openvino_runtime import core
from refusion.inference.network import fuse_luminance
from refusion.models.bundled import load_bundled
from refusion.models.model import ReFusion
from refusion.modules.windows import cell_of
from refusion.system.threads import interruptible
from refusion.tasks import TASKS

EXAMPLES = ROOT / "space" / "examples"
PAIRS = {
    "ir-vis": "ir-vis-night",
    "medical": "medical-axial",
    "multi-focus": "multi-focus-cat",
    "multi-exposure": "multi-exposure-temple",
}
BFLOAT16 = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(not BFLOAT16, reason="this processor has no bfloat16")


def example(task: str) -> list[str]:
    return [str(EXAMPLES / f"{PAIRS[task]}_{side}.jpg") for side in "ab"]


@needs_bfloat16
@pytest.mark.parametrize("task", TASKS)
def test_finished_images_are_within_a_grey_level_in_all_but_a_thousandth_of_the_pixels(task):
    exact, half = (
        package.fuse(*example(task), task=task, device="cpu", engine=engine).to_array().astype(int)
        for engine in ("onnx", "half")
    )
    levels = np.abs(half - exact)
    assert 0 < levels.max() <= 8
    assert (levels <= 1).mean() >= 0.999


@needs_bfloat16
def test_sums_that_leave_the_range_of_float16_are_survived():
    module = ReFusion.from_pretrained("refusion-ir-vis")
    a = b = np.ones((160, 200), np.float32)
    levels = 255 * np.abs(fuse_luminance(module, a, b, engine="half") - fuse_luminance(module, a, b))
    assert (levels <= 1).all()


@needs_bfloat16
def test_a_processor_that_is_held_to_avx2_is_refused_in_a_sentence(tmp_path):
    command = [sys.executable, "-m", "refusion", "fuse", *example("ir-vis"), "-o", str(tmp_path / "fused.png")]
    run = subprocess.run(
        [*command, "--engine", "half"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "choose the engine onnx" in run.stderr
    assert not list(tmp_path.iterdir())


@needs_bfloat16
def test_a_module_and_its_bundled_weights_give_the_same():
    a, b = (textured(seed, 50, 70) / np.float32(255) for seed in (1, 2))
    bundled, module = load_bundled("refusion-ir-vis"), ReFusion.from_pretrained("refusion-ir-vis")
    expected = bundled.fuse_luminances([a, b], [b, a], engine="half")
    for one, other in zip(module.fuse_luminances([a, b], [b, a], engine="half"), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(expected[0] - expected[1]).max() > 0.02


@needs_bfloat16
def test_images_of_changing_sizes_are_each_fused_as_alone():
    network = load_bundled("refusion-multi-focus")
    pairs = [[textured(seed, *size) / np.float32(255) for seed in (1, 2)] for size in ((40, 56), (57, 33), (40, 56))]
    first, other, again = (network.fuse_luminances([a], [b], engine="half")[0] for a, b in pairs)
    np.testing.assert_array_equal(first, again)
    exact = network.fuse_luminances([pairs[1][0]], [pairs[1][1]])[0]
    assert np.abs(other - exact).max() < 0.03


@needs_bfloat16
def test_it_can_be_stopped_and_fuses_again():
    class StoppedError(Exception):
        pass

    def stop():
        raise StoppedError

    network = load_bundled("refusion-ir-vis")
    small, large = (np.tile(textured(1, 64, 64) / np.float32(255), times) for times in (1, (8, 8)))
    with pytest.raises(StoppedError), interruptible(stop):
        network.fuse_luminances([large], [large], engine="half")
    (fused,) = network.fuse_luminances([small], [small], engine="half")
    (exact,) = network.fuse_luminances([small], [small])
    assert np.abs(fused - exact).max() < 0.03


@needs_bfloat16
def test_what_it_cannot_fuse_is_refused(monkeypatch):
    weights, padding_mode = as_arrays(small_network())
    network = HalfNetwork(weights, padding_mode)
    small = np.zeros((7, 9), np.float32)
    with pytest.raises(ValueError, match="from 8 x 8 on"):
        network.fuse(small, small)
    large = np.zeros((64, 64), np.float32)
    with pytest.raises(ValueError, match=r"\(64, 64\) and \(7, 9\)"):
        network.fuse(large, small)
    network.fuse(large, large)
    monkeypatch.setattr(bfloat16, "free_for_process", lambda: 1000)
    network.fuse(large, large)  # in the memory that it has
    with pytest.raises(PictureError, match="64 x 80 pixels needs"):
        network.fuse(*[np.zeros((80, 64), np.float32)] * 2)


@pytest.mark.skipif(BFLOAT16, reason="this processor has bfloat16")
def test_a_processor_without_bfloat16_is_said(tmp_path):
    result = refusion("fuse", *example("ir-vis"), "-o", tmp_path / "f.png", "--engine", "half", "--device", "cpu")
    check_refused(result, "needs a processor with bfloat16")


def test_openvino_sends_nothing_and_writes_nothing(tmp_path):
    program = """
import sys
from refusion.inference.engines.openvino_runtime import core
print(core().available_devices, [name for name in sys.modules if name.startswith("openvino_telemetry")])
"""
    of_a_ci = "CI", "TF_BUILD", "JENKINS_URL"  # where its telemetry is off anyway
    environment = {name: value for name, value in os.environ.items() if name not in of_a_ci} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert "CPU" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("[]")
    assert list(tmp_path.iterdir()) == []


@needs_bfloat16
def test_the_command_line_has_it(tmp_path):
    result = refusion("fuse", *example("ir-vis"), "-o", tmp_path / "f.png", "--engine", "half", "--device", "cpu")
    assert result.code == 0, result.err
    expected = package.fuse(*example("ir-vis"), device="cpu", engine="half").to_array()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "f.png")), expected)


@pytest.mark.parametrize("size", [(48, 64), (53, 37)], ids=str)
@pytest.mark.parametrize("model", ["refusion-ir-vis", "refusion-multi-focus"])
def test_graphs_of_one_size_give_the_same_in_single_precision(model, size, monkeypatch):
    monkeypatch.setattr(onnx_attention_layers, "PIXELS_OF_A_PRODUCT", 700)
    module = ReFusion.from_pretrained(model)
    weights, padding_mode = as_arrays(module)
    a, b = (textured(seed, *size) / np.float32(255) for seed in (1, 2))
    graph = whole(weights, padding_mode, cell_of(module.window), size)
    session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (fused,) = session.run(None, {"a": a[None, None], "b": b[None, None]})
    expected = OnnxNetwork(weights, padding_mode, module.window).fuse(a, b)
    np.testing.assert_allclose(fused[0, 0], expected, atol=1e-5, rtol=0)
