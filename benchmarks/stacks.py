"""Ways to fuse a stack of more than two images with a network made for two.

    python benchmarks/stacks.py --task multi-focus --pictures VISIBLE
    python benchmarks/stacks.py --task multi-exposure --pictures VAL

Focus stacks are made from sharp photographs: with a random smooth depth, every frame is in focus at another depth, with
a Gaussian blur that grows with the distance from it, and noise. The results are compared with the photograph: PSNR (dB)
and SSIM. Brackets are made from the folders under and over: both are converted to linear light with a gamma of 2.2,
brought to the same scale, merged, and exposed again in even steps from one to the other. They are scored by MEF-SSIM
over all frames (Ma et al., TIP 2015). All on the middle of the images, luminance only.

"spread" is the largest mean difference, in grey levels, between the results for the first two stacks and for the same
stacks in reversed order.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from refusion.images import read_picture
from refusion.inference.anchors import anchor_luminance
from refusion.inference.network import fuse_luminance
from refusion.inference.options import Options
from refusion.inference.stack import fuse_stack
from refusion.metrics.exposure import halve
from refusion.metrics.filters import filter_valid, gaussian, scatter
from refusion.models.model import ReFusion
from refusion.tasks import get_task

Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]
Frames = list[np.ndarray]
BLEND_WINDOW, FLOOR = 7, 1e-4


def in_order(fuse: Fuse, frames: Frames) -> np.ndarray:
    """One after the other, in the order given."""
    fused = frames[0]
    for frame in frames[1:]:
        fused = fuse(fused, frame)
    return fused


def by_brightness(fuse: Fuse, frames: Frames) -> np.ndarray:
    """One after the other, the darkest first."""
    return in_order(fuse, sorted(frames, key=np.mean))


def tree(fuse: Fuse, frames: Frames) -> np.ndarray:
    """Neighbours in brightness in pairs, then the results in pairs, and so on."""
    frames = sorted(frames, key=np.mean)
    while len(frames) > 1:
        pairs = [fuse(*frames[i : i + 2]) for i in range(0, len(frames) - 1, 2)]
        frames = pairs + frames[len(pairs) * 2 :]
    return frames[0]


def ends_tree(fuse: Fuse, frames: Frames) -> np.ndarray:
    """The darkest with the brightest, the next with the next, then the results likewise."""
    frames = sorted(frames, key=np.mean)
    while len(frames) > 1:
        half = len(frames) // 2
        pairs = [fuse(frames[i], frames[-1 - i]) for i in range(half)]
        frames = sorted(pairs + frames[half : len(frames) - half], key=np.mean)
    return frames[0]


def ends_first(fuse: Fuse, frames: Frames) -> np.ndarray:
    """The darkest with the brightest, then the others from the middle outwards."""
    frames = sorted(frames, key=np.mean)
    middle = sorted(frames[1:-1], key=lambda frame: abs(frame.mean() - 0.5))
    fused = fuse(frames[0], frames[-1])
    for frame in middle:
        fused = fuse(fused, frame)
    return fused


def share(fused: np.ndarray, frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Share of the frame in the result of fusing it with another, in a window around each pixel, in [0, 1]."""
    difference = frame - other

    def window(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (BLEND_WINDOW, BLEND_WINDOW), borderType=cv2.BORDER_REPLICATE)

    along, square = window(difference * (fused - other)), window(difference * difference)
    return np.clip((along + FLOOR / 2) / (square + FLOOR), 0, 1)


def preference(power: float) -> Callable[[Fuse, Frames], np.ndarray]:
    """Each frame against the mean of all; weights are its shares to this power, `inf` takes the largest."""

    def run(fuse: Fuse, frames: Frames) -> np.ndarray:
        mean = np.mean(frames, axis=0)
        total, weight = np.zeros_like(mean), np.full_like(mean, -1 if math.isinf(power) else 1e-9)
        for frame in frames:
            mine = share(fuse(frame, mean), frame, mean)
            if math.isinf(power):
                total = np.where(mine > weight, frame, total)
                weight = np.maximum(weight, mine)
            else:
                total, weight = total + mine**power * frame, weight + mine**power
        return total if math.isinf(power) else total / weight

    return run


def mertens(_: Fuse, frames: Frames) -> np.ndarray:
    """Exposure fusion of OpenCV, without a network."""
    # Grey images have no saturation to weight by.
    merged = cv2.createMergeMertens(1, 0, 1).process([cv2.merge([255 * frame] * 3) for frame in frames])
    return np.clip(merged[..., 0], 0, 1)


WAYS: dict[str, Callable[[Fuse, Frames], np.ndarray]] = {
    "as they come": in_order,
    "darkest first": by_brightness,
    "pairwise tree": tree,
    "tree from both ends": ends_tree,
    "both ends, then inwards": ends_first,
    "preference to the mean, power 2": preference(2),
    "preference to the mean, power 8": preference(8),
    "preference to the mean, largest": preference(math.inf),
    "Mertens, no network": mertens,
}


def middle(luminance: np.ndarray, size: int) -> np.ndarray:
    """The middle of an image, at most `size` on a side."""
    top, left = (max(0, (side - size) // 2) for side in luminance.shape)
    return np.ascontiguousarray(luminance[top : top + size, left : left + size])


def focus_stack(sharp: np.ndarray, count: int, rng: np.random.Generator) -> Frames:
    """Frames in focus at `count` depths of a random smooth scene."""
    depth = cv2.GaussianBlur(rng.standard_normal(sharp.shape).astype(np.float32), (0, 0), min(sharp.shape) / 8)
    depth = (depth - depth.min()) / np.ptp(depth)
    sigmas = np.linspace(0, 4, 17)
    blurred = np.stack([sharp] + [cv2.GaussianBlur(sharp, (0, 0), s) for s in sigmas[1:]])
    frames = []
    for focus in np.linspace(0, 1, count):
        place = np.clip(np.abs(depth - focus) * 16, 0, 15.999)
        low, part = place.astype(int), place % 1
        rows, columns = np.indices(sharp.shape)
        frame = blurred[low, rows, columns] * (1 - part) + blurred[low + 1, rows, columns] * part
        frames.append(as_shot(frame + 0.006 * rng.standard_normal(sharp.shape)))
    return frames


def bracket(under: np.ndarray, over: np.ndarray, count: int, rng: np.random.Generator) -> Frames:
    """Exposures in even steps between two real ones; the first and the last are these."""
    radiance, ratio = merged(under, over)
    frames = [under]
    for step in range(1, count - 1):
        exposed = np.clip(radiance * ratio ** (step / (count - 1)), 0, 1) ** (1 / 2.2)
        frames.append(as_shot(exposed + 0.004 * rng.standard_normal(under.shape)))
    return [*frames, over]


def merged(under: np.ndarray, over: np.ndarray) -> tuple[np.ndarray, float]:
    """Linear light of both exposures together, at the scale of the darker one, and the ratio of the exposures."""
    dark, bright = under**2.2, over**2.2
    good = (under > 0.05) & (under < 0.9) & (over > 0.05) & (over < 0.9)
    ratio = float(np.median(bright[good] / dark[good])) if good.sum() > 100 else float(bright.mean() / dark.mean())
    trust = np.clip((0.95 - over) / 0.25, 0, 1)
    return (1 - trust) * dark + trust * bright / ratio, ratio


def as_shot(luminance: np.ndarray) -> np.ndarray:
    """Eight bits."""
    return (np.rint(np.clip(luminance, 0, 1) * 255) / 255).astype(np.float32)


def mef_ssim_of_stack(frames: Frames, fused: np.ndarray) -> float:
    """MEF-SSIM as `refusion.metrics.fusion.mef_ssim`, for any number of sources."""
    sources = torch.from_numpy(np.rint(np.stack(frames) * 255)).double()[:, None]
    result = torch.from_numpy(np.rint(fused * 255)).double()[None, None]
    side, eps, c = 11, 2.0**-52, (0.03 * 255) ** 2
    box, window = [1.0] * side, gaussian(side, 1.5)
    quality, powers = 1.0, (0.0448, 0.2856, 0.3001)
    for scale, exponent in enumerate(powers):
        if scale:
            sources, result = halve(sources), halve(result)
        energy = scatter(sources, sources, box).clamp_min(0)
        summed = sources.sum(0, keepdim=True)
        joint = scatter(summed, summed, box).clamp_min(0).sqrt()
        consistency = ((joint + eps) / (energy.sqrt().sum(0) + eps)).clamp_max(1 - eps)
        contrast = energy.sqrt() + 0.001
        weights = (contrast / side) ** (consistency * (math.pi / 2)).tan().clamp_max(10) + eps
        weights = weights / weights.sum(0) / contrast
        desired = covariance = 0
        mixed = mixed_energy(sources, weights, box)
        scaled = weights * (contrast.amax(0) / mixed.clamp_min(1e-12).sqrt())
        for source, weight in zip(sources, scaled, strict=True):
            covariance = covariance + weight * scatter(source[None], result, window)
        desired = mixed_energy(sources, scaled, window)
        local = (2 * covariance + c) / (desired + scatter(result, result, window) + c)
        quality *= float(local.mean().clamp_min(0)) ** (exponent / sum(powers))
    return quality


def mixed_energy(sources: torch.Tensor, weights: torch.Tensor, window: list[float]) -> torch.Tensor:
    """Windowed energy of the weighted sum of patches, the weights being those of each window."""
    total = 0
    for i, first in enumerate(sources):
        for j, second in enumerate(sources[: i + 1]):
            term = weights[i] * weights[j] * scatter(first[None], second[None], window)
            total = total + (term if i == j else 2 * term)
    return total


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB, peak 1."""
    return -10 * math.log10(float(np.mean((a - b) ** 2)))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM with a Gaussian window of sigma 1.5."""
    x, y = (torch.from_numpy(v).double()[None, None] for v in (a, b))
    window = gaussian(11, 1.5)
    mean_x, mean_y = filter_valid(x, window), filter_valid(y, window)
    xx, yy, xy = scatter(x, x, window), scatter(y, y, window), scatter(x, y, window)
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * xy + c2)
    return float((top / ((mean_x**2 + mean_y**2 + c1) * (xx + yy + c2))).mean())


def stacks(task: str, folder: Path, count: int, size: int) -> list[tuple[Frames, np.ndarray | None]]:
    """The stacks, each with its ground truth if there is one."""
    rng = np.random.default_rng(0)
    made: list[tuple[Frames, np.ndarray | None]] = []
    if task == "multi-focus":
        for path in sorted(folder.iterdir()):
            sharp = middle(read_picture(path).luminance, size)
            made.append((focus_stack(sharp, count, rng), sharp))
        return made
    for path in sorted((folder / "under").iterdir()):
        under, over = (middle(read_picture(folder / f / path.name).luminance, size) for f in ("under", "over"))
        made.append((bracket(under, over, count, rng), None))
    return made


def main() -> None:
    """Print a table of all ways."""
    parser = argparse.ArgumentParser(description="Compare ways to fuse stacks.")
    parser.add_argument("--task", choices=["multi-focus", "multi-exposure"], required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of sharp images, or of under and over")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, default=160, help="side of the part that is used")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, "refusion, as it is"])
    args = parser.parse_args()
    task = get_task(args.task)
    model = ReFusion.from_pretrained(task.model)

    def fuse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return anchor_luminance(fuse_luminance(model, a, b), a, b, task.anchor)

    made = stacks(args.task, args.pictures, args.frames, args.size)

    def network(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return fuse_luminance(model, a, b)

    def shipped(_: Fuse, frames: Frames) -> np.ndarray:
        options = Options(output_range="network", anchor=task.anchor, chroma=task.chroma)
        return fuse_stack(model, frames, options, task).picture.luminance

    ways = {**WAYS, "refusion, as it is": shipped}
    metrics = ("PSNR", "SSIM") if args.task == "multi-focus" else ("MEF-SSIM",)
    print(f"| {len(made)} stacks of {args.frames} | " + " | ".join((*metrics, "spread")) + " |")
    print("| --- |" + " --- |" * (len(metrics) + 1))
    for name in args.ways or ways:
        scores, spreads = [], []
        # The preference is read from the network output, before the anchor.
        two = network if name.startswith("preference") else fuse
        for index, (frames, truth) in enumerate(made):
            result = ways[name](two, frames).astype(np.float32)
            if index < 2:
                spreads.append(255 * np.abs(ways[name](two, frames[::-1]) - result).mean())
            if truth is None:
                scores.append((mef_ssim_of_stack(frames, result),))
            else:
                scores.append((psnr(result, truth), ssim(result, truth)))
        means = [statistics.mean(column) for column in zip(*scores, strict=True)]
        print(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + f" | {max(spreads):.2f} |", flush=True)


if __name__ == "__main__":
    main()
