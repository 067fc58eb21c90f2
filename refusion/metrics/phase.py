"""Phase congruency, and the fusion metric based on it.

Images, conventions, shapes and errors are those of `refusion.metrics.fusion`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from refusion.metrics.conventions import REFUSION, Conventions
from refusion.metrics.filters import filter_same, gaussian
from refusion.metrics.inputs import GREY_LEVELS, ImageLike, read_images

SCALES, ORIENTATIONS = 4, 6
SHORTEST_WAVE, WAVE_FACTOR = 3.0, 2.1
BANDWIDTH, SPREAD = 0.55, math.pi / ORIENTATIONS / 1.2
NOISE_DEVIATIONS, NOISE_FACTOR = 2.0, 1.7
CUT_OFF, GAIN = 0.5, 10.0
FLOOR = 1e-4
"""Kovesi's parameters: scales, orientations; wavelengths in pixels; widths of filters; noise; frequency spread."""

FEATURE = 0.1
"""Phase congruency above which a pixel counts as a feature."""


def qp(
    a: ImageLike,
    b: ImageLike,
    fused: ImageLike,
    conventions: Conventions | str = REFUSION,
    *,
    data_range: float = GREY_LEVELS,
) -> Tensor:
    """Zhao's comparison of phase congruency; higher is better, 0 to 1 except for noise.

    The product of three mean correlations in Gaussian windows of 11 x 11: of phase congruency (4 scales, 6
    orientations), and of its largest and its smallest moment. At each pixel where a source has a feature (phase
    congruency above 0.1), the largest correlation counts, of the fused image with a, with b or with the source of the
    larger congruency. 0 where no source has a feature.

    Source: Zhao, Laganiere, Liu, International Journal of Innovative Computing, Information and Control 2007, with
    Kovesi's phase congruency (DICTA 2003). MEFB computes the same.
    """
    images = read_images(conventions, data_range, a=a, b=b, fused=fused)
    values = [_one(*(image[i, 0] for image in images)) for i in range(len(images[0]))]
    return torch.stack(values)


def _one(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    of_a, of_b, of_fused = (phase_congruency(image) for image in (a, b, fused))
    mask_a, mask_b = of_a.congruency > FEATURE, of_b.congruency > FEATURE
    first = of_a.congruency > of_b.congruency
    mask = mask_a | mask_b
    count = mask.sum()
    product = torch.ones((), dtype=a.dtype, device=a.device)
    for x, y, result in zip(of_a, of_b, of_fused, strict=True):
        larger = torch.where(first, x, y)
        references = torch.stack((mask_a * x, mask_b * y, mask * larger)).unsqueeze(1)
        similarity = _correlations(references, result.expand(1, 1, -1, -1)).squeeze(1)
        similarity = torch.where(torch.stack((mask_a, mask_b, mask)), similarity, 0.0)
        product = product * similarity.amax(dim=0).sum() / count
    return torch.where(count > 0, product, 0.0)


def _correlations(x: Tensor, y: Tensor) -> Tensor:
    """Correlation of images with another in Gaussian windows, with zero padding; that of flat windows is 1."""
    window, constant = gaussian(11, 1.5), 1e-4
    mean_x, mean_y = filter_same(x, window), filter_same(y, window)
    variance_x = filter_same(x.square(), window) - mean_x.square()
    variance_y = filter_same(y.square(), window) - mean_y.square()
    covariance = filter_same(x * y, window) - mean_x * mean_y
    return (covariance + constant) / ((variance_x * variance_y).abs().sqrt() + constant)


class Congruency(NamedTuple):
    """Phase congruency (H, W), 0 to 1, and the moments of its covariance over orientations."""

    congruency: Tensor
    largest: Tensor
    smallest: Tensor


def phase_congruency(image: Tensor) -> Congruency:
    """Phase congruency of an image (H, W) of grey levels.

    Source: Kovesi, Phase Congruency Detects Corners and Edges, DICTA 2003.
    """
    filters = _filters(*image.shape, image.device)
    # Single precision suffices here, and halves the time.
    spectrum = torch.fft.fft2(image.contiguous()).to(torch.complex64)
    energies = amplitudes = torch.zeros_like(image, dtype=torch.float32)
    xx = yy = xy = energies
    for orientation, (bank, noise) in enumerate(zip(filters.banks, filters.noise, strict=True)):
        responses = [torch.fft.ifft2(spectrum * one) for one in bank]
        sizes = [response.abs() for response in responses]
        amplitude = sum(sizes[1:], sizes[0])
        vector = sum(responses[1:], responses[0])
        # Of each response, the component along the direction of their sum is added, that across it subtracted.
        direction = vector / (vector.abs() + FLOOR)
        energy = torch.zeros_like(amplitude)
        for response in responses:
            turned = response * direction.conj()
            energy += turned.real - turned.imag.abs()
        rayleigh = (_median(sizes[0]) ** 2 / math.log(2) * noise).sqrt()
        threshold = rayleigh * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)) / NOISE_FACTOR
        largest = torch.maximum(torch.maximum(sizes[0], sizes[1]), torch.maximum(sizes[2], sizes[3]))
        spread = amplitude / (largest + FLOOR) / SCALES
        energy = (energy - threshold).clamp_min(0) * torch.sigmoid(GAIN * (spread - CUT_OFF))
        energies, amplitudes = energies + energy, amplitudes + amplitude
        congruency = torch.where(amplitude > 0, energy / amplitude, 0.0)
        angle = orientation * math.pi / ORIENTATIONS
        x, y = congruency * math.cos(angle), congruency * math.sin(angle)
        xx, yy, xy = xx + x * x, yy + y * y, xy + x * y
    energies, amplitudes, xx, yy, xy = (part.double() for part in (energies, amplitudes, xx, yy, xy))
    xx, yy, xy = xx * 2 / ORIENTATIONS, yy * 2 / ORIENTATIONS, xy / ORIENTATIONS
    difference = (xy.square() + (xx - yy).square()).sqrt() + FLOOR
    return Congruency(energies / (amplitudes + FLOOR), (yy + xx + difference) / 2, (yy + xx - difference) / 2)


class _Filters(NamedTuple):
    banks: list[Tensor]
    """For each orientation, the filters of all scales, (SCALES, H, W)."""
    noise: list[float]
    """For each orientation, the energy of noise in all scales over its power in the first."""


def _median(x: Tensor) -> Tensor:
    """The median; of an even number of values the mean of the middle two (torch returns the lower one)."""
    count = x.numel()
    lower, upper = (x.flatten().kthvalue(place).values for place in ((count + 1) // 2, count // 2 + 1))
    return (lower + upper) / 2


@lru_cache(maxsize=2)
def _filters(height: int, width: int, device: torch.device) -> _Filters:
    y, x = torch.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    radius = (x.square() + y.square()).sqrt()
    angle = torch.atan2(-y, x)
    radius[0, 0] = 1
    rows, columns = torch.fft.fftfreq(height, dtype=x.dtype), torch.fft.fftfreq(width, dtype=x.dtype)
    low_pass = 1 / (1 + ((rows.unsqueeze(1).square() + columns.square()).sqrt() / 0.45) ** 30)
    radial = []
    for scale in range(SCALES):
        wave = SHORTEST_WAVE * WAVE_FACTOR**scale
        radial.append((-((radius * wave).log() ** 2) / (2 * math.log(BANDWIDTH) ** 2)).exp() * low_pass)
        radial[-1][0, 0] = 0
    banks, noise = [], []
    for orientation in range(ORIENTATIONS):
        turned = angle - orientation * math.pi / ORIENTATIONS
        away = torch.atan2(turned.sin(), turned.cos())
        bank = torch.stack(radial) * (-away.square() / (2 * SPREAD**2)).exp()
        # The even part in space is the even part in frequency; energies are equal in both (Parseval).
        whole = bank.sum(dim=0)
        even = (whole + whole.flip(0, 1).roll((1, 1), (0, 1))) / 2
        noise.append((even.square().sum() / bank[0].square().sum()).item())
        banks.append(bank.to(device, torch.float32))
    return _Filters(banks, noise)


def _frequencies(length: int) -> Tensor:
    """Frequencies in the order of the FFT, -0.5 to 0.5; Kovesi scales those of an odd length to the same range."""
    steps = torch.arange(length, dtype=torch.float64) - length // 2
    return torch.fft.ifftshift(steps / (length - length % 2))
