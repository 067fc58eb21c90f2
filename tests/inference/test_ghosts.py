"""What moves between the images of an exposure bracket."""

from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image
from support.command import refusion

from refusion.images import read_picture
from refusion.images.colour import split_colour
from refusion.inference.ghosts import ghosts, without_ghosts
from refusion.inference.stack_layers import Layer
from refusion.models.model import ReFusion

PLACES = (60, 120, 180)
GAINS = (0.08, 0.5, 2.4)


@pytest.fixture(scope="module")
def model() -> ReFusion:
    return ReFusion.from_pretrained("refusion-multi-exposure")


def bracket(
    places: tuple[int, ...] | None, *, colour: bool = False, gains: tuple[float, ...] = GAINS
) -> list[np.ndarray]:
    """Three exposures of a scene, the darkest first, with a disc whose centre is at these columns of the middle row."""
    rng = np.random.default_rng(5)
    light = cv2.GaussianBlur(rng.random((120, 240, 3), np.float32), (0, 0), 3)
    light = 0.02 + 0.9 * (light - light.min()) / np.ptp(light)
    rows, columns = np.indices(light.shape[:2])
    frames = []
    for index, gain in enumerate(gains):
        scene = light.copy()
        if places is not None:
            inside = (rows - 60) ** 2 + (columns - places[index]) ** 2 < 20**2
            scene[inside] = (0.05, 0.2, 0.05) if (columns[inside] + rows[inside]).min() % 2 else (0.3, 0.1, 0.02)
        if not colour:
            scene = scene.mean(axis=2)
        exposed = np.clip(scene * gain, 0, 1) ** (1 / 2.2) + 0.003 * rng.standard_normal(scene.shape)
        frames.append(np.rint(255 * np.clip(exposed, 0, 1)).astype(np.uint8))
    return frames


def off(fused: object, truth: object) -> float:
    """Mean difference in grey levels over the places where the disc was."""
    rows, columns = np.indices((120, 240))
    zone = np.any([(rows - 60) ** 2 + (columns - place) ** 2 < 20**2 for place in PLACES], axis=0)
    return float(np.abs(np.asarray(fused).astype(float) - np.asarray(truth).astype(float))[zone].mean())


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_what_moves_is_shown_once(model, colour):
    moving, still = bracket(PLACES, colour=colour), bracket((PLACES[1],) * 3, colour=colour)
    fused, truth = model.fuse_stack(moving), model.fuse_stack(still)
    assert off(fused, truth) < 0.25 * off(model.fuse_stack(moving, deghost=False), truth)
    assert not any("Something moved" in note for note in truth.notes)
    assert any("Something moved between the images; it is shown as in Image 2" in note for note in fused.notes)


def test_of_a_scene_at_rest_nothing_changes(model):
    frames = bracket(None, colour=True)
    kept, compared = model.fuse_stack(frames, deghost=False), model.fuse_stack(frames)
    np.testing.assert_array_equal(compared.picture.luminance, kept.picture.luminance)
    np.testing.assert_allclose(compared.picture.chroma, kept.picture.chroma, atol=1e-6)
    assert compared.notes == kept.notes == ()


def test_the_order_of_a_bracket_with_something_that_moves_does_not_matter(model):
    frames = bracket(PLACES)
    expected = np.asarray(model.fuse_stack(frames))
    for order in ((2, 0, 1), (1, 2, 0), (2, 1, 0)):
        np.testing.assert_array_equal(np.asarray(model.fuse_stack([frames[i] for i in order])), expected)


def test_what_moves_is_shown_as_in_the_best_exposed_image_also_if_it_is_the_darkest(model):
    _, middle, bright = bracket(PLACES)
    notes = model.fuse_stack([middle, bright, 255 - (255 - bright) // 2]).notes
    assert any("it is shown as in Image 1" in note for note in notes)


def test_the_burnt_out_sky_of_the_reference_stays_as_a_darker_image_shows_it(model):
    frames = bracket(None)
    sky = slice(0, 40)
    for frame, gain in zip(frames, GAINS, strict=True):
        light = np.linspace(2.2, 6, 40)[:, None] * gain
        frame[sky] = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2))
    assert frames[1][sky].min() == 255
    fused = np.asarray(model.fuse_stack(frames))
    np.testing.assert_array_equal(fused, np.asarray(model.fuse_stack(frames, deghost=False)))
    assert np.ptp(fused[sky].mean(axis=1)) > 40


def test_what_moves_before_a_burnt_out_sky_is_not_replaced_by_noise(tmp_path):
    """One grey level of a sky near white is many of a darker frame, and of other ones in red, green and blue."""
    rng = np.random.default_rng(2)
    light = np.repeat(cv2.GaussianBlur(rng.random((120, 240, 1)), (0, 0), 4)[..., None], 3, axis=2)
    light = 0.01 + 0.5 * (light - light.min()) / np.ptp(light)
    light[:60] = np.linspace((1.8, 2.0, 2.2), (3, 3.3, 3.6), 240)
    with_balloon = light.copy()
    with_balloon[20:40, 60:80] = (0.4, 0.03, 0.03)
    with_balloon[80:100, 60:80] = (0.02, 0.02, 0.5)
    dark, bright = (
        Layer(*split_colour(np.float32(np.clip(scene * gain, 0, 1) ** (1 / 2.2))))
        for scene, gain in ((with_balloon, 0.2), (light, 0.8))
    )
    loaders, share = without_ghosts([lambda: dark, lambda: bright], 1, tmp_path, lambda *_: None)
    changed = np.abs(loaders[0]().luminance - dark.luminance) > 1e-4
    assert share > 0
    assert changed[85:95, 65:75].all()
    assert not changed[:56].any()


def test_frames_that_are_not_registered_are_kept(model, tmp_path):
    light = cv2.GaussianBlur(np.random.default_rng(3).random((160, 260), np.float32), (0, 0), 6)
    light = (light - light.min()) / np.ptp(light)
    frames = [
        np.uint8(255 * np.clip(light[7 * i : 7 * i + 120, 9 * i : 9 * i + 240] * gain, 0, 1) ** (1 / 2.2))
        for i, gain in enumerate((0.3, 0.6, 1.0))
    ]
    fused = model.fuse_stack(frames)
    np.testing.assert_array_equal(np.asarray(fused), np.asarray(model.fuse_stack(frames, deghost=False)))
    assert any("--align moves it" in note for note in fused.notes)
    assert not any("Something moved" in note for note in fused.notes)
    seen, loaders = [], [partial(Layer, np.float32(frame) / 255, None) for frame in frames]
    assert without_ghosts(loaders, 1, tmp_path, lambda index, frame: seen.append(index)) == (loaders, 0)
    assert seen == [1, 0, 2]
    aligned = model.fuse_stack(frames, align=True)
    assert sum("was moved onto" in note for note in aligned.notes) == 2
    assert not any("Something moved" in note for note in aligned.notes)


def test_from_one_exposure_to_the_next_a_bracket_is_replaced_though_its_ends_are_too_far_apart(tmp_path):
    gains = (0.03, 0.2, 1.05)
    moving, still = (
        [Layer(np.float32(frame) / 255, None) for frame in bracket(places, gains=gains)]
        for places in (PLACES, (PLACES[0],) * 3)
    )
    seen = []
    loaders = [partial(Layer, frame.luminance, None) for frame in moving]
    replaced, share = without_ghosts(loaders, 0, tmp_path, lambda index, frame: seen.append(index))
    assert np.abs(replaced[2]().luminance - still[2].luminance).mean() < 0.005
    assert share > 0.1
    # From the dark end to the bright one it would be noise in most places.
    _, of_ends = without_ghosts(loaders[::2], 0, tmp_path, lambda index, frame: seen.append(index))
    assert of_ends < share / 2
    assert seen == [0, 1, 2, 0, 1]


def test_beyond_what_both_images_show_nothing_moves():
    first, second, _ = (np.float32(frame) / 255 for frame in bracket(None))
    shown = np.ones(first.shape, bool)
    shown[:, :40] = False
    second[~shown] = 1 - second[~shown]
    assert ghosts(Layer(first, None), Layer(second, None), shown).max() == 0


def test_ghosts_are_found_at_any_size():
    moving = [frame.astype(np.float32) / 255 for frame in bracket(PLACES)]
    for side in (240, 2400):
        layers = [Layer(cv2.resize(frame, (side, side // 2)), None) for frame in moving]
        found = ghosts(layers[0], layers[1])
        assert found.shape == (side // 2, side)
        assert found[side // 4, side // 4] == pytest.approx(1, abs=0.01)
        assert found[side // 4, side // 2] == pytest.approx(1, abs=0.01)
        assert found[:, -side // 8 :].max() == 0


def test_the_command_can_keep_the_ghosts(tmp_path, model):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, frame in zip(paths, bracket(PLACES), strict=True):
        Image.fromarray(frame).save(path)
    given = ("fuse", *paths, "--task", "multi-exposure", "-o")
    without = refusion(*given, tmp_path / "without.png")
    assert without.code == 0, without.err
    assert "--no-deghost" in without.err
    kept = refusion(*given, tmp_path / "kept.png", "--no-deghost")
    assert kept.code == 0, kept.err
    assert "moved" not in kept.err
    for name, deghost in (("without", True), ("kept", False)):
        expected = np.asarray(model.fuse_stack(paths, deghost=deghost))
        written = read_picture(tmp_path / f"{name}.png").luminance
        np.testing.assert_array_equal(np.rint(255 * written).astype(np.uint8), expected)
