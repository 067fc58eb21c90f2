"""Engines, devices and batches: another way through the network, the same images."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import check_refused, refusion, small_model
from support.networks import small_network
from support.scenes import ROOT, textured

import refusion as package
from refusion.images import PictureError
from refusion.inference.engines.dispatch import bytes_whole, choose_engine, fuse_luminances, run_network
from refusion.models.model import ReFusion
from refusion.modules.fusion import FusionModule
from refusion.system.devices import choose_device, full_float32
from refusion.tasks import TASKS

MODEL = small_network()
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=GPU),
]


def luminances(count: int, height: int = 96, width: int = 128) -> tuple[list[np.ndarray], list[np.ndarray]]:
    a, b = ([textured(seed + k, height, width) / np.float32(255) for k in range(count)] for seed in (0, 100))
    return a, b


@pytest.mark.parametrize(
    ("engine", "device"),
    [
        *((engine, "cpu") for engine in (None, "onnx", "strips", "whole")),
        *(pytest.param(engine, "cuda", marks=GPU) for engine in (None, "strips", "whole")),
    ],
)
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_batch_gives_the_plain_forward_of_each_pair(engine, task, device):
    model = ReFusion.from_pretrained(task.model)
    a, b = luminances(3, 33, 47)
    with torch.no_grad():
        expected = [model(*(torch.from_numpy(x)[None, None] for x in pair))[0, 0] for pair in zip(a, b, strict=True)]
    fused = fuse_luminances(model.to(device), a, b, engine=engine)
    assert len(fused) == 3
    for one, other in zip(fused, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_half_precision_is_within_a_grey_level_in_all_but_a_thousandth_of_the_pixels(task, device):
    model = ReFusion.from_pretrained(task.model)
    a, b = luminances(2)
    exact = fuse_luminances(model, a, b)
    half = fuse_luminances(model.to(device), a, b, engine="half")
    levels = 255 * np.abs(np.stack(half) - np.stack(exact))
    assert levels.max() > 0
    assert (levels <= 1).mean() >= 0.999


def test_on_a_device_beside_the_cpu_pictures_are_whole_as_far_as_memory_goes(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    small, large = torch.Size((4, 1, 480, 640)), torch.Size((1, 1, 8000, 6000))
    module = FusionModule()
    monkeypatch.setattr("refusion.inference.engines.dispatch.free_memory", lambda device: 16 * 10**9)
    assert choose_engine(module, small, torch.float32, cuda) == "whole"
    assert choose_engine(module, large, torch.float32, cuda) == "strips"
    half = small.numel() * bytes_whole(module, torch.float32)
    for free, engine in ((2 * half, "whole"), (2 * half - 1, "strips")):
        monkeypatch.setattr("refusion.inference.engines.dispatch.free_memory", lambda device, free=free: free)
        assert choose_engine(module, small, torch.float32, cuda) == engine
    assert choose_engine(module, small, torch.float32, cpu) == "onnx"
    assert choose_engine(module, small, torch.float64, cpu) == "strips"


def test_the_engine_is_a_choice_that_does_not_change_the_picture():
    a, b = textured(1, 96, 128), textured(2, 96, 128)
    pictures = [np.asarray(MODEL.fuse(a, b, engine=engine), dtype=int) for engine in (None, "onnx", "strips", "whole")]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    for picture in pictures[2:]:
        assert np.abs(pictures[0] - picture).max() <= 1
    with pytest.raises(ValueError, match="onnx, strips, whole"):
        MODEL.fuse(a, b, engine="tiles")


def test_onnx_runtime_takes_only_what_it_can():
    a = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"onnx runs float32 on the CPU, not torch\.float64 on cpu"):
        run_network(FusionModule().double(), a, a, "onnx")


def test_weights_that_changed_are_seen():
    module = FusionModule(channels=8, heads=4, blocks=1)
    a, b = torch.rand(2, 1, 1, 24, 32)
    first = run_network(module, a, b)
    torch.testing.assert_close(run_network(module, a, b), first, atol=0, rtol=0)
    with torch.no_grad():
        module.project_out_1.weight.data.mul_(2)  # which torch does not count as a change
    torch.testing.assert_close(run_network(module, a, b), run_network(module, a, b, "whole"), atol=1e-5, rtol=0)
    assert (run_network(module, a, b) - first).abs().max() > 1e-3
    module.load_state_dict(FusionModule(channels=8, heads=4, blocks=1).state_dict(), assign=True)
    torch.testing.assert_close(run_network(module, a, b), run_network(module, a, b, "whole"), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("engine", "needed"), [(None, "9600380"), ("strips", "14800000")])
def test_a_picture_that_memory_cannot_hold_is_refused_before_it_is_begun(engine, needed):
    huge = torch.zeros(1, 1, 1, 1).expand(1, 1, 10**7, 10**7)
    with pytest.raises(PictureError, match=rf"10000000 x 10000000 pixels needs {needed}\.\d GB .* make the images"):
        run_network(FusionModule(), huge, huge, engine)


def test_a_batch_for_which_memory_does_not_suffice_is_refused():
    huge = torch.zeros(1, 1, 1, 1).expand(5, 1, 10**6, 10**6)
    with pytest.raises(PictureError, match=r"A batch of 5 pairs of 1000000 x 1000000 .* make the batch smaller"):
        run_network(FusionModule(), huge, huge, "whole")


WHOLE = """
    import sys
    from pathlib import Path

    import torch
    from refusion.inference.engines.dispatch import bytes_whole
    from refusion.modules.fusion import FusionModule

    def megabytes(line):
        return int(Path("/proc/self/status").read_text().split(line)[1].split()[0]) / 1024

    module = FusionModule(blocks=1, expansion=int(sys.argv[1])).eval()
    sources = torch.rand(2, 1, 1, 400, 1000)
    with torch.inference_mode():
        module(*torch.rand(2, 1, 1, 16, 16))
        before = megabytes("VmRSS:")
        module(*sources)
    print((megabytes("VmHWM:") - before) / (400_000 * bytes_whole(module, torch.float32) / 2**20))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read from Linux's /proc")
@pytest.mark.parametrize("expansion", [1, 2])
def test_what_the_plain_forward_needs_is_known(expansion):
    command = [sys.executable, "-c", textwrap.dedent(WHOLE), str(expansion)]
    # Every map comes from the system and goes back to it, so that the peak does not depend on what glibc holds back.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    needed = float(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
    assert 0.7 < needed < 1.1


def test_a_device_that_is_not_here_is_refused():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(None).type == choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="no device 'abacus' here"):
        choose_device("abacus")


def test_tf32_is_off_while_the_network_runs_on_cuda_and_then_as_before():
    cudnn, cuda = torch.backends.cudnn, torch.device("cuda")
    before = cudnn.allow_tf32
    try:
        for setting in (True, False):
            cudnn.allow_tf32 = setting
            with full_float32(cuda):
                with full_float32(cuda):
                    assert cudnn.allow_tf32 is False
                assert cudnn.allow_tf32 is False
            assert cudnn.allow_tf32 is setting
            with full_float32(torch.device("cpu")):
                assert cudnn.allow_tf32 is setting
    finally:
        cudnn.allow_tf32 = before


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_fuse_many_in_batches_keeps_the_order_and_the_pictures(batch_size):
    sizes = [(32, 40), (32, 40), (32, 40), (24, 40), (32, 40), None, (32, 40), (32, 40)]
    pairs = [
        (textured(k), textured(k)[:, :20]) if size is None else (textured(k, *size), textured(50 + k, *size))
        for k, size in enumerate(sizes)
    ]
    outcomes = list(package.fuse_many(pairs, model=MODEL, batch_size=batch_size))
    assert [outcome.index for outcome in outcomes] == list(range(8))
    assert isinstance(outcomes[5].error, PictureError)
    for outcome, pair, size in zip(outcomes, pairs, sizes, strict=True):
        if size is not None:
            np.testing.assert_array_equal(outcome.fused.to_array(), np.asarray(MODEL.fuse(*pair)))


def test_batches_of_no_pair_and_choices_that_are_not_there_are_refused():
    pair = textured(1), textured(2)
    with pytest.raises(ValueError, match="0 pairs"):
        list(package.fuse_many([pair], model=MODEL, batch_size=0))
    with pytest.raises(ValueError, match="onnx, strips, whole, half"):
        list(package.fuse_many([pair], model=MODEL, engine="tiles"))
    with pytest.raises(ValueError, match="no device 'abacus'"):
        package.fuse(pair, model=MODEL, device="abacus")


def test_batches_on_the_command_line(pair_folder, tmp_path):
    model = small_model(tmp_path / "model")
    Image.fromarray(textured(7, 30, 40)).save(pair_folder / "ir" / "scene2.png")
    Image.fromarray(textured(8, 30, 40)).save(pair_folder / "vis" / "scene2.png")
    common = [pair_folder / "ir", pair_folder / "vis", "--model", model, "--device", "cpu"]
    for name, batch_size in (("one", "1"), ("four", "4")):
        result = refusion("fuse", *common, "-o", tmp_path / name, "--batch-size", batch_size)
        assert result.code == 0, result.err
        assert "6 fused" in result.out
    for path in (tmp_path / "one").glob("*.png"):
        np.testing.assert_array_equal(
            np.asarray(Image.open(path)), np.asarray(Image.open(tmp_path / "four" / path.name))
        )
    pair = [pair_folder / folder / "scene1.png" for folder in ("ir", "vis")]
    check_refused(
        refusion("fuse", *pair, "-o", tmp_path / "f.png", "--model", model, "--batch-size", "2"),
        "leave --batch-size out",
    )
    check_refused(refusion("fuse", *common, "-o", tmp_path / "none", "--batch-size", "0"), "0 pairs")
    check_refused(
        refusion("fuse", *pair, "-o", tmp_path / "f.png", "--model", model, "--device", "abacus"), "no device 'abacus'"
    )


def test_a_data_set_in_batches_gives_the_same_rows(pair_folder, tmp_path):
    model = small_model(tmp_path / "model")
    pictures = {}
    for name, batch_size in (("one", 1), ("four", 4)):
        summary = package.fuse_dataset(
            pair_folder, tmp_path / name, model=model, images=True, device="cpu", batch_size=batch_size, workers=1
        )
        assert (summary.fused, summary.failures) == (6, ())
        pictures[name] = {path.name: path.read_bytes() for path in (tmp_path / name / "images").rglob("*.png")}
    assert pictures["one"] == pictures["four"]
    assert len(pictures["one"]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_the_benchmark_of_batches_runs(device, tmp_path):
    command = [sys.executable, "benchmarks/inference.py", "--device", device, "--batch", "2", "--rounds", "1"]
    command += ["--width", "64", "--height", "48", "--json", str(tmp_path / "batches.json")]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    results = json.loads((tmp_path / "batches.json").read_text())["results"]
    assert results["compiled, fp16"]["within_a_level"] >= 0.999
    if "refusion, half" in results:
        assert results["refusion, half"]["within_a_level"] >= (0.8 if device == "cpu" else 0.999)
    assert results["refusion"]["difference"] < 1e-4
