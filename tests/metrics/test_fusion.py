"""Metrics: published definitions on real files, and the properties that every implementation must have."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from support.scenes import SHARED

from refusion.images import Picture
from refusion.images.colour import fit_chroma
from refusion.inference.finishing import Fused
from refusion.metrics import fusion as metrics
from refusion.metrics.conventions import REFUSION, VIFB
from refusion.metrics.fusion import DEFAULT_METRICS, METRIC_SETS, METRICS, mef_ssim, score

VECTORS = SHARED / "metric_vectors.json"
SOURCE_METRICS = [name for name, metric in METRICS.items() if metric.needs_sources]
FUSED_METRICS = [name for name, metric in METRICS.items() if not metric.needs_sources]


def picture(seed, n=1, height=50, width=61):
    """Smooth random structure with fine noise, rounded to 8 bits, (n, 1, height, width)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (n, 8, 8)).astype(np.float32)
    smooth = np.stack([cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR) for x in coarse])
    noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).round()
    return torch.from_numpy(noisy).double().unsqueeze(1)


def triple(n=1, **size):
    a, b = picture(1, n, **size), picture(2, n, **size)
    return a, b, (0.4 * a + 0.6 * b).round()


def call(name, a, b, fused):
    metric = METRICS[name]
    return metric.function(a, b, fused) if metric.needs_sources else metric.function(fused)


def luminance(path):
    red, green, blue = np.moveaxis(np.asarray(Image.open(path).convert("RGB"), dtype=np.float64), -1, 0)
    return np.round(0.299 * red + 0.587 * green + 0.114 * blue)


@pytest.fixture(scope="module")
def exposures():
    """Luminance of a real under- and over-exposed pair."""
    folder = SHARED / "data" / "multi_exposure" / "val"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with real pairs is not here")
    return [luminance(folder / side / "fusiondn_08.jpg") for side in ("under", "over")]


def mertens(exposures):
    bgr = [np.repeat(x[..., None], 3, axis=2).astype(np.uint8) for x in exposures]
    fused = cv2.createMergeMertens().process(bgr)[..., 0]
    return np.clip(fused * 255.0, 0, 255).astype(np.float64)


VECTOR_PAIRS = json.loads(VECTORS.read_text())["pairs"] if VECTORS.is_file() else []


@pytest.mark.skipif(not VECTOR_PAIRS, reason=f"{VECTORS} is absent")
@pytest.mark.parametrize("pair", VECTOR_PAIRS, ids=lambda pair: Path(pair["a"]).stem)
def test_vectors(pair):
    a, b = luminance(SHARED / pair["a"]), luminance(SHARED / pair["b"])
    scores = score(a, b, np.round(0.4 * a + 0.6 * b))
    assert scores == pytest.approx({name: pair[name] for name in DEFAULT_METRICS}, rel=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_batch_equals_single(name):
    pictures = triple(n=3)
    batched = call(name, *pictures)
    single = torch.cat([call(name, *(x[i : i + 1] for x in pictures)) for i in range(3)])
    assert batched.shape == (3,)
    assert batched.dtype == torch.float64
    torch.testing.assert_close(batched, single, rtol=1e-9, atol=1e-9)
    assert len(set(batched.tolist())) == 3


@pytest.mark.parametrize("name", METRICS)
def test_every_kind_of_picture_scores_the_same(name):
    pictures = triple()
    expected = call(name, *pictures)
    flat = [x[0, 0] for x in pictures]
    kinds = {
        "flat": flat,
        "float32": [x.float() for x in pictures],
        "uint8": [x.to(torch.uint8) for x in pictures],
        "numpy": [x.numpy() for x in flat],
        "numpy uint8, reversed and back": [x.numpy().astype(np.uint8)[:, ::-1].copy()[:, ::-1] for x in flat],
        "not contiguous": [x.mT.contiguous().mT for x in pictures],
        "with gradient": [x.clone().requires_grad_() for x in pictures],
        "before saving": [(x + 0.3).clamp(0, 255) for x in pictures],
    }
    for kind, given in kinds.items():
        result = call(name, *given)
        assert not result.requires_grad
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12, msg=kind)


@pytest.mark.parametrize("name", METRICS)
def test_pictures_are_not_changed(name):
    pictures = triple()
    copies = [x.clone() for x in pictures]
    call(name, *pictures)
    assert all(torch.equal(x, copy) for x, copy in zip(pictures, copies, strict=True))


@pytest.mark.parametrize("name", SOURCE_METRICS)
def test_swapping_the_sources_changes_nothing(name):
    a, b, fused = triple()
    torch.testing.assert_close(call(name, a, b, fused), call(name, b, a, fused), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_stays_in_range(name):
    low, high = METRICS[name].range
    noise = torch.randint(0, 2, (1, 1, 50, 61), generator=torch.Generator().manual_seed(0)) * 255.0
    a, b, fused = triple()
    for pictures in ((a, b, fused), (a, a, a), (a, b, noise), (noise, 255 - noise, noise), (a, a, 255 - a)):
        values = call(name, *(x.double() for x in pictures))
        assert (values >= low - 1e-9).all()
        assert (values <= high + 1e-9).all()


@pytest.mark.parametrize(
    ("name", "grey"),
    [("EN", 0), ("SD", 0), ("SF", 0), ("AG", 0), ("MI", 0), ("CC", 0), ("SCD", 0), ("SSIM", 2)],
)
def test_constant_pictures(name, grey):
    flat = torch.full((2, 1, 50, 61), 200.0)
    torch.testing.assert_close(call(name, flat, flat, flat), torch.full((2,), float(grey)).double())


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("which", [(0,), (0, 1), (2,), (0, 1, 2)])
@pytest.mark.parametrize("grey", [0.0, 77.0, 255.0])
def test_constant_pictures_are_finite(name, which, grey):
    pictures = [torch.full_like(x, grey) if i in which else x for i, x in enumerate(triple())]
    value = call(name, *pictures)
    equal = all(torch.equal(x, pictures[2]) for x in pictures)
    assert value.isposinf().all() if name == "PSNR" and equal else value.isfinite().all()


@pytest.mark.parametrize("size", [{"height": 50, "width": 61}, {"height": 7, "width": 40}])
def test_ssim_equals_scikit_image(size):
    a, b, fused = (x[0, 0].numpy() for x in triple(**size))
    expected = sum(structural_similarity(x, fused, data_range=255) for x in (a, b))
    assert metrics.ssim(a, b, fused).item() == pytest.approx(expected, rel=1e-12)


def test_equal_pictures():
    a = picture(3)
    entropy = metrics.en(a).item() * math.log(2)
    scores = score(a, a, a, METRICS)
    assert scores["MI"] == pytest.approx(2 * entropy, rel=1e-12)
    assert scores["CC"] == pytest.approx(1, rel=1e-12)
    assert scores["SCD"] == 0
    assert scores["VIF"] == pytest.approx(2, rel=1e-6)
    assert scores["SSIM"] == pytest.approx(2, rel=1e-12)
    assert scores["MEF-SSIM"] == pytest.approx(1, rel=1e-4)
    assert scores["Qabf"] == pytest.approx(0.9994 * 0.9879 / (1 + math.exp(-4.4)), rel=1e-3)


def test_known_values():
    """Half of the pixels 0, half 200, in columns."""
    stripes = torch.tensor([0.0, 200.0]).repeat(64, 32)
    assert metrics.en(stripes).item() == pytest.approx(1)
    assert metrics.sd(stripes).item() == pytest.approx(100)
    assert metrics.sf(stripes).item() == pytest.approx(200)
    assert metrics.ag(stripes).item() == pytest.approx(2 / 64 * 200 / math.sqrt(2))
    assert metrics.mi(stripes, stripes.mT, stripes).item() == pytest.approx(math.log(2))
    assert metrics.cc(stripes, 200 - stripes, stripes).item() == pytest.approx(0)
    assert metrics.scd(stripes, stripes.mT, (stripes + stripes.mT) / 2).item() == pytest.approx(math.sqrt(2))


def naive_mef_ssim(a, b, fused):
    """The paper's definition, patch by patch."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    constant, quality, weights = (0.03 * 255) ** 2, 1.0, np.array([0.0448, 0.2856, 0.3001])
    for weight in weights / weights.sum():
        values = []
        for i in range(a.shape[0] - 10):
            for j in range(a.shape[1] - 10):
                patches = [x[i : i + 11, j : j + 11] for x in (a, b, fused)]
                first, second, result = (patch - patch.mean() for patch in patches)
                norms = np.linalg.norm(first), np.linalg.norm(second)
                consistency = np.linalg.norm(first + second) / sum(norms)
                power = min(np.tan(np.pi / 2 * min(consistency, 1 - 2**-52)), 10)
                contrasts = [norm + 0.001 for norm in norms]
                shares = [(contrast / 11) ** power for contrast in contrasts]
                structure = (shares[0] * first / contrasts[0] + shares[1] * second / contrasts[1]) / sum(shares)
                desired = structure / np.linalg.norm(structure) * max(contrasts)
                desired, result = (x - (window * x).sum() for x in (desired, result))
                covariance = (window * desired * result).sum()
                energy = (window * (desired**2 + result**2)).sum()
                values.append((2 * covariance + constant) / (energy + constant))
        quality *= np.mean(values) ** weight
        a, b, fused = (np.pad(x, [(0, side % 2) for side in x.shape], mode="edge") for x in (a, b, fused))
        a, b, fused = ((x[::2] + x[1::2]) / 2 for x in (a, b, fused))
        a, b, fused = ((x[:, ::2] + x[:, 1::2]) / 2 for x in (a, b, fused))
    return quality


def test_mef_ssim_is_the_papers_definition():
    a, b, fused = triple(height=45, width=47)
    a = a / 3
    expected = naive_mef_ssim(*(x[0, 0].round().numpy() for x in (a, b, fused)))
    assert mef_ssim(a, b, fused).item() == pytest.approx(expected, rel=1e-9)


def test_mef_ssim_ignores_the_mean():
    a, b, fused = (x / 2 for x in triple())
    torch.testing.assert_close(mef_ssim(a, b, fused), mef_ssim(a, b, fused.round() + 100))


def test_mef_ssim_degrades(exposures):
    rng = np.random.default_rng(0)
    fused = mertens(exposures)
    pattern = rng.normal(size=fused.shape)
    noisy = [mef_ssim(*exposures, np.clip(fused + s * pattern, 0, 255)).item() for s in (0, 5, 15, 40)]
    blurred = [mef_ssim(*exposures, cv2.GaussianBlur(fused, (0, 0), s)).item() for s in (0.1, 1, 2, 4)]
    assert noisy == sorted(noisy, reverse=True)
    assert blurred == sorted(blurred, reverse=True)


def test_mef_ssim_orders_methods(exposures):
    """Mertens beats the average, which beats each source alone."""
    under, over = exposures
    fused = mertens(exposures)
    best, average, *single = (mef_ssim(under, over, x).item() for x in (fused, (under + over) / 2, under, over))
    assert best > 0.9
    assert best > average > max(single)


def test_blur_lowers_detail_metrics(exposures):
    under, over = exposures
    sharp = (under + over) / 2
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    for name in ("SF", "AG", "VIF", "Qabf"):
        assert call(name, under, over, blurred) < call(name, under, over, sharp), name


@pytest.mark.parametrize("name", SOURCE_METRICS)
@pytest.mark.parametrize("wrong", [(1, 1, 50, 60), (61, 50), (2, 1, 50, 61), (1, 3, 50, 61), (50, 61, 1), (61,)])
def test_sizes_that_differ(name, wrong):
    a, b, _ = triple()
    with pytest.raises(ValueError, match="shape") as error:
        call(name, a, b, torch.zeros(wrong, dtype=a.dtype))
    assert "(1, 1, 50, 61)" in str(error.value)
    assert str(wrong) in str(error.value)


@pytest.mark.parametrize(
    "change",
    [lambda x: x.numpy(), lambda x: x.to(torch.uint8), lambda x: x > 3, lambda x: x.to(torch.complex64)],
)
@pytest.mark.parametrize("name", SOURCE_METRICS)
def test_types_that_differ(name, change):
    a, b, fused = triple()
    with pytest.raises(ValueError, match=r"a is a torch\.float64 cpu tensor of shape") as error:
        call(name, a, b, change(fused))
    assert str(error.value).count("(1, 1, 50, 61)") == 3


@pytest.mark.parametrize("fused", [None, [[1.0]], "image.png"])
def test_not_an_image(fused):
    with pytest.raises(ValueError, match=rf"fused is a {type(fused).__name__}.* torch tensors or Pillow images"):
        metrics.en(fused)


def fused_image(bits: int, *, colour: bool) -> Fused:
    a, b, fused = (image[0, 0].numpy().astype(np.float32) / 255 for image in triple())
    chroma = np.stack([a, b]) if colour else None
    return Fused(Picture(fused, None if chroma is None else fit_chroma(fused, chroma), "fused", bits=bits))


@pytest.mark.parametrize("colour", [False, True])
def test_a_result_of_fuse_is_scored_like_its_image(colour):
    a, b, _ = (Image.fromarray(image[0, 0].numpy().astype(np.uint8)) for image in triple())
    fused = fused_image(8, colour=colour)
    names = ["SSIM", "EN"]
    for conventions in (REFUSION, VIFB):
        assert score(a, b, fused, names, conventions) == score(a, b, fused.to_image(8), names, conventions)
    assert metrics.en(fused, data_range=1) == metrics.en(fused.to_image(8))
    deep = fused_image(16, colour=colour)
    assert metrics.sd(deep, data_range=65535).item() == pytest.approx(metrics.sd(fused).item(), abs=0.05)


def test_an_image_of_sixteen_bits_is_called_what_it_is():
    fused = fused_image(16, colour=False)
    with pytest.raises(ValueError, match=r"fused is a uint16 Pillow image of shape \(50, 61\).* pass data_range="):
        metrics.en(fused.to_image())
    with pytest.raises(ValueError, match=r"fused is a uint16 Fused of shape \(50, 61\)"):
        metrics.en(fused)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 255.5])
def test_values_out_of_range(name, value):
    a, b, fused = triple(n=2)
    fused[1, 0, 5, 5] = value
    with pytest.raises(ValueError, match=r"fused reaches from .* finite, in 0 to 255"):
        call(name, a, b, fused)


@pytest.mark.parametrize(("name", "size"), [(name, m.min_size) for name, m in METRICS.items() if m.min_size > 1])
def test_smallest_size(name, size):
    assert call(name, *triple(height=size, width=size)).isfinite().all()
    with pytest.raises(ValueError, match=f"at least {size} x {size} pixels"):
        call(name, *triple(height=size + 3, width=size - 1))


@pytest.mark.parametrize("shape", [(0, 1, 50, 61), (1, 1, 0, 61), (0, 0)])
def test_empty_picture(shape):
    with pytest.raises(ValueError, match="not empty"):
        metrics.en(torch.zeros(shape))


def test_table():
    assert list(METRICS)[:11] == [*DEFAULT_METRICS, "MEF-SSIM"]
    for names in METRIC_SETS.values():
        assert set(names) <= set(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        direction = "higher is better" if metric.higher_is_better else "lower is better"
        text = " ".join(metric.function.__doc__.split()).lower()
        assert direction in text
        assert "source: " in text
        assert metric.range[0] < metric.range[1]
        assert metric.source


def test_score():
    a, b, fused = triple()
    assert list(score(a, b, fused)) == list(DEFAULT_METRICS)
    chosen = score(a[0, 0].numpy(), b[0, 0].numpy(), fused[0, 0].numpy(), iter(["MEF-SSIM", "EN"]))
    assert chosen == {"MEF-SSIM": mef_ssim(a, b, fused).item(), "EN": metrics.en(fused).item()}
    assert list(chosen) == ["MEF-SSIM", "EN"]
    with pytest.raises(ValueError, match="no metric 'LPIPS'; choose EN, SD"):
        score(a, b, fused, ["EN", "LPIPS"])
    with pytest.raises(ValueError, match="one pair"):
        score(*triple(n=2))


@pytest.mark.gpu
@pytest.mark.parametrize("name", METRICS)
def test_gpu_equals_cpu(name):
    pictures = triple(n=2)
    result = call(name, *(x.cuda() for x in pictures))
    assert result.is_cuda
    torch.testing.assert_close(result.cpu(), call(name, *pictures), rtol=1e-9, atol=1e-12)
