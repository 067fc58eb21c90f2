"""Blank borders of a registration are filled from the other source; what only looks like one is not."""

import cv2
import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.scenes import textured

from refusion.images import read_picture
from refusion.images.picture import NEUTRAL
from refusion.inference.blank_borders import blank_border, find_borders
from refusion.inference.preparation import prepare_pair
from refusion.models.model import ReFusion

WIDTH, HEIGHT = 320, 240


def scene(seed: int = 0) -> np.ndarray:
    """A textured scene without black or white, uint8."""
    levels = cv2.resize(textured(seed), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(levels, 20, 235)


def warped(levels: np.ndarray, fill: int = 0, degrees: float = 4, scale: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """An image registered with OpenCV, and where it has content."""
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, scale)
    image, inside = (
        cv2.warpAffine(values, matrix, (WIDTH, HEIGHT), borderValue=colour)
        for values, colour in ((levels, (fill,) * 3), (np.full((HEIGHT, WIDTH), 255, np.uint8), 0))
    )
    return image, inside > 127


def share_alike(one: np.ndarray, other: np.ndarray) -> float:
    """Of the pixels; a line of a few pixels may be left where content ends at a side of the image."""
    return float(np.mean(np.abs(one - other) < 1e-5))


def saved(path, levels: np.ndarray, quality: int | None = None):
    Image.fromarray(levels).save(path, **({} if quality is None else {"quality": quality}))
    return path


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize(("degrees", "scale"), [(4, 0.95), (-12, 1), (0, 0.9), (30, 0.8)])
@pytest.mark.parametrize("quality", [None, 90])
def test_the_border_of_a_warp_is_found(tmp_path, fill, degrees, scale, quality):
    levels, inside = warped(scene(), fill, degrees, scale)
    path = saved(tmp_path / ("a.jpg" if quality else "a.png"), levels, quality)
    found = blank_border(read_picture(path).luminance)
    assert found is not None
    assert np.count_nonzero(found == inside) < 0.02 * inside.size


def test_a_shift_leaves_a_border_at_two_sides():
    levels = np.zeros((HEIGHT, WIDTH), np.float32)
    levels[20:, :-30] = scene()[20:, :-30] / 255
    found = blank_border(levels)
    assert found is not None
    assert found[:18].all()
    assert found[:, -28:].all()
    assert not found[24:, :-34].any()


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(("height", "width", "border"), [(8, 8, 2), (16, 16, 5), (2000, 8, 2), (240, 320, 115)])
def test_content_that_would_fade_out_as_a_whole_is_kept(height, width, border, level):
    levels = np.full((height, width), level, np.float32)
    levels[border:-border, border:-border] = 0.5
    assert blank_border(levels) is None


@pytest.mark.parametrize("height", [8, 9, 12, 21])
def test_one_edge_of_a_narrow_image_is_not_two(height):
    levels = np.full((height, 2000), 0.5, np.float32)
    levels[:1] = 0
    for turned in (levels, levels.T):
        assert blank_border(turned) is None


def test_a_small_part_with_content_is_whole_in_its_middle():
    levels = np.zeros((HEIGHT, WIDTH), np.float32)
    levels[100:130, 140:180] = 0.5
    whole = np.full((HEIGHT, WIDTH), 0.3, np.float32)
    prepared = prepare_pair(read_picture(levels), read_picture(whole), check_offset=False)
    assert len(prepared.notes) == 1
    assert prepared.a.luminance[115, 160] == 0.5
    assert prepared.a.luminance[100, 160] == pytest.approx(0.3)


@pytest.mark.parametrize(("off", "found"), [(3, True), (4, True), (6, False)])
@pytest.mark.parametrize("white", [False, True])
def test_a_border_is_black_or_white_up_to_4_levels(off, found, white):
    levels = scene()
    levels[:20] = levels[:, :20] = 255 - off if white else off
    assert (blank_border(read_picture(levels).luminance) is not None) == found


def test_a_border_is_mostly_of_one_level():
    levels = scene()
    levels[:30] = levels[:, :30] = 0
    noise = np.random.default_rng(0).integers(0, 5, levels.shape)
    assert blank_border(np.where(levels, levels, noise).astype(np.float32) / 255) is None


@pytest.mark.parametrize(("wide", "found"), [(4, False), (5, True)])
def test_a_border_covers_a_hundredth_of_the_image(wide, found):
    """1,800 pixels long; 0.9 % and 1.1 % of 1000 x 800."""
    levels = np.full((800, 1000), 0.5, np.float32)
    levels[:wide] = levels[:, :wide] = 0
    assert (blank_border(levels) is not None) == found


def test_a_small_wedge_at_two_corners_is_found():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wedges = (x + y < 30) | (x + y > HEIGHT + WIDTH - 32)
    found = blank_border(np.where(wedges, 0, scene() / 255).astype(np.float32))
    assert found is not None
    assert np.count_nonzero(found != wedges) < 100


@pytest.mark.parametrize("edges", [np.s_[:, 40:-40], np.s_[30:-30, :]])
def test_bars_at_opposite_sides_of_one_source_are_found(edges):
    levels = np.zeros((HEIGHT, WIDTH), np.float32)
    levels[edges] = scene()[edges] / 255
    found = blank_border(levels)
    assert found is not None
    assert not found[edges].any()


@pytest.mark.parametrize(("shear", "found"), [(8, True), (16, False)])
def test_edges_may_differ_from_right_angles_by_12_degrees(shear, found):
    matrix = np.array([[0.7, 0.7 * np.tan(np.radians(shear)), 40 - 90 * np.tan(np.radians(shear)) + 8], [0, 0.7, 36]])
    levels = cv2.warpAffine(scene(), matrix, (WIDTH, HEIGHT))
    assert (blank_border(levels.astype(np.float32) / 255) is not None) == found


def test_dark_parts_of_the_content_and_a_blunt_corner_do_not_matter():
    levels = scene().astype(np.float32) / 255
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    levels[(y < 20) | (x < 20)] = levels[80:160, 60:260] = 0
    levels[x + y > HEIGHT + WIDTH - 16] = 0
    found = blank_border(levels)
    assert found is not None
    assert found[:20].all()
    assert not found[80:160, 60:260].any()


@pytest.mark.parametrize("ramp", [False, True])
def test_content_begins_3_pixels_inside_its_outline(ramp):
    levels = scene().astype(np.float32) / 255
    levels[:20] = levels[:, :20] = 0
    whole = read_picture(np.full((HEIGHT, WIDTH), 0.3, np.float32))
    pair = read_picture(levels), whole
    filled, _ = find_borders(*pair, white=False, ramp=ramp).cut(*pair)
    steps = np.arange(1, 21) - 3
    assert filled.alpha[20:40, 200] == pytest.approx(np.clip(steps / (0.03 * HEIGHT) if ramp else steps, 0, 1))
    assert filled.luminance == pytest.approx(levels * filled.alpha)


@pytest.mark.parametrize(("wide", "filled"), [(30, False), (10, True)])
def test_a_border_that_is_mostly_that_of_the_other_source_is_kept(wide, filled):
    a, b = (scene(seed).astype(np.float32) / 255 for seed in (0, 1))
    a[:wide] = a[:, :wide] = b[:40] = b[:, :40] = 0
    borders = find_borders(read_picture(a), read_picture(b), white=True, ramp=True)
    swapped = find_borders(read_picture(b), read_picture(a), white=True, ramp=True)
    assert borders.a is swapped.b is None
    assert (borders.b is not None) == (swapped.a is not None) == filled
    assert len(borders.notes) == len(swapped.notes) == filled


def masks() -> dict[str, np.ndarray]:
    """Where scenes are blank, without a registration."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    gable = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(gable, [np.array([[0, 0], [WIDTH, 0], [WIDTH, 110], [WIDTH // 2, 40], [0, 110]])], 1)
    roofs = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(roofs, [np.array([[0, 0], [WIDTH, 0], [WIDTH, 50], [WIDTH // 2, 90], [0, 50]])], 1)
    tilted = y < 60 + x / 20
    bent = y < 60 + np.abs(x - WIDTH / 2) / 12
    notched = (y < 20) | (x < 20) | ((y < 60) & (abs(x - 160) < 40))
    chamfered = (y < 20) | (x < 20) | (x + y > 480)
    trapezium = 36 * (y - 40) < -100 * (x - 90)
    rough = y < 60 + 25 * np.sin(x / 11) + 20 * np.sin(x / 37)
    return {
        "sky over a straight horizon": y < 80,
        "sky over a tilted horizon": tilted,
        "sky over a low gable": bent,
        "sky over trees": rough,
        "border with a notch": notched,
        "border with a cut corner": chamfered,
        "edges at 70 degrees": trapezium | (y < 20),
        "border of 3 pixels": (y < 3) | (x < 3),
        "sky over a gable": gable > 0,
        "sky between roofs": roofs > 0,
        "round view": np.hypot(x - WIDTH / 2, y - HEIGHT / 2) > 100,
        "thin frame": (y < 1) | (x < 1) | (y >= HEIGHT - 1) | (x >= WIDTH - 1),
        "window in a wall": (abs(x - 160) < 60) & (abs(y - 120) < 40),
        "all": y >= 0,
        "nothing": y < 0,
    }


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", masks())
def test_what_a_scene_leaves_blank_is_no_border(name, level):
    levels = np.where(masks()[name], level, scene() / 255).astype(np.float32)
    assert blank_border(levels) is None


@pytest.mark.parametrize("swapped", [False, True])
def test_the_other_source_is_shown_in_a_black_border(swapped):
    levels, inside = warped(scene())
    bordered, whole = read_picture(levels), read_picture(scene(1))
    pair = (whole, bordered) if swapped else (bordered, whole)
    prepared = prepare_pair(*pair, check_offset=False)
    filled, other = (prepared.a, prepared.b)[:: -1 if swapped else 1]
    off = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    assert np.array_equal(other.luminance, whole.luminance)
    assert share_alike(filled.luminance[off < 1], whole.luminance[off < 1]) > 0.99
    assert share_alike(filled.luminance[off > 12], bordered.luminance[off > 12]) > 0.99
    assert filled.alpha is None
    assert other.alpha is None
    assert len(prepared.notes) == 1
    assert "has a black border of" in prepared.notes[0]
    assert "--no-fill-borders" in prepared.notes[0]


def test_sources_of_one_camera_do_not_fade_in():
    levels, inside = warped(scene())
    bordered, whole = read_picture(levels), read_picture(scene(1))
    prepared = prepare_pair(bordered, whole, one_camera=True, check_offset=False)
    off = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    assert np.array_equal(prepared.a.luminance[off > 6], bordered.luminance[off > 6])
    assert share_alike(prepared.a.luminance[off < 1], whole.luminance[off < 1]) > 0.99


@pytest.mark.parametrize(
    ("fill", "one_camera", "filled"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_white_means_something_in_infrared(fill, one_camera, filled):
    levels, _ = warped(scene(), 255)
    bordered, whole = read_picture(levels), read_picture(scene(1))
    prepared = prepare_pair(bordered, whole, fill=fill, one_camera=one_camera, check_offset=False)
    assert np.array_equal(prepared.a.luminance, bordered.luminance) != filled
    assert len(prepared.notes) == (fill is not False)
    assert all("white border" in note and ("was filled" in note) == filled for note in prepared.notes)


@pytest.mark.parametrize("fill", [None, True])
def test_a_border_of_both_sources_is_kept(fill):
    pictures = [read_picture(warped(scene(seed), 255)[0]) for seed in (0, 1)]
    prepared = prepare_pair(*pictures, fill=fill, one_camera=True, check_offset=False)
    assert not prepared.notes
    assert np.array_equal(prepared.a.luminance, pictures[0].luminance)
    assert np.array_equal(prepared.b.luminance, pictures[1].luminance)


def test_the_wider_of_two_borders_is_filled():
    wide, _ = warped(scene(), scale=0.8)
    narrow, _ = warped(scene(1), scale=0.95)
    pictures = [read_picture(levels) for levels in (wide, narrow)]
    prepared = prepare_pair(*pictures, check_offset=False)
    assert len(prepared.notes) == 1
    assert np.array_equal(prepared.b.luminance, pictures[1].luminance)
    assert prepared.a.luminance[20].mean() > 0.3


def test_borders_at_different_sides_are_both_filled():
    levels = [np.zeros((HEIGHT, WIDTH), np.float32) for _ in range(2)]
    levels[0][20:, 30:], levels[1][:-20, :-30] = scene()[20:, 30:] / 255, scene(1)[:-20, :-30] / 255
    prepared = prepare_pair(*map(read_picture, levels), check_offset=False)
    assert len(prepared.notes) == 2
    assert prepared.a.luminance[:15, 40:-40].min() > 0.05
    assert prepared.b.luminance[-15:, 40:-40].min() > 0.05


@pytest.mark.parametrize("degrees", [3, 5])
def test_a_pair_with_a_border_is_aligned_by_its_content(degrees):
    levels = cv2.GaussianBlur(scene(), (0, 0), 1)
    turned, _ = warped(levels, degrees=degrees, scale=1)
    prepared = prepare_pair(read_picture(levels), read_picture(turned), motion="similarity")
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1)
    assert prepared.alignment is not None
    assert np.abs(prepared.alignment.matrix[:2, :2] - matrix[:, :2]).max() < 0.005


def test_colour_ends_with_the_content():
    levels, inside = warped(np.stack([scene(seed) for seed in (1, 2, 3)], axis=-1))
    prepared = prepare_pair(read_picture(scene()), read_picture(levels), check_offset=False)
    assert share_alike(prepared.b.chroma[:, ~inside], np.float32(NEUTRAL)) > 0.99


def test_a_source_with_alpha_is_as_its_file_says():
    levels, inside = warped(scene())
    declared = Image.fromarray(np.stack([levels, np.where(levels > 200, 200, 255).astype(np.uint8)], axis=-1), "LA")
    prepared = prepare_pair(read_picture(declared), read_picture(scene(1)), check_offset=False)
    assert not prepared.notes
    assert prepared.a.luminance[~inside].mean() < 0.05


def test_the_command_fills_a_border_and_says_so(tmp_path):
    levels, inside = warped(scene())
    a, b = saved(tmp_path / "ir.png", levels), saved(tmp_path / "vis.png", scene(1))
    said = refusion("fuse", a, b, "-o", tmp_path / "filled.jpg")
    assert "ir.png has a black border" in said.err
    kept = refusion("fuse", a, b, "-o", tmp_path / "kept.png", "--no-fill-borders")
    assert "border" not in kept.err
    expected = ReFusion.from_pretrained("refusion-ir-vis").fuse(a, b, fill_borders=False).to_array()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "kept.png")), expected)
    filled = np.asarray(Image.open(tmp_path / "filled.jpg")).astype(int)
    assert filled[~inside].mean() > np.asarray(Image.open(tmp_path / "kept.png"))[~inside].mean() + 10


def test_real_pairs_have_no_other_borders(shared):
    paths = [path for path in (shared / "data").glob("*/val*/*/*") if path.suffix in (".png", ".jpg")]
    found = {path.stem for path in paths if blank_border(read_picture(path).luminance) is not None}
    assert len(paths) > 100
    assert found == {"vifb_labMan"}
