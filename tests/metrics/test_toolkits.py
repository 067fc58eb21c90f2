"""Metrics as the toolkits VIFB and MEFB compute them, and what conventions change."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from support.scenes import SHARED, textured

from refusion import metrics
from refusion.metrics import MEFB, PRESETS, REFUSION, VIFB, Conventions
from refusion.metrics.conventions import get_conventions
from refusion.metrics.defects import DEFECTS
from refusion.metrics.features import _FEATURES
from refusion.metrics.fusion import METRIC_SETS, METRICS, score
from refusion.metrics.reports import Report
from refusion.metrics.running import DIFFERENTIABLE, RunningMetric

VECTORS = SHARED / "toolkit_vectors.json"
TABLE = json.loads(VECTORS.read_text())["vectors"] if VECTORS.is_file() else {}
TOLERANCES = {"VIF": 5e-4, "Qcb": 5e-4, "Qw": 2e-4, "Qp": 1e-5}
"""Relative ones, where parts that are almost flat, or halves of grey levels, are rounded differently; else 1e-7."""
NAMES = {"cross_entropy": "CE", "edge_intensity": "EI"}
FOLDERS = {
    "ir_vis": ("ir", "vis"),
    "medical": ("functional", "mri"),
    "multi_focus": ("near", "far"),
    "multi_exposure": ("under", "over"),
}


@pytest.fixture
def triple() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = textured(1, 60, 73), textured(2, 60, 73)
    return a, b, np.rint(0.4 * a + 0.6 * b).astype(np.uint8)


def call(name, a, b, fused, conventions=REFUSION, **options):
    metric = METRICS[name]
    images = (a, b, fused) if metric.needs_sources else (fused,)
    return metric.function(*images, conventions, **options).item()


@pytest.mark.skipif(not TABLE, reason=f"{VECTORS} is absent")
@pytest.mark.parametrize("key", TABLE)
def test_values_are_those_of_the_toolkits(key):
    task, stem, method = key.split("__")
    folders = [SHARED / "data" / task / "val" / side for side in FOLDERS[task]]
    sources = (Image.open(next(folder.glob(f"{stem}.*"))).convert("L") for folder in folders)
    a, b = (np.asarray(source)[:256, :256] for source in sources)
    fused = (a.astype(int) + b) // 2 if method == "average" else np.maximum(a, b)
    for toolkit, expected in TABLE[key].items():
        names = {NAMES.get(name, name): value for name, value in expected.items()}
        found = score(a, b, fused.astype(np.uint8), names, PRESETS[toolkit])
        for name, value in names.items():
            assert found[name] == pytest.approx(value, rel=TOLERANCES.get(name, 1e-7), abs=1e-9), name


def fmi_by_loops(a, b, fused, overwritten):
    """Feature mutual information window by window, as its authors wrote it."""

    def to_unit_range(x):
        return np.ones_like(x) if x.max() == x.min() else (x - x.min()) / (x.max() - x.min())

    def deviation(p):
        places = np.arange(1, 10)
        return math.sqrt(max((places**2 * p).sum() - (places * p).sum() ** 2, 0))

    def shared(x, f):
        p, q = (y.ravel(order="F") / y.sum() for y in (to_unit_range(x), to_unit_range(f)))
        cp, cq = np.cumsum(p), np.cumsum(q)
        flat = np.ptp(p) == 0 or np.ptp(q) == 0
        correlation = 0.0 if flat else np.corrcoef(p, q)[0, 1]
        bound = np.zeros((10, 10))
        for i in range(9):
            for j in range(9):
                bound[i + 1, j + 1] = min(cq[i], cp[j]) if correlation >= 0 else max(cq[i] + cp[j] - 1, 0)
        covariance = (bound[1:, 1:] - np.outer(cq, cp)).sum()
        spread = deviation(p) * deviation(q)
        share = correlation / (covariance / spread) if correlation and spread else 0
        joint = share * np.diff(np.diff(bound, axis=0), axis=1) + (1 - share) * np.outer(q, p)
        information = sum(y * math.log2(abs(y)) for y in joint.ravel() if y)
        alone = -sum(y * math.log2(y) for y in (*p, *q) if y)
        return 2 * (alone + information) / alone if alone else 0

    values = []
    for i in range(a.shape[0] - 2):
        for j in range(a.shape[1] - 2):
            x, y, f = (image[i : i + 3, j : j + 3] for image in (a, b, fused))
            first = 1 if (x == f).all() else shared(x, f)
            if overwritten and not (x == f).all():
                f = to_unit_range(f)
            values.append((first + (1 if (y == f).all() else shared(y, f))) / 2)
    return np.mean(values)


@pytest.mark.parametrize("conventions", [REFUSION, MEFB], ids=["paper", "toolkit"])
@pytest.mark.parametrize("feature", _FEATURES)
def test_fmi_is_that_of_its_authors(feature, conventions):
    a, b = textured(1, 24, 30), textured(2, 24, 30)
    b[:12] = a[:12]
    b[:, 20:] = a[:, 20:] = 90
    fused = np.maximum(a, b)
    fused[3:8, 3:8] = 7
    features = [_FEATURES[feature](torch.from_numpy(x.astype(float))[None, None])[0, 0].numpy() for x in (a, b, fused)]
    expected = fmi_by_loops(*features, conventions is MEFB)
    assert metrics.fmi(a, b, fused, conventions, feature=feature).item() == pytest.approx(expected, rel=1e-6)


def test_fmi_has_the_features_it_names(triple):
    assert metrics.fmi(*triple) == metrics.fmi(*triple, feature="gradient")
    assert metrics.fmi(*triple, MEFB) == metrics.fmi(*triple, MEFB, feature="edge")
    with pytest.raises(ValueError, match="no feature 'wavelet'; choose pixels, gradient"):
        metrics.fmi(*triple, feature="wavelet")


def test_equal_images_are_the_best_there_is():
    a = textured(3, 60, 73)
    best = {"NMI": 2, "VIFF": 1, "FMI": 1, "CE": 0, "PSNR": math.inf, "RMSE": 0, "Qcb": 1, "Qcv": 0, "Qp": 1}
    best |= {"Qw": 1, "Qy": 1, "Qc": 1}
    assert score(a, a, a, best) == pytest.approx(best, rel=1e-3, abs=1e-9)


def test_known_values_of_information():
    """Half of the pixels 0, half 200, in columns; a source that is the result, and one that knows nothing of it."""
    stripes = np.tile([0, 200], (64, 32))
    assert call("NMI", stripes, stripes.T, stripes) == pytest.approx(1)
    assert call("TE", stripes, stripes.T, stripes) == pytest.approx((1 - 2 * 0.5**0.15) / -0.85)
    parts = np.array([1 + 1 / 8, 1 - 1 / 8, 1]) / 3
    assert call("Qncie", stripes, stripes.T, stripes) == pytest.approx(
        1 + (parts * np.log(parts)).sum() / math.log(256)
    )
    quarter = np.where(np.arange(64) % 4 == 0, 0, 200) + np.zeros((64, 1), int)
    divergence = 0.5 * math.log2(0.5 / 0.25) + 0.5 * math.log2(0.5 / 0.75)
    assert call("CE", stripes, stripes, quarter) == pytest.approx(divergence)
    assert call("EI", stripes, stripes, stripes) == pytest.approx(2 / 64 * 800)


@pytest.mark.parametrize("name", ["FMI", "VIFF", "PSNR", "Qcb", "Qp", "Qw", "Qy", "Qc"])
def test_noise_makes_it_worse(name):
    a, b = (textured(seed, 60, 73).astype(float) for seed in (1, 2))
    fused = np.rint((a + b) / 2)
    noise = np.random.default_rng(0).normal(0, 20, fused.shape)
    noisy = np.clip(np.rint(fused + noise), 0, 255)
    assert call(name, a, b, noisy) < call(name, a, b, fused)
    for lower in ("RMSE", "Qcv"):
        assert call(lower, a, b, noisy) > call(lower, a, b, fused)


def test_flat_images_say_nothing_by_their_rounding():
    """A flat part has no say in Qy and Qc, where the toolkit divides rounding errors."""
    a, b = (np.pad(textured(seed, 40, 40), ((0, 0), (0, 40)), constant_values=97) for seed in (1, 2))
    for function in (metrics.qy, metrics.qc):
        value = function(a, b, np.maximum(a, b)).item()
        assert 0.5 < value <= 1
    # Means of such levels over windows are not exact.
    flat = (np.full((24, 40), level) for level in (100.1, 30.7, 77.3))
    assert call("Qw", *flat, replace(REFUSION, rounding="none")) == 0


def test_errors_are_the_usual_ones(triple):
    a, _, fused = triple
    assert call("PSNR", a, a, fused) == pytest.approx(peak_signal_noise_ratio(a, fused, data_range=255))
    assert call("RMSE", a, a, fused) == pytest.approx(np.sqrt(np.mean((a.astype(float) - fused) ** 2)))
    assert call("variance", a, a, fused) == pytest.approx(fused.astype(float).var())
    # VIFB and MEFB divide after the root.
    root = np.sqrt(np.sum((a.astype(float) - fused) ** 2)) / a.size
    assert call("PSNR", a, a, fused, MEFB) == pytest.approx(10 * np.log10(255**2 / root))
    assert call("RMSE", a, a, fused, VIFB) == pytest.approx(root)
    assert call("variance", a, a, fused, VIFB) == pytest.approx(fused.astype(float).std())


def test_each_convention_changes_what_it_says(triple):
    both = {name: call(name, *triple) for name in ("MI", "VIF", "SSIM", "CC")}
    mean = {name: call(name, *triple, replace(REFUSION, sources="mean")) for name in both}
    assert mean == pytest.approx({name: value / (1 if name == "CC" else 2) for name, value in both.items()})
    bits = call("MI", *triple, replace(REFUSION, logarithm="bits"))
    assert bits == pytest.approx(both["MI"] / math.log(2))
    a, b, fused = triple
    half = fused + 0.75
    half[half > 255] = 255
    down = replace(REFUSION, rounding="down")
    floats = a.astype(float), b.astype(float)
    assert call("EN", *floats, half, down) == call("EN", *triple)
    assert call("SD", *floats, half, replace(REFUSION, rounding="none")) == pytest.approx(half.std())
    wide = replace(REFUSION, ssim_window="gaussian-11", ssim_range=510)
    options = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "win_size": 11, "full": True}
    maps = [structural_similarity(x, fused, data_range=510, **options)[1][5:-5, 5:-5].mean() for x in (a, b)]
    assert call("SSIM", *triple, wide) == pytest.approx(sum(maps))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_takes_conventions_by_name(triple, name):
    for preset in ("refusion", "vifb"):
        by_name, by_value = (call(name, *triple, given) for given in (preset, PRESETS[preset]))
        assert by_name == pytest.approx(by_value, nan_ok=True)
    with pytest.raises(ValueError, match="no conventions 'matlab'; choose refusion, vifb, mefb"):
        call(name, *triple, "matlab")
    with pytest.raises(ValueError, match="conventions are None; give refusion, vifb, mefb, or a set of your own"):
        call(name, *triple, None)


def test_scores_and_reports_take_conventions_by_name(triple):
    colours = [Image.fromarray(np.stack([plane, plane // 2, plane], -1)) for plane in triple]
    assert score(*colours, ["Qcb", "SSIM"], "vifb") == score(*colours, ["Qcb", "SSIM"], VIFB)
    assert RunningMetric("SSIM", "mefb").conventions is MEFB
    assert Report((), {}, conventions="vifb").conventions is VIFB
    with pytest.raises(ValueError, match="no conventions 'matlab'"):
        score(*triple, conventions="matlab")
    with pytest.raises(ValueError, match="no conventions 'matlab'"):
        Report((), {}, conventions="matlab")


def test_presets_have_names_and_can_be_read():
    assert PRESETS == {"refusion": REFUSION, "vifb": VIFB, "mefb": MEFB}
    assert "MI (nats), VIF and SSIM are the sum over both sources" in str(REFUSION)
    assert "formulas of the toolkits" in str(MEFB)
    assert get_conventions("vifb") is VIFB
    with pytest.raises(ValueError, match="no conventions 'matlab'; choose refusion, vifb, mefb"):
        get_conventions("matlab")
    with pytest.raises(ValueError, match="no convention logarithm 'dB'; choose nats, bits"):
        Conventions(logarithm="dB")
    with pytest.raises(ValueError, match="range of SSIM is 0"):
        Conventions(ssim_range=0)


@pytest.mark.parametrize("toolkit", [VIFB, MEFB], ids=lambda toolkit: toolkit.name)
def test_toolkits_cut_off_what_is_between_grey_levels(triple, toolkit):
    fused = np.minimum(triple[2], 254)
    between = fused + np.random.default_rng(0).uniform(0, 0.99, fused.shape)
    assert call("EI", None, None, between, toolkit) == call("EI", None, None, fused, toolkit)


def test_colour_is_scored_by_luminance_or_by_channels(triple):
    a, b, fused = (Image.fromarray(np.stack([x, x[::-1], x[:, ::-1]], axis=-1)) for x in triple)
    grey = score(a, b, fused, ["SD", "MI"])
    by_hand = [np.rint(np.asarray(x, float) @ (0.299, 0.587, 0.114)) for x in (a, b, fused)]
    assert grey == score(*by_hand, ["SD", "MI"])
    channels = score(a, b, fused, ["SD", "MI"], VIFB)
    singles = [score(*(np.asarray(x)[..., i] for x in (a, b, fused)), ["SD", "MI"], VIFB) for i in range(3)]
    assert channels == pytest.approx({name: np.mean([single[name] for single in singles]) for name in channels})
    assert channels != pytest.approx(grey, rel=1e-3)
    # MEFB scores MEF-SSIM by the luminance, too.
    assert score(a, b, fused, "MEF-SSIM", MEFB) == score(*by_hand, "MEF-SSIM", MEFB)
    # A grey source stands for each channel.
    assert score(Image.fromarray(triple[0]), b, fused, ["MI"], VIFB)["MI"] > 0
    with pytest.raises(ValueError, match="all three as Pillow images"):
        score(triple[0], triple[1], fused, ["MI"], VIFB)


@pytest.mark.parametrize("name", METRICS)
def test_values_of_0_to_1_are_refused_or_scaled(name, triple):
    scaled = [x / 255 for x in triple]
    with pytest.raises(ValueError, match=r"reaches from .* grey levels 0 to 255; pass data_range=1"):
        call(name, *scaled)
    assert call(name, *scaled, data_range=1) == pytest.approx(call(name, *triple), rel=1e-9)


def test_names_in_any_case_and_sets_are_known(triple):
    assert score(*triple, "ssim") == score(*triple, ["SSIM"])
    assert list(score(*triple, ["vifb", "en"])) == list(METRIC_SETS["vifb"])
    with pytest.raises(ValueError, match=r"There is no metric 'niqe'; choose .*, or one of the sets default"):
        score(*triple, ["EN", "niqe"])


def test_a_result_of_0_to_1_that_was_not_clipped_is_refused(triple):
    a, b, fused = (x / 255 for x in triple)
    fused[0, 0] = 1.02
    with pytest.raises(ValueError, match=r"reaches from .* to 1\.02, but metrics take grey levels 0 to 255; clip them"):
        METRICS["EN"].function(fused)
    with pytest.raises(ValueError, match="clip them"):
        DEFECTS["heat"].function(a * 255, b * 255, fused)


def test_one_range_for_two_depths_is_refused(triple):
    a, b, fused = triple
    deep = [x.astype(np.uint16) * 257 for x in (a, b)]
    with pytest.raises(ValueError, match="fused has 8 bits, so its white is 255, not 65535"):
        score(*deep, fused.astype(np.uint8), ["Qabf"], data_range=65535)
    with pytest.raises(ValueError, match="grey levels 0 to 65535"):
        score(a / 255, b / 255, fused / 255, ["Qabf"], data_range=65535)


def test_deep_values_are_refused_or_scaled(triple):
    deep = [x.astype(np.uint16) * 257 for x in triple]
    with pytest.raises(ValueError, match=r"finite, in 0 to 255; pass data_range="):
        score(*deep)
    assert score(*deep, data_range=65535) == score(*triple)
    images = [Image.fromarray(x) for x in deep]
    assert score(*images, data_range=65535) == score(*triple)


def test_dark_images_are_not_taken_for_values_of_0_to_1():
    dark = np.zeros((48, 48))
    dark[::2] = 1
    assert call("SD", dark, dark, dark) == 0.5


def test_pillow_images_are_scored(triple):
    expected = score(*triple)
    assert score(*(Image.fromarray(x) for x in triple)) == expected
    assert score(*(Image.fromarray(x).convert("P") for x in triple)) == expected
    opaque = [Image.fromarray(x).convert("RGBA") for x in triple]
    assert score(*opaque) == expected
    opaque[2].putalpha(128)
    with pytest.raises(ValueError, match="fused has transparent pixels"):
        score(*opaque)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_unrounded_metrics_can_be_learned_from(name):
    a, b = (torch.from_numpy(textured(seed, 50, 50)).double() for seed in (1, 2))
    fused = (0.3 * a + 0.6 * b + 5).requires_grad_()
    conventions = replace(REFUSION, rounding="none")
    metric = METRICS[name]
    value = metric.function(*((a, b, fused) if metric.needs_sources else (fused,)), conventions)
    value.sum().backward()
    assert fused.grad.isfinite().all()
    step = torch.zeros_like(fused)
    step[20:30, 20:30] = 1e-4
    images = [(a, b, fused.detach() + sign * step) for sign in (1, -1)]
    above, below = (call(name, *x, conventions) for x in images)
    assert (fused.grad * step).sum().item() * 2 == pytest.approx(above - below, rel=1e-2)
