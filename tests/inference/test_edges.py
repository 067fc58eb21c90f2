"""Pixels without content take no part in the alignment: a transparent rim is no edge of the scene."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from support.scenes import textured

from refusion import fuse_stack
from refusion.images import Picture, read_picture
from refusion.images.picture import NEUTRAL
from refusion.inference.alignment import Alignment, align, estimate_alignment
from refusion.inference.edges import View
from refusion.inference.moving import move
from refusion.models.model import ReFusion

WIDTH, HEIGHT = 320, 240
MOTIONS = ("euclidean", "similarity", "affine", "homography")


def scene() -> np.ndarray:
    """Bright blocks of all sizes, uint8, so that a black rim is a strong edge."""
    rng = np.random.default_rng(0)
    levels = np.full((HEIGHT, WIDTH), 170, np.uint8)
    for _ in range(150):
        top, left = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
        levels[top : top + rng.integers(6, 50), left : left + rng.integers(6, 50)] = rng.integers(90, 256)
    return cv2.GaussianBlur(levels, (0, 0), 1)


def turn(degrees: float) -> np.ndarray:
    """The rotation (3, 3) about the centre of an image."""
    return np.vstack([cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1), [0, 0, 1]])


def moved_with_rim(levels: np.ndarray, matrix: np.ndarray) -> Image.Image:
    """An image moved in an editor: transparent where nothing comes from."""
    grey, alpha = (
        cv2.warpPerspective(values, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        for values in (levels, np.full_like(levels, 255))
    )
    # The editor keeps colour and opacity apart.
    opaque = np.where(alpha > 0, np.minimum(grey * 255.0 / np.maximum(alpha, 1), 255), 0)
    return Image.fromarray(np.stack([opaque.astype(np.uint8), alpha], axis=-1), "LA")


def error(found: Alignment, wanted: np.ndarray, width: int = WIDTH, height: int = HEIGHT) -> float:
    """The largest of all corners, in pixels."""
    places = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).T
    there, right = found.matrix @ places, wanted @ places
    return float(np.linalg.norm(there[:2] / there[2] - right[:2] / right[2], axis=0).max())


def darker(levels: np.ndarray) -> np.ndarray:
    return (255 * (levels / 255) ** 2).astype(np.uint8)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_picture_turned_onto_a_transparent_ground_is_aligned(tmp_path, motion):
    moved_with_rim(scene(), turn(1)).save(tmp_path / "b.png")
    moved_with_rim(darker(scene()), turn(-1)).save(tmp_path / "turned.png")
    Image.fromarray(darker(scene())).save(tmp_path / "a.png")
    a, turned, b = (read_picture(tmp_path / name) for name in ("a.png", "turned.png", "b.png"))
    cases = ((a, b, turn(1)), (b, a, turn(-1)), (turned, b, turn(2)))
    for first, second, known in cases:
        assert error(align(first, second, motion)[2], known) <= 0.5


def test_a_shift_onto_a_transparent_ground_is_found():
    known = np.array([[1, 0, 9.0], [0, 1, -6.0], [0, 0, 1]])
    found = align(read_picture(scene()), read_picture(moved_with_rim(scene(), known)), "translation")[2]
    assert error(found, known) <= 0.5


@pytest.mark.parametrize("motion", MOTIONS)
def test_no_data_counts_no_more(motion):
    levels, alpha = np.moveaxis(np.asarray(moved_with_rim(scene(), turn(1))), -1, 0)
    values = np.where(alpha == 255, levels / np.float32(255), np.float32(-9999))
    values[np.random.default_rng(1).random(values.shape) < 0.02] = -9999
    a, b = read_picture(darker(scene()) / np.float32(255)), read_picture(values, nodata=-9999)
    assert error(align(a, b, motion)[2], turn(1)) <= 0.5


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_real_pair_is_aligned_as_without_the_rim(shared, motion):
    under, over = (shared / "data/multi_exposure/val" / side / "hdrps_Frontier.png" for side in ("under", "over"))
    a, b = read_picture(under), read_picture(over)
    matrix = np.vstack([cv2.getRotationMatrix2D((b.size[0] / 2, b.size[1] / 2), 1, 1), [0, 0, 1]])
    turned, alpha = (cv2.warpPerspective(x, matrix, b.size) for x in (b.luminance, np.ones_like(b.luminance)))
    found = estimate_alignment(View.of(a), View.of(replace(b, luminance=turned, alpha=alpha)), motion)
    assert found.sure
    before = estimate_alignment(View.of(a), View.of(b), motion)
    assert error(found, matrix @ before.matrix, *a.size) <= 0.5


def test_a_rim_is_no_reason_to_move_anything():
    a = read_picture(scene())
    alpha = np.zeros_like(a.luminance)
    alpha[7:-3, 4:-9] = 1
    b = replace(a, luminance=a.luminance * alpha, alpha=alpha)
    for first, second in ((a, b), (b, a)):
        assert not align(first, second, "affine")[2].moves


@pytest.mark.parametrize("motion", MOTIONS)
def test_opaque_alpha_changes_nothing(motion):
    a, b = read_picture(darker(scene())), read_picture(cv2.warpPerspective(scene(), turn(1), (WIDTH, HEIGHT)))
    opaque = replace(b, alpha=np.ones_like(b.luminance))
    plain, same = (estimate_alignment(View.of(a), View.of(x), motion) for x in (b, opaque))
    np.testing.assert_array_equal(plain.matrix, same.matrix)
    assert plain.confidence == same.confidence


def test_pictures_that_share_no_content_are_not_aligned():
    left = read_picture(scene())
    alpha = np.zeros_like(left.luminance)
    alpha[:, : WIDTH // 2] = 1
    one, other = (replace(left, luminance=left.luminance * x, alpha=x) for x in (alpha, 1 - alpha))
    assert not estimate_alignment(View.of(one), View.of(other), "translation").sure


def test_frames_of_a_stack_with_a_rim_are_aligned():
    model = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
    frames = [moved_with_rim(scene(), turn(degrees)) for degrees in (0, 1, 2)]
    notes = fuse_stack(frames, model=model, align="affine").notes
    assert sum("was moved onto" in note for note in notes) == 2


def test_what_the_second_does_not_cover_is_as_transparent_as_the_first():
    alpha = np.ones((HEIGHT, WIDTH), np.float32)
    alpha[:20] = 0
    levels = scene() / np.float32(255)
    picture = Picture(levels * alpha, None, "a.png", alpha=alpha)
    shift = np.array([[1, 0, 0], [0, 1, -10.0], [0, 0, 1]])
    moved, shown = move(picture, shift, picture)
    assert not shown[:10].any()
    assert moved.alpha is not None
    assert moved.alpha[:20].max() == 0


def test_what_the_second_does_not_cover_is_the_first_without_colour_and_opaque():
    a = read_picture(textured(1))
    b = read_picture(np.dstack([textured(seed) for seed in (2, 3, 4)] + [np.full((48, 64), 128, np.uint8)]))
    moved, shown = move(b, np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]]), a)
    np.testing.assert_array_equal(shown, np.arange(64) < 54 + np.zeros((48, 1)))
    np.testing.assert_array_equal(moved.luminance[~shown], a.luminance[~shown])
    assert np.all(moved.chroma[:, ~shown] == NEUTRAL)
    assert np.all(moved.alpha[~shown] == 1)
    assert moved.alpha[shown].max() < 0.51
