"""Render examples of the demo: a registered pair per task, and stacks, from code alone, the same at every run.

Usage: python make_examples.py [--out FOLDER] [--only ir-vis medical multi-focus focus-stack multi-exposure]
Needs numpy, scipy and pillow (with FreeType, for the lettering in pillow's own default font).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

WIDTH, HEIGHT, MEDICAL_SIZE = 480, 360, 256
SS = 3  # everything is drawn this many times enlarged, then averaged down

Colour = tuple[int, int, int]
Point = tuple[float, float]

TITLES = ["OPTICS", "LIGHT", "WAVES", "ATLAS", "POEMS", "NOTES", "LENS", "DEPTH", "GARDEN", "RIVERS", "BIRDS", "MAPS"]
CLOTH = [(150, 52, 44), (36, 72, 110), (206, 170, 92), (52, 92, 70), (98, 60, 96), (222, 212, 188), (60, 58, 66)]


# ------------------------------------------------------------------------------------------------ drawing and light


class Board:
    """A colour picture and a grey `side` picture (heat, coverage or light source), drawn with the same strokes.

    Coordinates are final pixels. In each stroke, a colour or side value of None leaves that picture as it is.
    """

    def __init__(self, width: int, height: int, colour: Colour = (0, 0, 0), side: int = 0) -> None:
        self.rgb = Image.new("RGB", (width * SS, height * SS), colour)
        self.side = Image.new("L", self.rgb.size, side)

    def _each(self, colour: Colour | None, side: int | None) -> list[tuple[ImageDraw.ImageDraw, Colour | int]]:
        pairs = [(self.rgb, colour), (self.side, side)]
        return [(ImageDraw.Draw(image), value) for image, value in pairs if value is not None]

    def poly(self, points: list[Point], colour: Colour | None, side: int | None = None) -> None:
        """Fill a polygon."""
        for draw, value in self._each(colour, side):
            draw.polygon([(x * SS, y * SS) for x, y in points], fill=value)

    def rect(self, box: tuple, colour: Colour | None, side: int | None = None, radius: float = 0) -> None:
        """Fill a rectangle (left, top, right, bottom), with round corners where radius is above 0."""
        left, top, right, bottom = (v * SS for v in box)
        for draw, value in self._each(colour, side):
            draw.rounded_rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), radius * SS, fill=value)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour | None, side: int | None = None) -> None:
        """Fill an ellipse given by its centre and half axes."""
        for draw, value in self._each(colour, side):
            draw.ellipse([v * SS for v in (x - rx, y - ry, x + rx, y + ry)], fill=value)

    def line(self, points: list[Point], width: float, colour: Colour | None, side: int | None = None) -> None:
        """Draw a line with round ends and joints."""
        for draw, value in self._each(colour, side):
            draw.line([(x * SS, y * SS) for x, y in points], fill=value, width=max(1, round(width * SS)))
        for x, y in points:
            self.oval(x, y, width / 2, width / 2, colour, side)

    def text(self, x: float, y: float, string: str, size: float, colour: Colour, upright: bool = False) -> None:
        """Write centred on (x, y); `upright` turns the line by 90 degrees, as on the spine of a book."""
        font = ImageFont.load_default(size * SS)
        left, top, right, bottom = (round(v) for v in font.getbbox(string))
        stencil = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(stencil).text((-left, -top), string, fill=255, font=font)
        stencil = stencil.transpose(Image.Transpose.ROTATE_270) if upright else stencil
        self.rgb.paste(colour, (round(x * SS - stencil.width / 2), round(y * SS - stencil.height / 2)), stencil)

    def place(self, other: Board, quad: list[Point]) -> None:
        """Lay another board into a quadrilateral (top left, top right, bottom right, bottom left), in perspective."""
        width, height = other.rgb.size
        rows, values = [], []
        for (x, y), (u, v) in zip(quad, [(0, 0), (width, 0), (width, height), (0, height)], strict=True):
            x, y = x * SS, y * SS
            rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
            values += [u, v]
        args = (self.rgb.size, Image.Transform.PERSPECTIVE, np.linalg.solve(rows, values), Image.Resampling.BICUBIC)
        cover = Image.new("L", other.rgb.size, 255).transform(*args)
        self.rgb.paste(other.rgb.transform(*args), mask=cover)
        self.side.paste(other.side.transform(*args), mask=cover)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) and side (H, W) in 0..1, averaged down to final pixels."""
        small = [np.asarray(image.reduce(SS), dtype=np.float64) / 255 for image in (self.rgb, self.side)]
        return small[0], small[1]


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float] | float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1; `cell` is the size of its spots in pixels (down, across)."""
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    grid = rng.standard_normal((max(2, round(shape[0] / down) + 1), max(2, round(shape[1] / across) + 1)))
    picture = Image.fromarray(grid.astype(np.float32)).resize(shape[::-1], Image.Resampling.BICUBIC)
    field = np.asarray(picture, dtype=np.float64)
    return (field - field.mean()) / field.std()


def fractal(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 4) -> np.ndarray:
    """Sum of smooth noises, each half the size and 0.6 times the weight of the one before."""
    field = sum(0.6**k * noise(rng, shape, cell / 2**k) for k in range(octaves))
    return field / field.std()


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur over the two picture axes."""
    return ndimage.gaussian_filter(image, (sigma, sigma) + (0,) * (image.ndim - 2), mode="nearest")


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """The sRGB values in 0..1 of linear light, clipped."""
    light = np.clip(linear, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def shade(colour: Colour, factor: float) -> Colour:
    """A colour made darker or lighter."""
    return tuple(min(255, max(0, round(c * factor))) for c in colour)


def spot(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """A soft round spot of height 1 on the full picture."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.exp(-(((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2))


def leaves(board: Board, rng: np.random.Generator, crown: tuple, count: int, colour: Colour, side: int | None) -> None:
    """Fill an oval (x, y, rx, ry) with tufts of small leaves, lit from the upper left."""
    x0, y0, rx, ry = crown
    for _ in range(count):
        angle, radius = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 1)) * rng.uniform(0.8, 1.08)
        dx, dy = radius * math.cos(angle), radius * math.sin(angle)
        size = rng.uniform(0.6, 1.4) * (0.8 + 0.012 * (rx + ry))
        lit = rng.uniform(0.45, 1.1) * (1 - 0.3 * dx - 0.4 * dy)
        heat = None if side is None else round(side * rng.uniform(0.88, 1.1))
        board.oval(x0 + dx * rx, y0 + dy * ry, size, size * rng.uniform(0.5, 1), shade(colour, lit), heat)


# ------------------------------------------------------------------------------------- infrared and visible: a street

VANISH, FOCAL, EYE = (274.0, 178.0), 400.0, 2.2  # vanishing point, focal length in pixels, eye height in metres
SKYLINE = ((170, 138, 44), (210, 124, 32), (238, 142, 40), (274, 130, 34), (304, 144, 70), (374, 150, 106))


def ground(x: float, z: float, up: float = 0) -> Point:
    """Picture position of a point x metres to the right, z metres ahead and `up` metres above the road."""
    return VANISH[0] + FOCAL * x / z, VANISH[1] + FOCAL * (EYE - up) / z


def patch(x0: float, x1: float, z0: float, z1: float) -> list[Point]:
    """A rectangle that lies on the ground, as it is seen."""
    return [ground(x0, z1), ground(x1, z1), ground(x1, z0), ground(x0, z0)]


def facade(rng: np.random.Generator, lights: Board) -> Board:
    """The brick house seen straight on, 16 x 7.2 m at 50 pixels a metre; what shines goes onto `lights`."""
    m, wall = 50, Board(800, 360, (92, 82, 76), 84)
    for row, y in enumerate(np.arange(0, 7.2, 0.12)):
        for x in np.arange(-0.15 * (row % 2), 16, 0.3):
            tone = shade((134, 84, 68), rng.uniform(0.8, 1.16))
            wall.rect((x * m + 0.8, y * m + 0.8, (x + 0.3) * m, (y + 0.12) * m), tone, 88)
    for floor, bottom in ((0, 3.0), (1, 6.6)):
        for k, x in enumerate((0.9, 3.4, 5.9, 8.4, 10.9, 13.4)):
            if floor and k < 3:
                continue
            top, left, right = bottom - 1.9, x, x + 1.25
            wall.rect((left * m - 7, top * m - 12, right * m + 7, bottom * m + 9), (186, 176, 160), 96)
            lit = (floor, k) in {(0, 1), (0, 4), (1, 5)}
            for i in range(2):
                for j in range(3):
                    pane = (left * m + 32 * i, top * m + 32 * j, left * m + 32 * i + 28, top * m + 32 * j + 28)
                    wall.rect(pane, (40, 46, 60), 138 if lit else 120)
                    lights.rect(pane, shade((255, 196, 108), 0.75 + 0.1 * j) if lit else (0, 0, 0))
    wall.rect((0, 3.3 * m, 16 * m, 3.45 * m), (168, 160, 148), 96)  # ledge
    wall.rect((0.9 * m, 3.55 * m, 5.7 * m, 4.4 * m), (196, 176, 126), 92)  # shop sign
    wall.rect((0.97 * m, 3.62 * m, 5.63 * m, 4.33 * m), (22, 70, 58), 92)
    wall.text(3.3 * m, 3.97 * m, "BOOKSHOP", 40, (248, 234, 190))
    for x in (1.6, 3.3, 5.0):  # lamps over the sign
        wall.line([(x * m, 3.3 * m), (x * m, 3.5 * m)], 3, (40, 40, 40), 96)
        wall.oval(x * m, 3.5 * m, 7, 4, (255, 226, 170), 230)
        lights.oval(x * m, 3.5 * m, 7, 4, (255, 226, 170), 140)
    wall.rect((0.9 * m, 4.6 * m, 4.7 * m, 6.6 * m), (66, 50, 40), 96)  # shop window with shelves of books
    wall.rect((1.0 * m, 4.7 * m, 4.6 * m, 6.5 * m), (46, 42, 40), 132)
    for shelf in (5.25, 5.85, 6.45):
        for x in np.arange(1.05, 4.5, 0.11):
            tone = shade(CLOTH[rng.integers(len(CLOTH))], 0.5)
            wall.rect((x * m, (shelf - rng.uniform(0.3, 0.45)) * m, (x + 0.1) * m, shelf * m), tone)
        wall.rect((1.0 * m, shelf * m, 4.6 * m, (shelf + 0.06) * m), (40, 34, 30))
    wall.rect((2.76 * m, 4.7 * m, 2.84 * m, 6.5 * m), (66, 50, 40), 100)
    wall.rect((5.1 * m, 4.7 * m, 6.2 * m, 7.2 * m), (92, 44, 38), 104)  # door
    wall.rect((5.25 * m, 4.9 * m, 6.05 * m, 5.8 * m), (52, 58, 66), 122)
    for left, right in ((0, 5.1), (6.2, 16)):
        wall.rect((left * m, 6.85 * m, right * m, 7.2 * m), (104, 100, 98), 92)
    return wall


def person(board: Board, foot: Point, height: float, coat: Colour, walking: bool) -> None:
    """A standing or walking person; head and hands are hottest, the coat and the legs less so."""
    h, (x0, y0) = height, foot

    def at(x: float, y: float) -> Point:
        return x0 + x * h, y0 - y * h

    legs = [((0.0, 0.5), (0.1, 0.27), (0.15, 0.02)), ((0.0, 0.5), (-0.03, 0.26), (-0.16, 0.05))]
    arms = [((0.03, 0.78), (-0.09, 0.62), (-0.05, 0.47)), ((-0.02, 0.78), (0.08, 0.61), (0.16, 0.51))]
    if not walking:
        legs = [((s * 0.055, 0.5), (s * 0.065, 0.26), (s * 0.07, 0.02)) for s in (-1, 1)]
        arms = [((s * 0.11, 0.78), (s * 0.145, 0.62), (s * 0.13, 0.46)) for s in (-1, 1)]
    shoulder, hip = (0.075, 0.07) if walking else (0.13, 0.09)
    for leg in legs:
        board.line([at(*leg[0]), at(*leg[1])], 0.095 * h, shade(coat, 0.7), 196)
        board.line([at(*leg[1]), at(*leg[2])], 0.07 * h, shade(coat, 0.65), 186)
        board.line([at(*leg[2]), at(leg[2][0] + (0.05 if walking else 0), leg[2][1])], 0.05 * h, (14, 13, 14), 150)
    board.line([at(*arms[1][0]), at(*arms[1][1]), at(*arms[1][2])], 0.055 * h, shade(coat, 0.9), 204)
    outline = [(-shoulder, 0.79), (-0.04, 0.835), (0.04, 0.835), (shoulder, 0.79), (hip, 0.6), (hip + 0.01, 0.44)]
    board.poly([at(*p) for p in [*outline, (-hip - 0.01, 0.44), (-hip, 0.6)]], coat, 214)
    board.line([at(*arms[0][0]), at(*arms[0][1]), at(*arms[0][2])], 0.058 * h, shade(coat, 1.15), 208)
    for arm in arms:
        board.oval(*at(*arm[2]), 0.026 * h, 0.03 * h, (120, 92, 78), 240)
    board.line([at(0, 0.8), at(0.01, 0.87)], 0.06 * h, (110, 84, 72), 242)
    board.oval(*at(0.012, 0.925), 0.055 * h, 0.072 * h, (116, 88, 76), 252)
    board.poly([at(-0.045, 0.93), at(-0.03, 0.99), at(0.02, 1.005), at(0.062, 0.96)], (26, 22, 22), 214)


def car(board: Board, lights: Board, x: float, z: float) -> None:
    """A car that comes towards the viewer; engine, grille and wheels are hot, the wind-screen mirrors the cold sky."""

    def at(dx: float, up: float) -> Point:
        return ground(x + dx, z, up)

    k = FOCAL / z
    board.poly([at(-1, 0.03), at(1, 0.03), at(0.95, 0.3), at(-0.95, 0.3)], (10, 10, 12), 128)
    for s in (-1, 1):
        board.rect((*at(s * 0.73 - 0.14, 0.5), *at(s * 0.73 + 0.14, 0.0)), (16, 16, 18), 206, 2)
    board.poly([at(-0.62, 1.46), at(0.62, 1.46), at(0.8, 0.95), at(-0.8, 0.95)], (92, 30, 34), 112)
    board.poly([at(-0.56, 1.4), at(0.56, 1.4), at(0.7, 0.98), at(-0.7, 0.98)], (34, 42, 52), 58)
    board.rect((*at(-0.9, 0.98), *at(0.9, 0.22)), (104, 32, 36), 150, 0.12 * k)
    board.poly([at(-0.76, 0.97), at(0.76, 0.97), at(0.84, 0.72), at(-0.84, 0.72)], (128, 42, 44), 218)
    board.rect((*at(-0.45, 0.68), *at(0.45, 0.46)), (22, 22, 24), 246, 2)
    board.rect((*at(-0.26, 0.42), *at(0.26, 0.3)), (196, 196, 186), 170)
    for s in (-1, 1):
        board.oval(*at(s * 0.96, 1.0), 0.1 * k, 0.07 * k, (80, 26, 30), 110)
        board.oval(*at(s * 0.68, 0.62), 0.15 * k, 0.1 * k, (220, 220, 210), 176)
        lights.oval(*at(s * 0.68, 0.62), 0.13 * k, 0.09 * k, (255, 246, 222), 255)


def street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A street at dusk in infrared and visible: two people and an engine; lettering, bricks and road markings."""
    board, lights = Board(WIDTH, HEIGHT, (70, 84, 116), 26), Board(WIDTH, HEIGHT)
    for y in range(0, 200, 2):  # sky, paler and a little warmer low down
        t = y / 200
        board.rect((0, y, WIDTH, y + 2), (int(34 + 130 * t**2), int(46 + 76 * t), int(86 + 34 * t)), int(16 + 34 * t))
    for x, top, width in SKYLINE:
        tone = shade((62, 60, 72), rng.uniform(0.8, 1.1))
        board.rect((x, top, x + width, 190), tone, 74 + int(rng.integers(0, 14)))
        for wx in range(x + 4, x + width - 5, 7):
            for wy in range(top + 6, 172, 9):
                lit = rng.uniform() < 0.22 and wx < 320
                board.rect((wx, wy, wx + 3, wy + 4), (44, 44, 56), 96)
                lights.rect((wx, wy, wx + 3, wy + 4), (150, 112, 62) if lit else (0, 0, 0))
    board.rect((0, 186, WIDTH, HEIGHT), (84, 82, 84), 92)  # pavements
    board.poly(patch(-3.3, 3.3, 3, 300), (54, 55, 60), 108)
    for x in (-3.3, 3.3):
        board.poly(patch(x - 0.1, x + 0.1, 3, 200), (128, 126, 124))
    for z in np.arange(3.5, 40, 1.2):  # joints of the paving slabs
        for near, far in ((-4.7, -3.45), (3.45, 9)):
            board.line([ground(near, z), ground(far, z)], max(0.2, 5 / z), (58, 56, 58))
    for z in np.arange(12, 90, 5.5):
        board.poly(patch(-0.07, 0.07, z, z + 2.6), (190, 186, 172))
    for x in np.arange(-2.9, 3.0, 0.9):  # zebra crossing
        board.poly(patch(x, x + 0.45, 6.6, 9.4), (196, 194, 186))

    shine = Board(800, 360)
    wall = facade(rng, shine)
    quad = [ground(-4.7, 6.2, 7.2), ground(-4.7, 22.2, 7.2), ground(-4.7, 22.2), ground(-4.7, 6.2)]
    board.place(wall, quad)
    lights.place(shine, quad)
    for x, z, size in ((6.0, 30, 2.6), (6.0, 20, 2.6), (6.0, 12.5, 2.9)):
        base, fork, k = ground(x, z), ground(x, z, 2.6), FOCAL / z
        board.line([base, fork], 0.34 * k, (44, 36, 32), 82)
        for s in (-0.9, 0.2, 1.0):
            board.line([fork, ground(x + s, z, 4.2)], 0.16 * k, (40, 34, 30), 80)
        centre = ground(x, z, 4.6)
        leaves(board, rng, (*centre, size * k, 0.8 * size * k), round(60 * k), (66, 92, 50), 66)
    for z in np.arange(40, 6.5, -0.35):  # hedge behind the right-hand pavement
        leaves(board, rng, (*ground(6.3, z, 0.5), 0.5 * FOCAL / z, 0.6 * FOCAL / z), 30, (48, 70, 42), 72)
    x, y = ground(3.65, 14, 2.9)  # road sign
    board.line([ground(3.65, 14), (x, y)], 2.6, (120, 122, 124), 84)
    board.rect((x - 21, y - 18, x + 21, y + 18), (222, 222, 214), 78)
    board.rect((x - 19, y - 16, x + 19, y + 16), (24, 66, 140), 78)
    board.text(x, y - 6, "SCHOOL", 8.6, (240, 240, 236))
    board.text(x, y + 7, "SLOW", 8.6, (240, 240, 236))
    car(board, lights, -1.7, 11)
    person(board, ground(0.55, 9.2), 1.76 * FOCAL / 9.2, (36, 38, 46), True)
    person(board, ground(3.85, 9.3), 1.72 * FOCAL / 9.3, (40, 38, 36), False)

    albedo, heat = board.arrays()
    shine_rgb, power = lights.arrays()
    shine_rgb = to_linear(shine_rgb) * (1 + 5 * power[..., None])
    rows = np.arange(HEIGHT)[:, None]
    light = 0.26 + 1.15 * spot(66, 150, 80, 75) + 0.4 * spot(205, 290, 150, 45)
    light += 0.5 * (rows < 200) * spot(240, 80, 400, 150)
    light *= 1 - 0.7 * spot(432, 235, 70, 85) - 0.4 * spot(296, 238, 34, 50)
    grain = 1 + 0.07 * fractal(rng, (HEIGHT, WIDTH), 12)
    warm = 1 + np.array([0.12, 0.0, -0.16]) * spot(66, 150, 100, 110)[..., None]
    visible = to_linear(albedo) * (light * grain)[..., None] * warm * 0.9
    visible += shine_rgb + 0.35 * blur(shine_rgb, 4) + 0.6 * blur(shine_rgb, 18)
    lamps = shine_rgb * (power > 0.9)[..., None]  # the head lamps, mirrored in the road
    streaks = ndimage.gaussian_filter(np.roll(lamps, 42, axis=0), (20, 3, 0)) * (rows > 258)[..., None]
    visible += streaks * (0.35 + 0.12 * noise(rng, (HEIGHT, WIDTH), (1.5, 8)))[..., None]
    haze = 0.02 + 0.05 * spot(300, 190, 150, 36)
    visible = visible * (1 - 2 * haze[..., None]) + haze[..., None] * np.array([0.75, 0.8, 1.0])
    visible = to_srgb(visible) + 0.0065 * rng.standard_normal((HEIGHT, WIDTH, 1))
    lamp_heat = 0.03 * blur(shine_rgb.mean(-1), 2)
    infrared = blur(heat + lamp_heat, 0.9) + 0.25 * blur(np.maximum(heat - 0.7, 0), 5)
    infrared += 0.012 * fractal(rng, (HEIGHT, WIDTH), 20) + 0.011 * noise(rng, (HEIGHT, WIDTH), 1.4)
    infrared += 0.004 * rng.standard_normal(WIDTH)  # fixed pattern of the columns
    return infrared, visible


def infrared_visible(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The street, as files."""
    return dict(zip(("ir-vis_ir", "ir-vis_vis"), street(rng), strict=True))


# ------------------------------------------------------------------------------------- medical: a slice of a head

PET_STOPS = [0, 0.14, 0.3, 0.46, 0.62, 0.78, 0.92, 1.1]
PET_COLOURS = ["000000", "0e084a", "1432aa", "008ca0", "3cb946", "f0dc28", "f05a14", "ffebd7"]


def pet_colours(uptake: np.ndarray) -> np.ndarray:
    """An uptake from 0 to about 1 in false colours, (H, W, 3)."""
    colours = np.array([list(bytes.fromhex(colour)) for colour in PET_COLOURS]) / 255
    return np.stack([np.interp(uptake, PET_STOPS, colours[:, k]) for k in range(3)], axis=-1)


def ellipse(x: np.ndarray, y: np.ndarray, spec: tuple, edge: float = 2.0) -> np.ndarray:
    """Ellipse of (centre x, centre y, half axis x, half axis y, turn in degrees) with an edge soft over some pixels."""
    cx, cy, rx, ry, turn = spec
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    radius = np.hypot(((x - cx) * c + (y - cy) * s) / rx, (-(x - cx) * s + (y - cy) * c) / ry)
    return np.clip((1 - radius) * min(rx, ry) / (edge * 2 / MEDICAL_SIZE) + 0.5, 0, 1)


def medical(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An axial slice: folded cortex, white matter, ventricles, deep nuclei; uptake as false colour beside it."""
    n = MEDICAL_SIZE * SS
    y, x = np.mgrid[:n, :n] / (n / 2) - 1 + 1 / n

    def smooth(parts: float) -> np.ndarray:
        return noise(rng, (n, n), n / parts)

    xw, yw = x + 0.014 * smooth(2.5), y + 0.02 + 0.012 * smooth(2.5)

    def single(*spec: float, edge: float = 1.5) -> np.ndarray:
        return ellipse(xw, yw, spec, edge)

    def both(cx: float, cy: float, rx: float, ry: float, turn: float) -> np.ndarray:
        return np.maximum(single(cx, cy, rx, ry, turn), single(-cx, cy, rx, ry, -turn))

    head, bone = single(0, 0, 0.75, 0.92, 0), single(0, 0, 0.705, 0.872, 0)
    inner, brain = single(0, 0, 0.655, 0.82, 0), single(0, 0, 0.63, 0.79, 0)
    marrow = single(0, 0, 0.69, 0.856, 0) - single(0, 0, 0.672, 0.837, 0)
    # Furrows: where a phase that runs around each half of the brain is a multiple of pi, each down to its own depth.
    radius, angle = np.hypot(xw / 0.63, yw / 0.79), np.arctan2(np.abs(xw), yw)
    bend = (1.7 * smooth(6) + 0.75 * smooth(12)) * np.clip(1.7 - radius, 0.6, 1)
    phase = (21 * angle + bend) / math.pi + 40 * (x < 0)
    floor = rng.uniform(0.5, 0.9, 80)[np.clip(np.round(phase).astype(int) + 3, 0, 79)]
    floor = np.where(both(0.45, 0.02, 0.13, 0.2, 0) > 0.5, np.maximum(floor, 0.84), floor)
    across = np.abs(phase - np.round(phase)) / (np.hypot(*np.gradient(phase)) * SS)
    furrow = (across < 0.7 + 3.5 * np.clip(radius - 0.8, 0, 1)) & (radius > floor)
    middle = (np.abs(x + 0.006 * np.sin(9 * y)) < 0.009) & ((y < -0.22) | (y > 0.34))
    sketch = Board(MEDICAL_SIZE, MEDICAL_SIZE)  # the deep furrow at each side, with the cortex at its bottom
    trunk, branch = (
        ((84, 119), (72, 123), (62, 121), (58, 126), (56, 134), (57, 146)),
        ((62, 121), (58, 113), (55, 106)),
    )
    for s in (-1, 1):
        for curve in (trunk, branch):
            sketch.line([(128 + s * a, b) for a, b in curve], 1.8, None, 255)
    fluid = furrow | middle | (np.asarray(sketch.side) > 0) | (brain < 0.5)
    cortex = np.clip(4.5 + 0.4 * smooth(9) - ndimage.distance_transform_edt(~fluid) / SS, 0, 1) * ~fluid
    ventricle = np.maximum(both(0.085, -0.17, 0.055, 0.19, -17), both(0.15, 0.26, 0.05, 0.17, 24))
    ventricle = np.maximum(ventricle, single(0, 0.07, 0.014, 0.1, 0))
    caudate, putamen = both(0.165, -0.17, 0.05, 0.12, -17), both(0.29, 0.0, 0.055, 0.16, 8)
    thalamus = both(0.11, 0.09, 0.085, 0.12, 20)
    grey = np.max([cortex, caudate, putamen * 0.9, thalamus * 0.8], axis=0) * (1 - ventricle)
    lesion = single(-0.33, -0.36, 0.085, 0.07, 20, edge=5)

    tissue = (0.72 - 0.27 * grey + 0.02 * smooth(30)) * (1 - 0.28 * lesion)
    tissue = np.where(fluid, 0.18, tissue) * (1 - ventricle) + 0.09 * ventricle
    mri = head * (0.74 + 0.05 * smooth(25)) * (1 - bone) + bone * (1 - inner) * (0.08 + 0.22 * marrow)
    mri = (mri + inner * (1 - brain) * 0.14 + brain * tissue) * (1.02 + 0.03 * smooth(2))
    uptake = brain * ~fluid * (1 - ventricle) * (0.2 + 0.62 * grey) + 0.1 * head * (1 - brain)
    uptake *= 1 + 0.06 * smooth(6)
    uptake *= 1 - 0.5 * ellipse(x, y, (0.42, 0.32, 0.22, 0.26, 0), 25)  # a region of low uptake
    uptake += 0.4 * lesion

    def down(field: np.ndarray) -> np.ndarray:
        return field.reshape(MEDICAL_SIZE, SS, MEDICAL_SIZE, SS).mean((1, 3))

    mri, uptake, head = down(blur(mri, 0.5 * SS)), blur(down(uptake), 2.8), down(head)
    shape = mri.shape
    mri = np.hypot(mri + 0.018 * noise(rng, shape, 1.3), 0.015 * rng.standard_normal(shape))
    uptake = uptake * (1 + 0.06 * noise(rng, shape, 4)) * 1.25
    functional = pet_colours(uptake)
    inside = head > 0.5
    return {"medical_functional": functional * inside[..., None], "medical_mri": mri * inside}


# ------------------------------------------------------------------------------------- multi-focus: cup before shelf


def upright_books(board: Board, rng: np.random.Generator, left: float, right: float, base: float, tall: float) -> None:
    """A row of books with lettered spines."""
    x, titles = left, [*rng.permutation(TITLES), *rng.permutation(TITLES)]
    while x < right - 14:
        width, height = min(rng.uniform(14, 27), right - x), tall * rng.uniform(0.74, 1)
        cloth = shade(CLOTH[rng.integers(len(CLOTH))], rng.uniform(0.75, 1.1))
        for k in range(round(width * SS)):  # round spine
            t = k / (width * SS)
            tone = shade(cloth, 0.55 + 0.5 * math.sin(math.pi * min(1, 0.12 + 0.88 * t) ** 0.8))
            board.rect((x + k / SS, base - height, x + (k + 1) / SS, base), tone)
        ink = (236, 220, 170) if sum(cloth) < 400 else (60, 40, 34)
        for y in (0.08, 0.12, 0.88):
            board.rect((x + 1, base - height * (1 - y), x + width - 1, base - height * (1 - y) + 1.4), ink)
        title = titles.pop()
        size = min(width * 0.55, height * 0.87 / len(title))
        board.text(x + width / 2, base - height / 2, title, size, ink, upright=True)
        x += width + rng.uniform(0, 1.5)


def cup(board: Board, x: float, base: float, radius: float, height: float) -> None:
    """A glazed cup with a band of lettering wrapped round it."""
    label = Board(round(math.pi * radius), round(height), (232, 226, 212))
    width = math.pi * radius
    label.rect((0, 0.2 * height, width, 0.25 * height), (190, 72, 48))
    label.rect((0, 0.76 * height, width, 0.81 * height), (190, 72, 48))
    label.rect((0, 0.88 * height, width, height), (40, 86, 112))
    for k in range(24):
        u = (k + 0.5) * width / 24
        label.poly([(u - 4, 0.745 * height), (u, 0.68 * height), (u + 4, 0.745 * height)], (40, 86, 112))
        label.poly([(u - 4, 0.265 * height), (u, 0.33 * height), (u + 4, 0.265 * height)], (40, 86, 112))
    label.text(width / 2, 0.43 * height, "GOOD", 18, (52, 44, 48))
    label.text(width / 2, 0.58 * height, "MORNING", 18, (52, 44, 48))
    squash = 0.13  # height of the rim's ellipse over its width
    rx, ry = 0.36 * radius, 0.3 * height  # handle
    for k, tone in ((1.0, 0.62), (0.86, 0.86), (0.62, 0.0)):
        hx, hy = x + radius * 1.02, base - 0.52 * height
        board.oval(hx, hy, rx * 1.4 * k, ry * k, shade((232, 226, 212), tone), 255 if tone else 0)
    texture = np.asarray(label.rgb, dtype=np.float64)
    columns = (np.arange(round(2 * radius * SS)) + 0.5) / (radius * SS) - 1
    rows = np.arange(round((height + radius * squash) * SS))[:, None]
    u = (np.arcsin(columns) / math.pi + 0.5) * texture.shape[1] - 0.5
    v = rows - np.sqrt(1 - columns**2) * radius * squash * SS
    coords = np.broadcast_arrays(v, u[None, :])
    body = np.stack([ndimage.map_coordinates(texture[..., k], coords, order=1, mode="nearest") for k in range(3)], -1)
    facing = np.cos(np.arcsin(columns) + 0.55)
    gloss = np.exp(-(((columns + 0.52) / 0.09) ** 2)) * 60 + np.exp(-(((columns - 0.8) / 0.07) ** 2)) * 14
    body = body * (0.3 + 0.72 * np.clip(facing, 0, 1))[None, :, None] + gloss[None, :, None]
    inside = Image.fromarray((((v >= 0) & (v < texture.shape[0])) * 255).astype(np.uint8))
    corner = (round((x - radius) * SS), round((base - height) * SS))
    board.rgb.paste(Image.fromarray(np.clip(body, 0, 255).astype(np.uint8)), corner, inside)
    board.side.paste(255, corner, inside)
    top = base - height
    board.oval(x, top, radius, radius * squash, (238, 233, 222), 255)
    board.oval(x, top + 0.5, radius * 0.94, radius * squash * 0.86, (150, 140, 126), 255)
    board.oval(x, top + 2.5, radius * 0.88, radius * squash * 0.66, (70, 40, 24), 255)
    board.oval(x - radius * 0.3, top + 2, radius * 0.3, radius * squash * 0.2, (112, 72, 46), 255)


def clock(board: Board, x: float, y: float) -> None:
    """A round clock."""
    board.oval(x, y, 40, 40, (120, 84, 40))
    board.oval(x, y, 36, 36, (240, 236, 222))
    for k in range(1, 13):
        a = k * math.pi / 6
        board.text(x + 28 * math.sin(a), y - 28 * math.cos(a), str(k), 9, (40, 36, 36))
    board.line([(x, y), (x + 12, y - 8)], 2.4, (30, 28, 30))
    board.line([(x, y), (x - 6, y - 22)], 1.6, (30, 28, 30))


def lying_book(board: Board, box: tuple[float, float, float, float], cloth: Colour, title: str) -> None:
    """A book that lies on its side, with its lettered spine (left, top, right, bottom) to the front."""
    left, top, right, bottom = box
    board.poly([(left, top), (left + 14, top - 13), (right - 14, top - 13), (right, top)], shade(cloth, 1.25), 255)
    board.rect(box, cloth, 255, 4)
    for k in range(16):
        board.rect((left + 2, bottom - 1 - k, right - 2, bottom - k), shade(cloth, 0.62 + 0.024 * k), 255)
    for u in (left + 16, left + 20, right - 22, right - 18):
        board.rect((u, top, u + 2, bottom), (226, 196, 120), 255)
    board.text((left + right) / 2, (top + bottom) / 2, title, 19, (240, 222, 168))


def disc_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Blur as an open lens does: by a disc with a soft rim, in linear light."""
    if radius < 0.3:
        return image
    reach = math.ceil(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    kernel = (kernel / kernel.sum()).reshape(kernel.shape + (1,) * (image.ndim - 2))
    return ndimage.convolve(image, kernel, mode="nearest")


def blur_by_depth(image: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Blur by a radius that changes slowly over the picture, from a stack of whole blurs."""
    result, levels = np.zeros_like(image), np.arange(0, math.ceil(radius.max()) + 1)
    for level in levels:
        result += np.maximum(0, 1 - np.abs(radius - level))[..., None] * disc_blur(image, level)
    return result


def multi_focus(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A cup on two books before a bookshelf, once with the cup in focus and once with the shelf."""
    back, front, table = Board(WIDTH, HEIGHT, (52, 36, 26)), Board(WIDTH, HEIGHT), 272
    upright_books(back, rng, 4, 300, 128, 112)
    upright_books(back, rng, 350, 478, 128, 108)
    upright_books(back, rng, 2, 330, 262, 112)
    upright_books(back, rng, 418, 478, 262, 104)
    for y in (128, 262):
        back.rect((0, y, WIDTH, y + 10), (146, 100, 62))
        back.rect((0, y, WIDTH, y + 2), (186, 136, 90))
    back.rect((310, 96, 342, 128), (176, 92, 62), None, 3)  # a plant pot
    for a in rng.uniform(-1.3, 1.3, 26):
        x, y = 326 + 44 * math.sin(a), 92 - 62 * math.cos(a) * rng.uniform(0.6, 1)
        leaf = [(326, 98), (330 + (x - 326) / 2, 90 + (y - 98) / 2), (x, y)]
        back.line(leaf, 2.6, shade((70, 120, 62), rng.uniform(0.6, 1.3)))
    clock(back, 374, 216)
    back.rect((340, 258, 408, 262), (120, 84, 40))
    for k in range(-14, 26):  # table boards
        left, right = 240 + 34 * (k - 6), 240 + 34 * (k - 5)
        far = [(240 + 0.62 * (v - 240), table) for v in (left, right)]
        back.poly([far[0], far[1], (right, HEIGHT), (left, HEIGHT)], shade((164, 118, 76), rng.uniform(0.88, 1.08)))
        back.line([far[0], (left, HEIGHT)], 0.6, (96, 64, 40))
    books = (((52, 300, 322, 338), CLOTH[1], "SEEING IN DEPTH"), ((74, 268, 306, 300), CLOTH[0], "IMAGE FUSION"))
    for box, cloth, title in books:
        lying_book(front, box, cloth, title)
    cup(front, 180, 258, 56, 122)

    far, (near, cover) = back.arrays()[0], front.arrays()
    rows = np.arange(HEIGHT)[:, None] * np.ones(WIDTH)
    grain = 1 + 0.07 * noise(rng, far.shape[:2], (9, 1.2)) * (rows >= table) + 0.03 * fractal(rng, far.shape[:2], 8)
    far_light = 0.5 + 0.55 * spot(330, 120, 300, 200)
    under_shelf = 1 - 0.5 * np.exp(-np.maximum(0, rows - 138) / 12) * (rows >= 138) - 0.4 * np.exp(-rows / 14)
    under_shelf -= 0.45 * np.exp(-np.abs(rows - table) / 6) * (rows >= table)
    shadow = Board(WIDTH, HEIGHT)
    shadow.rect((58, 321, 342, 346), None, 255)
    under_shelf *= 1 - 0.62 * np.clip(1.5 * blur(shadow.arrays()[1], 6), 0, 1)
    far = to_linear(far) * (grain * far_light * under_shelf)[..., None]
    cover = cover[..., None]
    near = to_linear(near / np.maximum(cover, 1e-3)) * cover * (1 + 0.02 * fractal(rng, far.shape[:2], 4))[..., None]
    depth = np.clip((345 - rows) / (345 - table), 0, 1)  # 1 at the shelf, 0 at the cup

    def picture(far_blur: float, near_blur: float) -> np.ndarray:
        radius = far_blur * depth + near_blur * (1 - depth)
        behind = blur_by_depth(far, radius)
        soft = disc_blur(cover, near_blur)
        return to_srgb(disc_blur(near, near_blur) + (1 - soft) * behind)

    shots = {"near": picture(5.0, 0), "far": picture(0, 5.5), "truth": picture(0, 0)}
    grit = 0.006 * rng.standard_normal((2, HEIGHT, WIDTH, 1))
    shots["near"], shots["far"] = shots["near"] + grit[0], shots["far"] + grit[1]
    return {f"multi-focus_{name}": shot for name, shot in shots.items()}


# ------------------------------------------------------------------------------------- focus stack: a laid table


def pot_plant(board: Board, rng: np.random.Generator, x: float, base: float) -> None:
    """A plant in a pot, 100 pixels high."""
    for a in rng.uniform(-1.3, 1.3, 30):
        tip = (x + 46 * math.sin(a), base - 42 - 60 * math.cos(a) * rng.uniform(0.6, 1))
        bend = (x + (tip[0] - x) / 2, base - 42 + (tip[1] - base + 42) / 2 - 6)
        board.line([(x, base - 34), bend, tip], 2.6, shade((70, 120, 62), rng.uniform(0.6, 1.3)), 255)
    board.poly([(x - 22, base - 38), (x + 22, base - 38), (x + 16, base), (x - 16, base)], (176, 92, 62), 255)
    board.rect((x - 24, base - 42, x + 24, base - 32), (196, 108, 74), 255, 2)
    for k in range(-2, 3):
        tip, left, right = (x + 6 * k, base - 22), (x + 6 * k - 3, base - 12), (x + 6 * k + 3, base - 12)
        board.line([left, tip, right], 1.4, (232, 206, 160))


def wall_and_table(rng: np.random.Generator, edge: int) -> Board:
    """What is behind the things of the stack, and the table below them, from row `edge` on."""
    board = Board(WIDTH, HEIGHT, (188, 182, 160))
    for x in range(4, WIDTH, 20):  # wallpaper
        board.rect((x, 0, x + 7, edge), (178, 170, 146))
        for y in range(8 + 9 * (x // 20 % 2), edge, 18):
            board.oval(x + 13, y, 2.2, 3.4, (146, 92, 74))
    upright_books(board, rng, 14, 236, 118, 92)
    board.rect((6, 118, 244, 126), (146, 100, 62))
    board.rect((6, 118, 244, 120), (186, 136, 90))
    clock(board, 300, 88)
    for k in range(-16, 28):
        left, right = 240 + 34 * (k - 6), 240 + 34 * (k - 5)
        far = [(240 + 0.5 * (v - 240), edge) for v in (left, right)]
        board.poly([far[0], far[1], (right, HEIGHT), (left, HEIGHT)], shade((164, 118, 76), rng.uniform(0.88, 1.08)))
        board.line([far[0], (left, HEIGHT)], 0.6, (96, 64, 40))
    return board


def focus_stack(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A cup, two books and a plant on a table before a wall, in four shots that are focused on each in turn."""
    edge, feet = 205, (338, 294, 249)  # rows of the edge of the table and of where the things stand
    wall = wall_and_table(rng, edge)
    things = [Board(WIDTH, HEIGHT) for _ in feet]
    cup(things[0], 96, feet[0], 56, 122)
    lying_book(things[1], (184, 266, 356, feet[1]), CLOTH[1], "OPTICS")
    lying_book(things[1], (200, 240, 344, 266), CLOTH[0], "LENSES")
    pot_plant(things[2], rng, 412, feet[2])
    rows = np.arange(HEIGHT)[:, None] * np.ones(WIDTH)
    shape = rows.shape
    grain = 1 + 0.07 * noise(rng, shape, (9, 1.2)) * (rows >= edge) + 0.03 * fractal(rng, shape, 8)
    light = (0.55 + 0.45 * spot(300, 150, 320, 220)) * (1 - 0.4 * np.exp(-np.abs(rows - edge) / 6) * (rows >= edge))
    shadow = Board(WIDTH, HEIGHT)
    for x, y, rx in ((108, feet[0], 66), (276, feet[1] + 2, 96), (418, feet[2], 28)):
        shadow.oval(x, y, rx, 9, None, 255)
    light *= 1 - 0.6 * np.clip(1.4 * blur(shadow.arrays()[1], 5), 0, 1)
    backdrop = to_linear(wall.arrays()[0]) * (grain * light)[..., None]
    layers = []
    for board in things:
        colour, cover = board.arrays()
        cover = cover[..., None]
        layers.append((to_linear(colour / np.maximum(cover, 1e-3)) * cover, cover))

    def depth_of(row: np.ndarray | float) -> np.ndarray:
        """The blur of a lens, and the row in which a place on the table is seen, are linear in 1 / distance."""
        return np.clip((feet[0] - row) / (feet[0] - edge), 0, 1)

    shots = {}
    for number, focus in enumerate([*map(depth_of, feet), 1.0], 1):
        picture = blur_by_depth(backdrop, 6 * np.abs(depth_of(rows) - focus))
        for (near, cover), foot in reversed(list(zip(layers, feet, strict=True))):
            radius = 6 * abs(depth_of(foot) - focus)
            picture = disc_blur(near, radius) + (1 - disc_blur(cover, radius)) * picture
        shots[f"focus-stack_{number}"] = to_srgb(picture)
    return shots


# ------------------------------------------------------------------------------------- multi-exposure: room and window

ROOM, EYE_POINT = (110, 55, 380, 245), (250.0, 150.0)  # back wall, vanishing point


def outwards(x: float, y: float, factor: float) -> Point:
    """A point of the back wall brought towards the viewer along the lines of the room."""
    return EYE_POINT[0] + (x - EYE_POINT[0]) * factor, EYE_POINT[1] + (y - EYE_POINT[1]) * factor


def level(x0: float, x1: float, near: float, far: float, y: float = ROOM[3]) -> list[Point]:
    """A rectangle that lies on the floor, or level at another height, as it is seen."""
    return [outwards(x0, y, far), outwards(x1, y, far), outwards(x1, y, near), outwards(x0, y, near)]


def sheer(x: float, y0: float, y1: float, left: float, right: float) -> list[Point]:
    """A rectangle on a side wall; `left` and `right` are the factors of its edges."""
    return [outwards(x, y0, left), outwards(x, y0, right), outwards(x, y1, right), outwards(x, y1, left)]


def landscape(board: Board, rng: np.random.Generator, box: tuple) -> None:
    """The sunny view through the window: sky with clouds, hills, a house, trees."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    sky = fractal(rng, (height * SS, width * SS), 40 * SS, 5)
    cloud = np.clip(sky * 0.6 - 0.1 + 0.3 * np.linspace(0, 1, height * SS)[:, None], 0, 1)[..., None]
    blue = np.linspace([0.36, 0.6, 0.92], [0.72, 0.85, 0.96], height * SS)[:, None, :]
    tile = Image.fromarray(np.uint8(255 * (blue * (1 - cloud) + cloud * np.array([0.98, 0.98, 0.97]))))
    board.rgb.paste(tile, (left * SS, top * SS))
    board.rect(box, None, 255)
    for k, tone in enumerate([(120, 150, 170), (112, 152, 110), (134, 174, 84)]):
        steps = np.arange(left, right + 1)
        ridge = top + height * (0.56 + 0.13 * k) - 9 * np.sin(steps / (34 - 6 * k) + 2 * k) - 3 * np.sin(steps / 9 + k)
        board.poly([*zip(steps, ridge, strict=True), (right, bottom), (left, bottom)], tone)
        for j in rng.integers(0, width, 14 * k):
            leaves(board, rng, (left + j, ridge[j] + 3, 2 + 2.5 * k, 2 + 2 * k), 26, (92, 138, 66), None)
    x, y = left + 0.68 * width, top + 0.72 * height
    board.rect((x, y - 12, x + 24, y + 6), (236, 226, 206))
    board.poly([(x - 3, y - 12), (x + 4, y - 22), (x + 20, y - 22), (x + 27, y - 12)], (190, 86, 62))
    for u in (4, 11, 18):
        board.rect((x + u, y - 8, x + u + 3, y - 3), (86, 92, 106))


def room(rng: np.random.Generator) -> Board:
    """The empty room: papered walls, ceiling, floor boards, a rug."""
    board = Board(WIDTH, HEIGHT, (206, 198, 184))
    left, top, right, bottom = ROOM
    board.poly(level(left, right, 3, 1, top), (226, 222, 214))
    board.poly(sheer(left, top, bottom, 3, 1), (176, 186, 178))
    board.poly(sheer(right, top, bottom, 1, 3), (186, 192, 180))
    board.rect(ROOM, (182, 188, 176))
    for x in range(left + 5, right, 11):  # wallpaper
        board.rect((x, top, x + 4, bottom), (172, 180, 168))
        for y in range(top + 6, bottom, 12):
            board.oval(x + 7.5, y + (x % 2) * 6, 1.4, 2.2, (150, 128, 108))
    for k in range(30):  # floor boards, with joints
        x = left + 9 * k
        tone = shade((150, 98, 60), rng.uniform(0.8, 1.15))
        board.poly(level(x, x + 9, 2.4, 1), tone)
        board.line([(x, bottom), outwards(x, bottom, 2.4)], 0.5, (84, 52, 34))
        joint = rng.uniform(1.1, 2.2)
        board.line([outwards(x, bottom, joint), outwards(x + 9, bottom, joint)], 0.7, (84, 52, 34))
    for k, (half, tone) in enumerate(((88, CLOTH[0]), (80, CLOTH[2]), (76, CLOTH[0]), (50, (52, 66, 92)))):  # rug
        board.poly(level(250 - half, 250 + half, 1.75 - 0.035 * k, 1.16 + 0.025 * k), tone)
    for f in np.arange(1.29, 1.62, 0.07):
        for x in range(210, 300, 13):
            diamond = ((x, f - 0.025), (x + 5, f), (x, f + 0.025), (x - 5, f))
            board.poly([outwards(u, bottom, v) for u, v in diamond], (206, 172, 110))
    for x in (left, right):  # skirting boards
        board.poly(sheer(x, bottom - 9, bottom, 1, 3), (222, 218, 206))
    board.rect((left, bottom - 9, right, bottom), (222, 218, 206))
    return board


def furnish(board: Board, rng: np.random.Generator) -> None:
    """Window with curtains, bookcase, pictures, armchair and a small table; furniture has side value 128."""
    left, _, right, bottom = ROOM
    board.rect((176, 68, 324, 196), (236, 234, 228))
    landscape(board, rng, (182, 74, 318, 190))
    for x in (227, 272):
        board.rect((x - 2, 74, x + 2, 190), (232, 230, 224), 0)
    board.rect((182, 112, 318, 116), (232, 230, 224), 0)
    board.rect((170, 194, 330, 202), (240, 238, 232), 0)
    for start, stop in ((150, 190), (310, 350)):
        for k in range((stop - start) * SS):
            x = start + k / SS
            fold = 0.78 + 0.22 * math.sin(x * 0.9 + 1.4 * math.sin(x * 0.21))
            board.rect((x, 62, x + 1 / SS, 226 + 1.2 * math.sin(x * 0.9)), shade((176, 108, 74), fold), 0)
    board.line([(144, 61), (356, 61)], 3, (92, 64, 42), 0)
    board.rect((236, 178, 262, 194), (182, 98, 68), 0, 2)  # plant on the sill
    leaves(board, rng, (249, 166, 19, 14), 160, (84, 132, 66), 0)

    case = Board(150, 200, (96, 64, 42), 128)  # bookcase on the right-hand wall
    case.rect((5, 5, 145, 195), (54, 36, 26))
    for base in (66, 128, 190):
        upright_books(case, rng, 7, 144, base, 54)
        case.rect((5, base, 145, base + 6), (112, 76, 50))
    board.place(case, sheer(right - 10, 92, bottom, 1.1, 1.72))
    end = [outwards(x, y, 1.72) for x, y in ((right - 10, 92), (right, 92), (right, bottom), (right - 10, bottom))]
    board.poly(end, (110, 74, 48), 128)

    frame = Board(90, 66, (120, 84, 44))
    landscape(frame, rng, (7, 7, 83, 59))
    frame.side.paste(0, (0, 0, *frame.side.size))
    board.place(frame, sheer(left, 96, 152, 1.75, 1.2))
    board.rect((122, 100, 144, 130), (60, 44, 32))
    board.rect((124, 102, 142, 128), (226, 220, 204))
    board.oval(133, 112, 4, 5, (120, 96, 84))
    board.poly([(126, 128), (129, 119), (137, 119), (140, 128)], (84, 74, 96))

    chair = (70, 92, 84)  # armchair
    for x in (44, 138):
        board.rect((x, 318, x + 7, 338), (64, 42, 28), 128)
    board.rect((40, 208, 150, 310), shade(chair, 0.95), 128, 20)
    for x in range(52, 144, 12):
        board.line([(x, 218), (x, 280)], 1, shade(chair, 0.8), 128)
        board.line([(x + 3, 218), (x + 3, 280)], 0.6, (196, 178, 130), 128)
    board.rect((46, 282, 144, 326), shade(chair, 0.8), 128, 5)
    board.rect((48, 268, 142, 296), shade(chair, 1.18), 128, 8)
    board.rect((66, 226, 116, 274), (188, 146, 70), 128, 9)  # cushion
    for k in range(5):
        board.line([(70, 232 + 9 * k), (112, 232 + 9 * k)], 1.4, (142, 74, 52), 128)
    for x, tone in ((28, 1.05), (134, 0.98)):
        board.rect((x, 252, x + 26, 326), shade(chair, 0.74 * tone), 128, 10)
        board.rect((x, 250, x + 26, 268), shade(chair, 1.12 * tone), 128, 9)

    board.line([(352, 290), (352, 346)], 7, (84, 54, 34), 128)  # small table
    board.oval(352, 348, 26, 6, (84, 54, 34), 128)
    board.oval(352, 291, 58, 15, (78, 50, 32), 128)
    board.oval(352, 288, 58, 15, (152, 104, 66), 128)
    board.oval(352, 288, 53, 12.5, (164, 114, 74), 128)
    board.poly([(366, 284), (394, 286), (386, 294), (356, 291)], (226, 220, 206), 128)  # a book
    board.poly([(356, 291), (386, 294), (386, 298), (356, 295)], (150, 52, 44), 128)
    for k in range(14):  # vase of flowers
        a, reach = rng.uniform(-1.1, 1.1), rng.uniform(26, 44)
        tip = (334 + reach * math.sin(a), 258 - reach * math.cos(a))
        board.line([(334, 262), tip], 1.2, (70, 108, 58), 128)
        bloom = [(206, 74, 82), (232, 176, 64), (226, 214, 220)][k % 3]
        for j in range(6):
            board.oval(tip[0] + 3 * math.cos(j), tip[1] + 3 * math.sin(j), 2.6, 2.6, shade(bloom, 0.85 + 0.05 * j), 128)
        board.oval(*tip, 1.8, 1.8, (120, 84, 40), 128)
    board.oval(334, 274, 12, 14, (70, 104, 148), 128)
    board.rect((328, 256, 340, 266), (70, 104, 148), 128, 2)
    board.oval(334, 257, 6.5, 2, (48, 74, 108), 128)
    board.oval(329, 271, 2.4, 5, (150, 178, 206), 128)


def expose(radiance: np.ndarray, stops: float, rng: np.random.Generator) -> np.ndarray:
    """One shot: shutter time as stops from normal, photon and read noise, clipping, sRGB response."""
    signal = radiance * 2.0**stops
    signal = signal + np.sqrt(1.2e-5 * np.maximum(signal, 0) + 4e-7) * rng.standard_normal(signal.shape)
    return to_srgb(signal)


def multi_exposure(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A dim room with a window on a sunny view, at two shutter times four stops apart."""
    board, marks, seams = room(rng), Board(WIDTH, HEIGHT), Board(WIDTH, HEIGHT)
    furnish(board, rng)
    left, top, right, bottom = ROOM
    for x in (186, 231, 276):  # sun through the panes, on the floor
        for near, far in ((1.28, 1.12), (1.6, 1.31)):
            ends = [(x, near), (x + 37, near), (x + 37, far), (x, far)]
            marks.poly([outwards(u - 70 * (f - 1), bottom, f) for u, f in ends], None, 255)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    seams.line([*corners, corners[0]], 5, None, 255)
    for x, y in corners:
        seams.line([(x, y), outwards(x, y, 3)], 7, None, 255)
    rgb, kind = board.arrays()
    outdoors = np.clip(2.2 * kind - 1.2, 0, 1)
    furniture = np.clip(1 - np.abs(kind - 0.5) * 4, 0, 1)
    sun, seam = blur(marks.arrays()[1], 0.8), blur(seams.arrays()[1], 7)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    back = (columns > left) & (columns < right) & (rows > top) & (rows < bottom)
    light = 0.1 + 0.34 * spot(250, 190, 260, 150)
    bare = 0.9 * sun + 0.22 * spot(250, 262, 62, 46)  # sun and sheen on the floor, and the dark wall round the window
    bare = light * (1 - 0.55 * seam) + bare * (rows > bottom) - 0.19 * back * spot(250, 130, 190, 120)
    bare *= 1 - 0.6 * np.maximum(spot(92, 338, 78, 12), spot(352, 349, 46, 9))  # under the chair and the table
    light = light * furniture + bare * (1 - furniture)
    light *= 1 + 0.025 * fractal(rng, (HEIGHT, WIDTH), 24)
    radiance = to_linear(rgb) * (light * (1 - outdoors) + 3.4 * outdoors)[..., None]
    radiance *= 1 + np.array([0.06, 0.0, -0.1]) * (1 - outdoors)[..., None]
    radiance += 0.006 * blur(radiance, 12)  # flare of the lens
    exposures = {"under": -2, "over": 2, "middle": 0}
    return {f"multi-exposure_{name}": expose(radiance, stops, rng) for name, stops in exposures.items()}


# ------------------------------------------------------------------------------------------------ command line

SCENES = {
    "ir-vis": (infrared_visible, 11),
    "medical": (medical, 22),
    "multi-focus": (multi_focus, 33),
    "focus-stack": (focus_stack, 35),
    "multi-exposure": (multi_exposure, 44),
}


def main() -> None:
    """Render the scenes and write them as 8-bit PNG files."""
    parser = argparse.ArgumentParser(description="Render examples of the demo.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder for the PNG files")
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES), help="scenes to render")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        render, seed = SCENES[name]
        for stem, picture in render(np.random.default_rng(seed)).items():
            path = args.out / f"{stem}.png"
            Image.fromarray(np.uint8(np.round(255 * np.clip(picture, 0, 1)))).save(path, optimize=True)
            print(f"{path.name}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
