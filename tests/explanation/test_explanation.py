"""Where the learned loss looks: the arrays, the images and the command."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from support import command
from support.scenes import ROOT, textured

from refusion.explanation.maps import error_figures, explain, weight_figures
from refusion.explanation.pictures import (
    BOTH_COLOUR,
    ERROR_SCALE,
    FILES,
    FIRST_COLOUR,
    SECOND_COLOUR,
    Captions,
    colour_span,
    colours,
    draw_pictures,
    figures,
)
from refusion.explanation.trained import TrainedModel, load_trained
from refusion.hub.errors import ModelError, NoWeightsError
from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, save_model, save_weights
from refusion.hub.names import has_weights
from refusion.images import PictureError
from refusion.inference.engines.dispatch import state_arrays
from refusion.models.bundled import load_bundled
from refusion.models.model import ReFusion
from refusion.modules.loss_proposal import LossProposalModule, propose_weights
from refusion.modules.reconstruction import ReconstructionModule

WIDTHS = {"channels": 8, "heads": 4, "blocks": 1}
CAPTIONS = Captions(("infrared", "visible"), ("a.png", "b.png"), "model")


class Modules(NamedTuple):
    fusion: ReFusion
    proposal: LossProposalModule
    reconstruction: ReconstructionModule


@pytest.fixture(scope="module")
def modules() -> Modules:
    torch.manual_seed(0)
    modules = Modules(
        ReFusion("medical", **WIDTHS).eval(), LossProposalModule(**WIDTHS).eval(), ReconstructionModule(**WIDTHS).eval()
    )
    with torch.no_grad():
        for head in (modules.proposal.intensity_head, modules.proposal.gradient_head):
            head.weight.normal_()  # a new module would propose the same weight everywhere
    return modules


@pytest.fixture(scope="module")
def trained(modules) -> TrainedModel:
    proposal, reconstruction = map(state_arrays, modules[1:])
    return TrainedModel.from_weights(modules.fusion, proposal, reconstruction, "replicate", None)


@pytest.fixture
def folder(modules, tmp_path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    save_model(path, modules.fusion, modules.fusion.config)
    save_weights(modules.proposal, path / PROPOSAL_WEIGHTS)
    save_weights(modules.reconstruction, path / RECONSTRUCTION_WEIGHTS)
    return path


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed)).save(path)
    return paths


def refusion(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "refusion", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300)


def unit(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return textured(seed, height, width).astype(np.float32) / 255


@pytest.mark.parametrize("size", [(48, 64), (47, 61), (9, 33)])
def test_exchanged_sources_exchange_the_weights(trained, size):
    a, b = unit(1, *size), unit(2, *size)
    forward, backward = explain(trained, a, b), explain(trained, b, a)
    for name in ("intensity", "gradient"):
        weights = getattr(forward, name)
        assert weights.shape == (2, *size)
        assert weights.std(axis=(1, 2)).min() > 1e-3
        np.testing.assert_allclose(weights, getattr(backward, name)[::-1], atol=1e-6)
        np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)


def test_it_is_what_the_modules_give(trained, modules):
    a, b = unit(1), unit(2)
    result = explain(trained, a, b)
    batch = [torch.from_numpy(x)[None, None] for x in (a, b)]
    with torch.no_grad():
        weights = propose_weights(modules.proposal, *batch)
        fused = modules.fusion(*batch)
        again = modules.reconstruction(fused)
    for array, tensor in [
        (result.intensity, weights.intensity[0]),
        (result.gradient, weights.gradient[0]),
        (result.fused, fused[0, 0]),
        (result.reconstruction_a, again[0][0, 0]),
        (result.reconstruction_b, again[1][0, 0]),
    ]:
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, tensor.numpy(), atol=1e-5)
    np.testing.assert_array_equal(result.error_a, np.abs(a - result.reconstruction_a))
    np.testing.assert_array_equal(result.error_b, np.abs(b - result.reconstruction_b))


def test_equal_sources_are_trusted_alike(trained):
    result = explain(trained, unit(1), unit(1))
    np.testing.assert_allclose(result.intensity, 0.5, atol=1e-6)
    np.testing.assert_allclose(result.gradient, 0.5, atol=1e-6)


def test_a_folder_gives_what_the_loaded_modules_give(trained, folder, pair):
    expected = explain(trained, *pair)
    for name in (folder, str(folder), load_trained(folder)):
        result = explain(name, *pair)
        np.testing.assert_array_equal(result.intensity, expected.intensity)
        np.testing.assert_array_equal(result.reconstruction_b, expected.reconstruction_b)


def test_a_model_without_the_training_modules_is_a_sentence(folder, pair):
    (folder / RECONSTRUCTION_WEIGHTS).unlink()
    with pytest.raises(NoWeightsError, match=f"no {RECONSTRUCTION_WEIGHTS}.*authors.*train.py"):
        explain(folder, *pair)
    (folder / PROPOSAL_WEIGHTS).unlink()
    with pytest.raises(NoWeightsError, match=f"has no {PROPOSAL_WEIGHTS} and no"):
        explain(folder, *pair)
    with pytest.raises(ModelError, match="only the fusion module; give the name or folder"):
        explain(ReFusion.from_pretrained(folder), *pair)
    with pytest.raises(ModelError, match="only the fusion module; give the name or folder"):
        explain(load_bundled("refusion-ir-vis"), *pair)


def test_training_modules_that_do_not_fit_are_named(folder, pair):
    save_weights(LossProposalModule(), folder / PROPOSAL_WEIGHTS)
    with pytest.raises(ModelError, match=PROPOSAL_WEIGHTS):
        explain(folder, *pair)
    (folder / PROPOSAL_WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=f"{PROPOSAL_WEIGHTS} is damaged"):
        explain(folder, *pair)


def test_pictures_too_large_or_unequal_are_refused(trained):
    with pytest.raises(PictureError, match=r"64 x 48 pixels \(0.00307 megapixels\).*32 x 24.*max-megapixels"):
        explain(trained, unit(1), unit(2), max_megapixels=64 * 48 / 4e6)
    assert explain(trained, unit(1), unit(2), max_megapixels=64 * 48 / 1e6).fused.shape == (48, 64)
    with pytest.raises(PictureError, match=r"64 x 48.*32 x 48"):
        explain(trained, unit(1), unit(2)[:, :32])
    for limit in (0, -1, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            explain(trained, unit(1), unit(2), max_megapixels=limit)


def test_an_offset_is_noted_as_by_fuse_without_an_option_that_explain_lacks():
    rng = np.random.default_rng(0)
    scene = np.asarray(Image.fromarray(rng.integers(0, 255, (12, 16), np.uint8)).resize((320, 240)))
    (note,) = explain("refusion-multi-focus", scene, np.roll(scene, 24, axis=1)).notes
    assert "seems to lie about 24 pixels off" in note
    assert note.endswith("; register the two first.")


def test_figures_by_hand():
    first = np.array([[1.0, 0.5], [0.5, 0.0]], dtype=np.float32)
    summed = weight_figures(np.stack([first, 1 - first]))
    assert (summed.mean, summed.leads) == (0.5, 0.25)
    assert summed.spread == pytest.approx(math.sqrt(0.125))
    error = error_figures(np.full((3, 4), 0.1, dtype=np.float32))
    assert error.mean == pytest.approx(0.1)
    assert error.psnr == pytest.approx(20)
    assert error_figures(np.zeros((2, 2), dtype=np.float32)).psnr == math.inf


def test_colours_run_from_the_second_source_to_the_first():
    ends = colours(np.array([0.0, 0.4, 0.5, 0.6, 1.0]), 0.1)
    np.testing.assert_array_equal(ends, [SECOND_COLOUR, SECOND_COLOUR, BOTH_COLOUR, FIRST_COLOUR, FIRST_COLOUR])


@pytest.mark.parametrize(("distance", "span"), [(0, 0.05), (0.04, 0.05), (0.07, 0.1), (0.2, 0.25), (0.3, 0.5)])
def test_the_colour_scale_follows_the_weights(distance, span):
    weight = np.full((20, 30), 0.5 + distance)
    weight[0, 0] = 1
    assert colour_span(weight) == span


@pytest.mark.parametrize("size", [(48, 64), (47, 61), (8, 300), (300, 8)])
def test_pictures_of_every_shape_are_drawn(trained, size):
    result = explain(trained, unit(1, *size), unit(2, *size))
    long_names = Captions(("CT, PET or SPECT", "MRI"), ("a" * 300, "b"), "m" * 400)
    pictures = draw_pictures(result, long_names)
    assert {*pictures, "explain.json"} == set(FILES)
    for name in ("w_map.png", "fused.png", "reconstruction_a.png", "error_b.png"):
        assert pictures[name].size == size[::-1]
        assert pictures[name].mode == "L"
    for name in ("w.png", "v.png", "overview.png"):
        assert pictures[name].mode == "RGB"
        assert pictures[name].width >= size[1]
    np.testing.assert_array_equal(np.asarray(pictures["w_map.png"]), np.rint(result.intensity[0] * 255))
    np.testing.assert_array_equal(
        np.asarray(pictures["error_a.png"]), np.rint(np.clip(result.error_a * ERROR_SCALE, 0, 1) * 255)
    )


def test_a_perfect_reconstruction_is_valid_json(trained):
    result = explain(trained, unit(1), unit(2))
    perfect = type(result)(**{**vars(result), "reconstruction_a": result.a})
    written = json.loads(json.dumps(figures(perfect, CAPTIONS), allow_nan=False))
    assert written["reconstruction_a"] == {"mean_absolute_error": 0, "psnr_db": None}
    assert draw_pictures(perfect, CAPTIONS)["error_a.png"].getextrema() == (0, 0)


def test_the_command_writes_what_python_gives(folder, pair, tmp_path):
    result = refusion("explain", *pair, "--model", folder, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "overview.png" in result.stdout
    assert "MRI" in result.stdout  # the labels are those of the model's own task
    output = tmp_path / "a_explained"
    assert {path.name for path in output.iterdir()} == set(FILES)
    expected = explain(folder, *pair)
    captions = Captions(("CT, PET or SPECT", "MRI"), ("a.png", "b.png"), "model")
    assert json.loads((output / "explain.json").read_text()) == figures(expected, captions)
    for name, picture in draw_pictures(expected, captions).items():
        with Image.open(output / name) as written:
            np.testing.assert_array_equal(np.asarray(written), np.asarray(picture))


def test_quiet_prints_nothing(folder, pair, tmp_path):
    done = command.refusion("explain", *pair, "--model", folder, "-o", tmp_path / "out", "--quiet")
    assert done == (0, "", "")
    assert (tmp_path / "out" / "overview.png").exists()


def test_bad_input_is_one_sentence_and_writes_nothing(modules, folder, pair, tmp_path):
    output = tmp_path / "out"
    converted = tmp_path / "converted"
    converted.mkdir()
    save_model(converted, modules.fusion, modules.fusion.config)
    (tmp_path / "taken").write_text("a file")
    overview = tmp_path / "overview.png"
    Image.open(pair[0]).save(overview)
    before = overview.read_bytes()
    for arguments, words in [
        ([tmp_path / "nothing.png", pair[1], "-o", output, "--model", folder], "nothing.png"),
        ([*pair, "-o", output, "--model", converted], "learned loss to explain"),
        ([*pair, "-o", output, "--task", "sharpen"], "no task 'sharpen'"),
        ([*pair, "-o", output, "--model", folder, "--max-megapixels", "0.001"], "64 x 48"),
        ([*pair, "-o", tmp_path / "taken", "--model", folder], "taken is a file"),
        ([*pair, "-o", tmp_path / "taken" / "below", "--model", folder], "taken is a file"),
        ([*pair, "-o", output, "--model", folder, "--max-megapixels", "nan"], "must be above 0"),
        ([overview, pair[1], "-o", tmp_path, "--model", folder], "overview.png is one of the sources"),
    ]:
        command.check_refused(command.refusion("explain", *arguments), words)
        assert not output.exists()
    assert overview.read_bytes() == before


@pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="refusion-ir-vis is not bundled")
def test_the_bundled_model_trusts_what_shows_something():
    flat = np.full((48, 64), 0.5, dtype=np.float32)
    result = explain("refusion-ir-vis", unit(1), flat)
    edges = np.abs(np.gradient(unit(1), axis=1)) > 0.1
    assert result.gradient[0][edges].mean() > 0.6


@pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="refusion-ir-vis is not bundled")
@pytest.mark.parametrize(("names", "trusted"), [(("a", "flat"), "infrared"), (("a", "a"), "both alike")])
def test_the_command_says_which_source_is_trusted_more(tmp_path, names, trusted):
    for name, values in (("a", textured(1)), ("flat", np.full((48, 64), 128, np.uint8))):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    pair = (tmp_path / f"{name}.png" for name in names)
    said = command.refusion("explain", *pair, "-o", tmp_path / "out").out
    (edges,) = (line for line in said.splitlines() if "edges (v)" in line)
    assert edges.split("\N{BOX DRAWINGS LIGHT VERTICAL}")[2].strip() == trusted


def test_sizes_that_differ_are_refused_without_options_that_explain_lacks(trained):
    with pytest.raises(PictureError, match="crop or scale one to the size of the other") as caught:
        explain(trained, unit(1, 48, 64), unit(2, 24, 32))
    assert "--resize" not in str(caught.value)
