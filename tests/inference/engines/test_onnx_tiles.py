"""Tiles in ONNX Runtime give what the plain forward of the fusion module gives, whatever the tiles."""

import os
import subprocess
import sys
import textwrap
import threading

import cv2
import numpy as np
import onnx
import pytest
import torch
from support.modules import scattered
from support.scenes import textured

from refusion.inference.engines import onnx_tiles
from refusion.inference.engines.onnx_builder import PICTURE_ENDS
from refusion.inference.engines.onnx_graph import passes, whole
from refusion.inference.engines.onnx_runtime import InferenceSession, SessionOptions
from refusion.inference.engines.onnx_tiles import OnnxNetwork
from refusion.models.model import ReFusion
from refusion.modules.fusion import FusionModule
from refusion.system.threads import interruptible


def weights(module: FusionModule) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def network(module: FusionModule) -> OnnxNetwork:
    return OnnxNetwork(weights(module), module.project_in_1.padding_mode, module.window)


def plain(module: FusionModule, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(*(torch.from_numpy(x)[None, None] for x in (a, b)))[0, 0].numpy()


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (33, 8), (17, 23)])
def test_tiles_of_every_size_give_the_plain_forward(padding_mode, size):
    module = scattered(padding_mode=padding_mode)
    a, b = np.random.default_rng(0).random((2, *size), np.float32)
    expected = plain(module, a, b)
    assert expected.std() > 1e-3
    fuse = network(module).fuse
    for rows, columns in [(1, 1), (1, 40), (2, 3), (3, 2), (4, 6), (5, 5), (7, 40), (16, 1), (40, 4), (40, 40)]:
        np.testing.assert_allclose(fuse(a, b, tile=(rows, columns)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 32, 100])
@pytest.mark.parametrize("window", [None, 10])
def test_what_threads_make_has_no_seam(threads, rows, window):
    module = scattered(window=window)
    for height in (8, 33):
        a, b = np.random.default_rng(1).random((2, height, 21), np.float32)
        fused = network(module).fuse(a, b, tile=(rows, 9), threads=threads)
        np.testing.assert_allclose(fused, plain(module, a, b), atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("window", [5, 20, 80])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (150, 37), (130, 70)])
def test_windows_give_the_plain_forward_in_tiles_of_every_size(padding_mode, window, size):
    module = scattered(padding_mode=padding_mode, window=window)
    a, b = np.random.default_rng(0).random((2, *size), np.float32)
    expected = plain(module, a, b)
    fuse = network(module).fuse
    # The smallest tile is a cell, which is one pixel for a window of 5: thousands of tiles in the larger sizes.
    smallest = [] if window == 5 and max(size) > 40 else [(1, 1)]
    for tile in [*smallest, (16, 40), (64, 16), (200, 200)]:
        np.testing.assert_allclose(fuse(a, b, tile=tile), expected, atol=1e-5, rtol=0)


def test_a_window_larger_than_the_picture_is_the_whole_picture():
    windowed, whole_picture = scattered(window=500), FusionModule().eval()
    whole_picture.load_state_dict(windowed.state_dict())
    a, b = np.random.default_rng(0).random((2, 60, 90), np.float32)
    expected = plain(whole_picture, a, b)
    np.testing.assert_allclose(plain(windowed, a, b), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(network(windowed).fuse(a, b, tile=(16, 16)), expected, atol=1e-5, rtol=0)


def test_with_a_window_what_is_far_away_does_not_matter():
    module = scattered(window=10)
    a, b = np.random.default_rng(0).random((2, 40, 240), np.float32)
    elsewhere = a.copy()
    elsewhere[:, 160:] = 1 - elsewhere[:, 160:]
    one, other = (network(module).fuse(x, b) for x in (a, elsewhere))
    np.testing.assert_array_equal(one[:, :80], other[:, :80])
    assert np.abs(one - other)[:, 80:].max() > 1e-3


def test_a_picture_cropped_by_whole_cells_is_fused_alike_away_from_the_border():
    sharp = textured(1, 320, 352) / np.float32(255)
    near = np.arange(352) < 176
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    a, b = np.where(near, sharp, blurred), np.where(near, blurred, sharp)
    fuse = network(ReFusion.from_pretrained("refusion-multi-focus")).fuse
    inside = slice(96, -96)
    for cut, levels in ((48, 1), (37, 2)):
        cropped = fuse(*(np.ascontiguousarray(x[cut:, cut:]) for x in (a, b)))
        difference = 255 * np.abs(fuse(a, b)[cut:, cut:] - cropped)[inside, inside]
        assert difference.max() <= levels


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": 12, "heads": 3, "expansion": 1, "blocks": 1},
        {"channels": 8, "heads": 1, "blocks": 3, "padding_mode": "reflect"},
        {"channels": 4, "heads": 4, "expansion": 3, "blocks": 0, "padding_mode": "zeros"},
        {"channels": 6, "heads": 2, "expansion": 1, "blocks": 1},
        {"channels": 8, "heads": 1, "blocks": 3, "window": 15},
        {"channels": 4, "heads": 4, "blocks": 0, "window": 10},
        {"channels": 24, "heads": 6, "blocks": 1, "window": 10},
        {"channels": 1, "heads": 1, "blocks": 1},
    ],
    ids=str,
)
def test_other_widths_give_the_plain_forward(arguments):
    module = scattered(**arguments)
    a, b = np.random.default_rng(2).random((2, 21, 14), np.float32)
    for tile in ((4, 5), (50, 50)):
        np.testing.assert_allclose(network(module).fuse(a, b, tile=tile), plain(module, a, b), atol=1e-5, rtol=0)


def test_black_and_constant_sources_give_the_plain_forward():
    module = scattered()
    a, b = np.zeros((20, 16), np.float32), np.full((20, 16), 0.4, np.float32)
    np.testing.assert_allclose(network(module).fuse(a, b, tile=(3, 5)), plain(module, a, b), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("one", "other"), [((16, 16), (16, 17)), ((7, 16), (7, 16)), ((1, 16, 16), (1, 16, 16))])
def test_what_is_not_a_pair_is_refused(one, other):
    with pytest.raises(ValueError, match="from 8 x 8 on, are accepted"):
        network(FusionModule(blocks=0)).fuse(np.zeros(one, np.float32), np.zeros(other, np.float32))


def test_the_graphs_are_valid():
    module = scattered()
    for cell in (None, 16):
        models = [one.model for one in passes(weights(module), "replicate", cell)]
        for model in (whole(weights(module), "replicate", cell), *models):
            onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize("ends", [0, 1], ids=["within the picture", "the whole picture"])
def test_the_sizes_of_maps_in_the_graphs_are_true(padding_mode, ends):
    for one in passes(weights(scattered(padding_mode=padding_mode)), padding_mode):
        model = onnx.ModelProto()
        model.CopyFrom(one.model)
        known = {value.name for value in model.graph.output}
        model.graph.output.extend(value for value in model.graph.value_info if value.name not in known)
        session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        feed = {f"pads{layer}": ends * np.array(PICTURE_ENDS) for layer in one.pads}
        for value in session.get_inputs():
            if value.name not in feed:
                shape = [{"height": 12, "width": 17}.get(side, side) for side in value.shape]
                feed[value.name] = np.random.default_rng(0).random(shape, np.float32)
        sizes: dict[str, int] = {}
        for value, result in zip(session.get_outputs(), session.run(None, feed), strict=True):
            if value.name.startswith("sums"):
                continue
            for side, size in zip(value.shape[2:], result.shape[2:], strict=True):
                assert sizes.setdefault(side, size) == size


def test_gates_stay_in_the_layout_of_convolutions(tmp_path):
    """ONNX Runtime brings maps into another layout and back wherever it does not know that their sizes are equal."""
    for i, one in enumerate(passes(weights(scattered()), "replicate")):
        options = SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{i}.onnx")
        options.log_severity_level = 3  # says that what it writes is for this processor only
        InferenceSession(one.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
        if not any(node.domain.endswith("nchwc") for node in nodes):
            pytest.skip("ONNX Runtime has no layout of its own on this processor")
        gates = {node.output[0] for node in nodes if node.op_type == "Gelu"}
        read_by = [node.op_type for node in nodes if gates.intersection(node.input)]
        assert read_by == ["Mul"] * len(gates)


def test_pairs_fused_at_once_do_not_disturb_each_other():
    ready = network(scattered())
    pairs = np.random.default_rng(3).random((4, 2, 80, 24), np.float32)
    expected = [ready.fuse(*pair) for pair in pairs]
    found = [np.empty(0)] * len(pairs)

    def fuse(i: int) -> None:
        for _ in range(3):
            found[i] = ready.fuse(*pairs[i], tile=(5, 10), threads=2)

    threads = [threading.Thread(target=fuse, args=(i,)) for i in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_it_can_be_interrupted():
    class CancelledError(Exception):
        pass

    def cancel() -> None:
        raise CancelledError

    a, b = np.random.default_rng(4).random((2, 1500, 1500), np.float32)
    ready = network(FusionModule())
    with pytest.raises(CancelledError), interruptible(cancel):
        ready.fuse(a, b)
    assert ready.fuse(a[:64, :64].copy(), b[:64, :64].copy()).shape == (64, 64)


FORKED = """
    import os

    import numpy as np
    from refusion.inference.engines.onnx_tiles import OnnxNetwork
    from safetensors.numpy import load_file
    from refusion.hub.folder import WEIGHTS
    from refusion.hub.names import bundled_folder

    network = OnnxNetwork(load_file(bundled_folder("refusion-ir-vis") / WEIGHTS), "replicate")
    a, b = np.random.default_rng(0).random((2, 96, 16), np.float32)
    fused = network.fuse(a, b, threads=2)
    child = os.fork()
    assert np.array_equal(network.fuse(a, b, threads=2), fused)
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    subprocess.run([sys.executable, "-c", textwrap.dedent(FORKED)], check=True, timeout=120)


MEMORY = """
    import sys
    from pathlib import Path

    import numpy as np
    from safetensors.numpy import load_file

    from refusion.hub.folder import WEIGHTS
    from refusion.hub.names import bundled_folder
    from refusion.inference.engines import onnx_tiles
    from refusion.inference.engines.onnx_tiles import OnnxNetwork

    def megabytes(line):
        return int(Path("/proc/self/status").read_text().split(line)[1].split()[0]) / 1024

    threads = int(sys.argv[1])
    if sys.argv[2] == "packed":
        onnx_tiles.PACKED_FROM = 0
    network = OnnxNetwork(load_file(bundled_folder("refusion-ir-vis") / WEIGHTS), "replicate")
    network.fuse(*np.random.default_rng(0).random((2, 64, 64), np.float32), threads=threads)
    sources = np.random.default_rng(0).random((2, 700, 1000), np.float32)
    before = megabytes("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    network.fuse(*sources, threads=threads)
    print(megabytes("VmHWM:") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read from Linux's /proc")
@pytest.mark.parametrize(("threads", "stored"), [(1, "plain"), (2, "plain"), (1, "packed")])
def test_memory_is_little_more_than_the_features(threads, stored):
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(threads), stored]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    features = 700 * 1000 * (35 * 4 if stored == "plain" else 33 * 2 + 4 * 4) / 2**20
    assert features < grown < features + 100 * threads


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_features_in_16_bits_give_the_plain_forward(padding_mode, monkeypatch):
    module = scattered(padding_mode=padding_mode)
    a, b = np.random.default_rng(0).random((2, 33, 47), np.float32)
    a[:12], b[:12] = 0, 0
    expected, ready = plain(module, a, b), network(module)
    needed = ready.bytes_needed(3000, 2000)
    monkeypatch.setattr(onnx_tiles, "PACKED_FROM", 0)
    assert ready.bytes_needed(3000, 2000) < 0.7 * needed
    for tile in [(5, 5), (7, 40), (40, 40)]:
        np.testing.assert_allclose(ready.fuse(a, b, tile=tile), expected, atol=1e-4, rtol=0)


def test_with_a_window_memory_does_not_grow_with_the_height():
    ready = network(FusionModule(window=80))
    sources_and_result = 3 * 4
    low, high = ready.bytes_needed(4_000, 600), ready.bytes_needed(40_000, 600)
    assert high - low == 36_000 * 600 * sources_and_result
