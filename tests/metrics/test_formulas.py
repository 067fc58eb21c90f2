"""VIF, VIFF, Qcb and Qcv are what their formulas give, written out image by image, also where parts are flat."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from support.scenes import textured

from refusion import metrics
from refusion.metrics import REFUSION

EXACT = replace(REFUSION, rounding="none")
HEIGHT, WIDTH = 66, 73
"""Neither is a multiple of the side of the regions of Qcv."""


def cases() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    a, b = (textured(seed, HEIGHT, WIDTH).astype(float) for seed in (1, 2))
    mixed, flat = np.rint(0.4 * a + 0.6 * b), np.full_like(a, 77)
    part = np.where(np.arange(WIDTH) < 36, 77, mixed)
    return {
        "textured": (a, b, mixed),
        "opposite": (a, 255 - a, mixed),
        "first source flat": (flat, b, mixed),
        "second source flat in part": (a, np.where(np.arange(WIDTH) < 36, 200, b), mixed),
        "fused flat in part": (a, b, part),
        "two levels": (100.0 + (a > 128), b, mixed),
        "sources flat": (flat, flat + 9, mixed),
        "all flat": (flat, flat, flat),
    }


def filtered(image: np.ndarray, taps: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(image, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_CONSTANT)


def fidelity(source: np.ndarray, fused: np.ndarray, noise: float):
    """For each of four scales, at each position: gain, information kept, and information of the source."""
    for size in (17, 9, 5, 3):
        taps, side = cv2.getGaussianKernel(size, size / 5, cv2.CV_64F), size // 2
        inner = (slice(side, -side), slice(side, -side))
        if size < 17:
            source, fused = (filtered(x, taps)[inner][::2, ::2] for x in (source, fused))
        mean, other = (filtered(x, taps)[inner] for x in (source, fused))
        variance = filtered(source**2, taps)[inner] - mean**2
        result = filtered(fused**2, taps)[inner] - other**2
        shared = filtered(source * fused, taps)[inner] - mean * other
        flat = variance < 1e-10
        gain = np.where(flat | (result < 1e-10), 0, shared / np.where(flat, 1, variance)).clip(0)
        variance = np.where(flat, 0, variance)
        yield gain, np.log1p(gain**2 * variance / (result - gain * shared + noise)), np.log1p(variance / noise)


def vif(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    value = 0.0
    for source in (a, b):
        scales = list(fidelity(source, fused, 2))
        whole = sum(scale[2].sum() for scale in scales)
        value += sum(scale[1].sum() for scale in scales) / whole if whole else 1
    return value


def viff(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    value, noise = 0.0, 325.125
    for weight, of_a, of_b in zip((1, 0, 0.15, 1), fidelity(a, fused, noise), fidelity(b, fused, noise), strict=True):
        kept, whole = (np.where(of_a[0] < of_b[0], of_a[i], of_b[i]) + 1e-7 for i in (1, 2))
        value += weight * kept.sum() / whole.sum() / 2.15
    return value


def seen(image: np.ndarray, per_radius: float, sensitivity) -> np.ndarray:
    """What an eye sees of an image; the radius is in cycles per image, times a factor."""
    rows, columns = (np.fft.fftfreq(count) * count * per_radius for count in image.shape)
    return np.fft.ifft2(np.fft.fft2(image) * sensitivity(np.hypot(*np.meshgrid(rows, columns, indexing="ij")))).real


def stretched(image: np.ndarray) -> np.ndarray:
    span = np.ptp(image)
    return np.floor((image - image.min()) / span * 255 + 0.5) if span else np.zeros_like(image)


def ratio(x: np.ndarray, y: np.ndarray, otherwise: float) -> np.ndarray:
    return np.where(y == 0, otherwise, x / np.where(y == 0, 1, y))


def qcb(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    masked = []
    for image in (a, b, fused):
        plain = seen(
            stretched(image), 1 / 15, lambda r: np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
        )
        places = np.arange(-15, 16)
        two, four = (np.exp(-(places**2) / (2 * s**2)) / np.sqrt(2 * np.pi) / s for s in (2, 4))
        contrast = np.abs(ratio(filtered(plain, two), filtered(plain, four), 1) - 1)
        masked.append(contrast**3 / (contrast**2 + 0.0001))
    a, b, fused = masked
    kept = [ratio(np.minimum(x, fused), np.maximum(x, fused), 1) for x in (a, b)]
    share = ratio(a**2, a**2 + b**2, 0.5)
    return float(np.mean(share * kept[0] + (1 - share) * kept[1]))


def qcv(a: np.ndarray, b: np.ndarray, fused: np.ndarray) -> float:
    a, b, fused = (stretched(image) for image in (a, b, fused))
    weights, distortions = [], []
    for source in (a, b):
        gx, gy = (
            cv2.Sobel(source, cv2.CV_64F, *order, borderType=cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED)
            for order in ((1, 0), (0, 1))
        )
        error = seen(source - fused, 1 / 4, lambda r: 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1)))
        for values, regions in ((np.hypot(gx, gy) ** 5, weights), (error**2, distortions)):
            padded = np.zeros((80, 80))
            padded[:HEIGHT, :WIDTH] = values
            regions += [padded[i : i + 16, j : j + 16].mean() for i in range(0, 80, 16) for j in range(0, 80, 16)]
    whole = sum(weights)
    return float(np.dot(weights, distortions) / whole if whole else np.mean(distortions))


@pytest.mark.parametrize("by_formula", [vif, viff, qcb, qcv])
@pytest.mark.parametrize("case", cases())
@pytest.mark.filterwarnings("error")
def test_the_value_is_that_of_the_formula(by_formula, case):
    triple = cases()[case]
    found = getattr(metrics, by_formula.__name__)(*triple)
    assert found.item() == pytest.approx(by_formula(*triple), rel=1e-8, abs=1e-9)


def test_a_source_without_detail_counts_as_kept_whatever_its_rounding():
    detail = cases()["textured"][0]
    for level in (0.0, 100.1, 254.7):
        assert metrics.vif(np.full_like(detail, level), detail, detail, EXACT).item() == pytest.approx(2)


@pytest.mark.parametrize("metric", [metrics.vif, metrics.viff])
def test_fidelity_needs_41_pixels(metric):
    images = [textured(seed, 41, 41) for seed in (1, 2, 3)]
    assert 0 < metric(*images).item() < 2
    with pytest.raises(ValueError, match="at least 41 x 41 pixels"):
        metric(*(image[:, 1:] for image in images))
