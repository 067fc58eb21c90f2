"""Make the example pairs that come from photographs, from a brain template, and from further rendered scenes.

Usage: python make_photo_examples.py [--out FOLDER]
Needs what make_examples.py needs, scikit-image (photographs and a phantom come with it), opencv-python, and the data
files of the packages scikit-learn and nilearn, which are looked for where they are installed; neither is imported.

Focus and exposure are computed from one sharp photograph: the blur is that of a lens, in linear light; an exposure is
scaled linear light, clipped. examples.json says where each image comes from.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from make_examples import (
    HEIGHT,
    WIDTH,
    Board,
    blur,
    blur_by_depth,
    disc_blur,
    fractal,
    leaves,
    noise,
    person,
    pet_colours,
    shade,
    spot,
    street,
    to_linear,
    to_srgb,
)
from PIL import Image
from skimage import data

Pair = tuple[np.ndarray, np.ndarray]
QUALITY = 92


def sample(package: str, path: str) -> Path:
    """A data file of an installed package, without importing the package."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"This needs the data files of {package}: pip install --no-deps {package}")
    return Path(next(iter(found.submodule_search_locations))) / path


def photograph(name: str, box: tuple[int, int, int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """A photograph in linear light, cropped to a box (left, top, right, bottom) and scaled."""
    if name in ("china", "flower"):
        image = Image.open(sample("sklearn", f"datasets/images/{name}.jpg"))
    else:
        image = Image.fromarray(getattr(data, name)())
    return to_linear(np.asarray(image.crop(box).resize(size, Image.Resampling.LANCZOS), dtype=np.float64) / 255)


# ------------------------------------------------------------------------------------------------ infrared and visible


def smoke(rng: np.random.Generator) -> Pair:
    """The street in smoke: what is behind it is seen by its heat only."""
    infrared, visible = street(rng)
    rows = np.arange(HEIGHT)[:, None]
    veil = 0.86 + 0.16 * fractal(rng, (HEIGHT, WIDTH), 110, 5)
    veil = np.clip(veil * spot(330, 205, 190, 120) * 1.25 + 0.2 * np.clip((290 - rows) / 120, 0, 1), 0, 0.97)[..., None]
    light = to_srgb(np.array([0.4, 0.4, 0.42]) * (1 + 0.12 * fractal(rng, (HEIGHT, WIDTH), 60, 5))[..., None])
    return infrared, visible * (1 - veil) + light * veil


def night(rng: np.random.Generator) -> Pair:
    """The street at night, in the beam of a car: glare beside black."""
    infrared, visible = street(rng)
    light = to_linear(np.clip(visible, 0, 1)) * 0.16
    lamps = np.maximum(to_linear(np.clip(visible, 0, 1)) - 0.55, 0)
    light += 1.2 * lamps + 0.9 * blur(lamps, 12) + 0.5 * blur(lamps, 40)
    shot = to_srgb(light + 2e-4) + 0.012 * rng.standard_normal((HEIGHT, WIDTH, 3))
    return infrared, shot


def forest(rng: np.random.Generator) -> Pair:
    """A path in a wood by day: three people in the colours of the leaves."""
    board = Board(WIDTH, HEIGHT, (176, 198, 206), 40)
    board.rect((0, 150, WIDTH, HEIGHT), (86, 84, 52), 70)
    for _ in range(9):  # far wood, pale
        leaves(board, rng, (rng.uniform(0, WIDTH), rng.uniform(70, 150), 70, 46), 260, (128, 150, 118), 56)
    for _ in range(1400):  # litter on the ground
        y = 150 + 210 * rng.uniform() ** 0.8
        tone = shade((120, 98, 58), rng.uniform(0.5, 1.2))
        board.oval(rng.uniform(0, WIDTH), y, 1 + (y - 150) / 55, 0.6 + (y - 150) / 130, tone, int(rng.integers(62, 84)))
    board.poly([(236, 152), (256, 152), (372, HEIGHT), (150, HEIGHT)], (158, 140, 108), 92)
    for _ in range(420):
        y = 154 + 206 * rng.uniform()
        half = 10 + (y - 152) * 0.53
        x = 250 + rng.uniform(-1, 1) * half + (y - 152) * 0.06
        board.oval(x, y, 0.6 + (y - 150) / 70, 0.5 + (y - 150) / 120, shade((150, 132, 100), rng.uniform(0.7, 1.2)))
    for x, base, width in ((60, 190, 15), (132, 172, 9), (318, 178, 10), (352, 210, 17), (190, 162, 6), (420, 186, 12)):
        board.rect((x - width / 2, 0, x + width / 2, base), shade((84, 66, 48), rng.uniform(0.8, 1.2)), 80)
        for _ in range(int(4 * width)):
            y = rng.uniform(0, base - 6)
            u = x + rng.uniform(-0.45, 0.45) * width
            board.line([(u, y), (u + rng.uniform(-1, 1), y + rng.uniform(4, 12))], 1, (58, 46, 34))
    person(board, (196, 214), 62, (92, 96, 56), True)
    person(board, (392, 262), 104, (84, 92, 50), False)
    person(board, (108, 246), 86, (104, 92, 54), False)
    for x, y, size in ((86, 236, 30), (414, 252, 38), (456, 232, 50), (20, 250, 54), (180, 214, 14), (330, 214, 22)):
        leaves(board, rng, (x, y, size, 0.55 * size), 26 * size, (88, 104, 50), 68)
    for x in range(-10, 500, 46):  # crowns above
        leaves(board, rng, (x, rng.uniform(0, 26), 50, 34), 420, (96, 122, 54), 60)
    albedo, heat = board.arrays()
    dapple = 0.5 + 0.55 * np.clip(0.5 + fractal(rng, (HEIGHT, WIDTH), 26, 4), 0, 1.6)
    visible = to_linear(albedo) * dapple[..., None] * np.array([1.0, 1.0, 0.86])
    infrared = blur(heat, 0.9) + 0.02 * fractal(rng, (HEIGHT, WIDTH), 20) + 0.012 * noise(rng, (HEIGHT, WIDTH), 1.4)
    return infrared, to_srgb(visible) + 0.006 * rng.standard_normal((HEIGHT, WIDTH, 1))


# ------------------------------------------------------------------------------------------------ medical


def volume(kind: str) -> np.ndarray:
    """A volume of the template, (x, y, z) in millimetres, 0..1: ``t1``, or the share of ``gm`` or ``wm``."""
    name = f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    raw = gzip.decompress(sample("nilearn", name).read_bytes())
    shape, start = np.frombuffer(raw[42:48], "<i2"), int(np.frombuffer(raw[108:112], "<f4")[0])
    return np.frombuffer(raw[start:], np.uint8).reshape(shape, order="F") / 255


def brain(axis: int, index: int, lesion: tuple[int, int, int] | None) -> Pair:
    """A slice of the T1 template, and an uptake simulated from its tissues: grey matter takes up four times as much."""
    t1, uptake = volume("t1"), volume("gm") + 0.25 * volume("wm")
    for side in range(3):
        uptake = cv2_blur(uptake, 2.2, side)
    if lesion is not None:
        grid = np.ogrid[tuple(slice(n) for n in uptake.shape)]
        uptake = uptake + 0.9 * np.exp(-sum(((g - c) / 8.0) ** 2 for g, c in zip(grid, lesion, strict=True)))

    def cut(field: np.ndarray) -> np.ndarray:
        plane = np.take(field, index, axis=axis).T[::-1]
        height, width = plane.shape
        side = max(plane.shape) + 8
        square = np.zeros((side, side))
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = plane
        return np.asarray(Image.fromarray(square.astype(np.float32)).resize((384, 384), Image.Resampling.BICUBIC))

    return pet_colours(np.clip(cut(uptake) * 1.15, 0, 1)), np.clip(cut(t1), 0, 1)


def cv2_blur(field: np.ndarray, sigma: float, axis: int) -> np.ndarray:
    """Gaussian blur along one axis."""
    moved = np.moveaxis(field, axis, 0)
    flat = moved.reshape(moved.shape[0], -1).astype(np.float32)
    return np.moveaxis(cv2.GaussianBlur(flat, (1, 0), sigmaX=0.01, sigmaY=sigma).reshape(moved.shape), 0, axis)


def phantom(rng: np.random.Generator) -> Pair:
    """The Shepp-Logan phantom as CT sees it (bone) and as MRI does (soft tissue)."""
    grey = np.asarray(Image.fromarray(data.shepp_logan_phantom().astype(np.float32)).resize((384, 384)))
    bone, inside = grey > 0.65, cv2.GaussianBlur(grey, (0, 0), 0.8)
    ct = np.where(bone, 1.0, 0.36 * (inside > 0.05) + 0.1 * inside)
    mri = np.where(bone, 0.05, np.clip(inside * 2.1, 0, 1))
    rim = cv2.dilate(bone.astype(np.float32), np.ones((5, 5))) > 0
    mri = np.where(rim & ~bone & (inside < 0.1), 0.55, mri)  # the scalp
    return tuple(
        np.clip(cv2.GaussianBlur(x, (0, 0), 0.9) + 0.012 * rng.standard_normal(x.shape) * (grey > 0.02), 0, 1)
        for x in (ct, mri)
    )


# ------------------------------------------------------------------------------------------------ multi-focus


def cut_out(linear: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Where the subject in a box (left, top, right, bottom) is, 0..1."""
    image = np.uint8(255 * to_srgb(linear))[..., ::-1].copy()
    mask = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = cv2.GC_PR_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(1)
    cv2.grabCut(image, mask, None, *models, 6, cv2.GC_INIT_WITH_MASK)
    found = np.uint8(np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, sizes, _ = cv2.connectedComponentsWithStats(found)
    largest = 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA])) if count > 1 else 0
    holes = cv2.morphologyEx(np.uint8(parts == largest), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return cv2.GaussianBlur(holes.astype(np.float64), (0, 0), 0.8)


def subject(linear: np.ndarray, box: tuple[int, int, int, int], rng: np.random.Generator) -> Pair:
    """Focus on a subject, and on what is behind it."""
    cover = cut_out(linear, box)[..., None]
    hidden = cv2.inpaint(
        np.uint8(255 * to_srgb(linear)),
        np.uint8(cv2.dilate(cover[..., 0], np.ones((9, 9))) > 0.05),
        9,
        cv2.INPAINT_TELEA,
    )
    behind = linear * (1 - cover) + to_linear(hidden / 255.0) * cover
    near = linear * cover + (1 - cover) * disc_blur(behind, 5)
    far = disc_blur(linear * cover, 5) + (1 - disc_blur(cover, 5)) * behind
    return grit(near, rng), grit(far, rng)


def slope(linear: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> Pair:
    """Focus on where a depth is 0, and on where it is 1."""
    return grit(blur_by_depth(linear, 6 * depth), rng), grit(blur_by_depth(linear, 6 * (1 - depth)), rng)


def grit(linear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a sensor adds, and the response of sRGB."""
    return to_srgb(linear) + 0.004 * rng.standard_normal((*linear.shape[:2], 1))


def down(height: int = HEIGHT, width: int = WIDTH, start: float = 0.4, end: float = 0.75) -> np.ndarray:
    """A plane that comes nearer towards the bottom: 1 far, 0 near."""
    rows = np.linspace(0, 1, height)[:, None] * np.ones(width)
    return np.clip((end - rows) / (end - start), 0, 1)


# ------------------------------------------------------------------------------------------------ multi-exposure


def brackets(linear: np.ndarray, stops: float, rng: np.random.Generator, normal: float = 0.0) -> Pair:
    """Two exposures of one scene, so many stops below and above a normal one."""
    return tuple(
        to_srgb(
            np.clip(light + np.sqrt(2e-5 * light + 3e-7) * rng.standard_normal(light.shape), 0, 1)  # photons, read-out
        )
        for light in (linear * 2.0 ** (normal - stops), linear * 2.0 ** (normal + stops))
    )


def main() -> None:
    """Make every pair, write it as JPEG, and draw the thumbnails of all that examples.json names."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Make the example pairs of the demo that are not only rendered.")
    parser.add_argument("--out", type=Path, default=here, help="folder for the files")
    parser.add_argument("--thumbnails", action="store_true", help="only draw the thumbnails again")
    args = parser.parse_args()
    if not args.thumbnails:
        make(args.out)
    thumbnails(here, args.out)


def make(out: Path) -> None:
    """Write every pair."""
    rng = np.random.default_rng
    coffee, cat = photograph("coffee", (20, 0, 553, 400)), photograph("chelsea", (25, 0, 425, 300))
    astronaut = photograph("astronaut", (0, 0, 512, 384))
    flower, china = photograph("flower", (40, 0, 609, 427)), photograph("china", (40, 0, 609, 427))
    rocket = photograph("rocket", (40, 0, 609, 427))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    face = np.clip(np.hypot((columns - 165) / 210, (rows - 190) / 190) * 1.5 - 0.45, 0, 1)
    pairs = {
        "ir-vis-forest": forest(rng(51)),
        "ir-vis-smoke": smoke(rng(11)),
        "ir-vis-night": night(rng(11)),
        "medical-axial": brain(2, 82, None),
        "medical-lesion": brain(2, 104, (128, 150, 104)),
        "medical-coronal": brain(1, 118, None),
        "medical-phantom": phantom(rng(61)),
        "multi-focus-flower": subject(flower, (150, 10, 420, 350), rng(71)),
        "multi-focus-astronaut": subject(astronaut, (70, 4, 400, 360), rng(72)),
        "multi-focus-coffee": slope(coffee, down(start=0.35, end=0.8), rng(73)),
        "multi-focus-cat": slope(cat, face, rng(74)),
        "multi-exposure-temple": brackets(china, 2.2, rng(81)),
        "multi-exposure-launch": brackets(rocket, 2.2, rng(82)),
        "multi-exposure-astronaut": brackets(astronaut, 2.0, rng(84)),
    }
    for name, pair in pairs.items():
        for side, image in zip("ab", pair, strict=True):
            path = out / f"{name}_{side}.jpg"
            levels = np.uint8(np.round(255 * np.clip(image, 0, 1)))
            Image.fromarray(levels).save(path, quality=QUALITY, subsampling=0, optimize=True)
            print(f"{path.name}: {path.stat().st_size // 1024} KB")


def thumbnails(here: Path, out: Path) -> None:
    """One small picture of each example: the first source above the diagonal, the last one below it."""
    width, height = 200, 150
    rows, columns = np.mgrid[:height, :width]
    mask = Image.fromarray(np.uint8(255 * (rows / height + columns / width > 1)))
    (out / "thumbnails").mkdir(exist_ok=True)
    for example in json.loads((here / "examples.json").read_text()):
        first, last = (
            cover(Image.open(here / name), width, height) for name in (example["files"][0], example["files"][-1])
        )
        first.paste(last, mask=mask)
        path = out / "thumbnails" / f"{example['name']}.webp"
        first.save(path, quality=80)
        print(f"{path.name}: {path.stat().st_size // 1024} KB")


def cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of an image, in this size."""
    scale = max(width / image.width, height / image.height)
    wide, high = round(image.width * scale), round(image.height * scale)
    left, top = (wide - width) // 2, (high - height) // 2
    resized = image.convert("RGB").resize((wide, high), Image.Resampling.LANCZOS)
    return resized.crop((left, top, left + width, top + height))


if __name__ == "__main__":
    sys.exit(main())
