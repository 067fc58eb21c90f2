"""Offsets that are known are found; where nothing can be told, nothing is moved."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from support.command import check_refused, refusion, small_model
from support.scenes import textured

from refusion import fuse
from refusion.images import Picture, PictureError, read_picture
from refusion.inference.alignment import agreements, align, estimate_alignment
from refusion.inference.edges import View
from refusion.inference.moving import move
from refusion.inference.offsets import offset_note
from refusion.inference.preparation import prepare_pair
from refusion.models.model import ReFusion
from refusion.system.advice import without_options

KNOWN = {
    "translation": np.array([[1, 0, 9.0], [0, 1, -6.5], [0, 0, 1]]),
    "euclidean": np.array([[0.9998, -0.0196, 8.0], [0.0196, 0.9998, -7.0], [0, 0, 1]]),
    "similarity": np.array([[1.02, -0.004, 3.0], [0.004, 1.02, -5.0], [0, 0, 1]]),
    "affine": np.array([[1.01, -0.012, 6.0], [0.015, 0.992, -5.0], [0, 0, 1]]),
    "homography": np.array([[1.005, -0.01, 6.0], [0.012, 0.998, -5.0], [1.5e-5, -1e-5, 1]]),
}
MARGIN = 24


def displaced(picture: Picture, matrix: np.ndarray) -> np.ndarray:
    """What a camera that is off by this matrix would have seen."""
    options = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT}
    return np.clip(cv2.warpPerspective(picture.luminance, matrix, picture.size, **options), 0, 1)


def inner(luminance: np.ndarray) -> View:
    """Without the border, so that both images show real content all over."""
    return View(np.ascontiguousarray(luminance[MARGIN:-MARGIN, MARGIN:-MARGIN]))


def largest_error(a: Picture, b: Picture, found: np.ndarray, motion: str) -> float:
    """Of all corners and the middle, in pixels. Real pairs are off each other a little before they are displaced."""
    height, width = inner(a.luminance).luminance.shape
    offset = np.array([[1, 0, MARGIN], [0, 1, MARGIN], [0, 0, 1]])
    before = estimate_alignment(inner(a.luminance), inner(b.luminance), motion)
    assert before.sure
    assert before.shift < 4
    expected = np.linalg.inv(offset) @ KNOWN[motion] @ offset @ before.matrix
    places = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1], [width / 2, height / 2, 1]]).T
    there, wanted = (m @ places for m in (found, expected))
    return float(np.linalg.norm(there[:2] / there[2] - wanted[:2] / wanted[2], axis=0).max())


CASES = {
    "multi_focus": ("near", "far", ["lytro3_04_ab.jpg", "mfifb_aymaz_22.png", "mfifb_flower.jpg"], 1),
    "multi_exposure": ("under", "over", ["hdrps_CadesCove.png", "hdrps_DelicateArch.png", "hdrps_Frontier.png"], 1),
    "ir_vis": ("ir", "vis", ["roadscene_FLIR_00122.jpg", "roadscene_FLIR_05201.jpg", "roadscene_FLIR_06570.jpg"], 2),
}


@pytest.mark.parametrize("motion", ["translation", "euclidean"])
@pytest.mark.parametrize("task", CASES)
def test_known_motions_of_real_pairs_are_recovered(shared, task, motion):
    first, second, names, limit = CASES[task]
    for name in names:
        folder = shared / "data" / task / "val"
        a, b = read_picture(folder / first / name), read_picture(folder / second / name)
        found = estimate_alignment(inner(a.luminance), inner(displaced(b, KNOWN[motion])), motion)
        assert found.sure, (name, found)
        assert largest_error(a, b, found.matrix, motion) <= limit, name
        assert found.shift == pytest.approx(np.hypot(9, 6.5), abs=8)


@pytest.mark.parametrize("motion", ["similarity", "affine", "homography"])
def test_more_general_motions_are_recovered(shared, motion):
    folder = shared / "data" / "multi_focus" / "val"
    a, b = (read_picture(folder / side / "lytro3_04_ab.jpg") for side in ("near", "far"))
    found = estimate_alignment(inner(a.luminance), inner(displaced(b, KNOWN[motion])), motion)
    assert found.sure
    assert largest_error(a, b, found.matrix, motion) <= 1


def test_a_translation_is_tried_if_more_is_uncertain(shared):
    folder = shared / "data" / "ir_vis" / "val"
    infrared, visible = (
        np.asarray(Image.open(folder / side / "vifb_labMan.jpg").convert("L")) for side in ("ir", "vis")
    )
    pair = infrared[12:, 20:], np.ascontiguousarray(visible[:-12, :-20])
    assert any("--align moves it" in note for note in fuse(*pair).notes)
    with pytest.raises(PictureError, match="cannot be aligned"):
        fuse(*pair, align="euclidean")
    found = fuse(*pair, align=True).alignment
    assert found.motion == "translation"
    np.testing.assert_allclose(found.matrix[:2, 2], (20, 12), atol=2.5)


def blocks(seed: int, shift: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    levels = np.full((168, 216), 128, np.uint8)
    for _ in range(120):
        top, left = rng.integers(0, 168), rng.integers(0, 216)
        levels[top : top + rng.integers(6, 40), left : left + rng.integers(6, 40)] = rng.integers(0, 256)
    return read_picture(np.ascontiguousarray(np.roll(levels, shift, axis=1)[8:-8, 8:-8]))


def test_aligning_moves_b_and_keeps_or_cuts_the_size():
    a, b = blocks(1), blocks(1, 5)
    same_size = align(a, b, "translation")
    assert same_size[0] is a
    assert same_size[1].size == a.size
    assert same_size[2].shift == pytest.approx(5, abs=0.3)
    difference = np.abs(same_size[1].luminance - a.luminance)[:, 10:-10]
    assert np.median(difference) < 0.01
    first, second, _ = align(a, b, "translation", "crop")
    assert first.size == second.size
    assert a.size[0] - 8 <= first.size[0] < a.size[0]
    assert np.median(np.abs(first.luminance - second.luminance)) < 0.01
    exposed = align(a, replace(b, luminance=0.4 * b.luminance), "translation", exposures=True)[1].luminance
    for side in (exposed[:, :4] - 0.4 * a.luminance[:, :4], exposed[:, -4:] - 0.4 * a.luminance[:, -4:]):
        assert np.median(np.abs(side)) < 0.02


def test_what_was_moved_or_cropped_no_longer_lies_where_its_file_says():
    a, b = (replace(blocks(1, shift), geo=((33550, (1.0, 1.0, 0.0)),)) for shift in (0, 5))
    moved, cropped = (prepare_pair(a, b, motion="translation", border=border) for border in ("fill", "crop"))
    assert (moved.a.geo, moved.b.geo) == (a.geo, ())
    assert (cropped.a.geo, cropped.b.geo) == ((), ())


def test_a_move_by_half_a_pixel_leaves_no_line_at_the_border():
    grey = Picture(np.full((48, 64), 0.5, np.float32), None, "b.png")
    matrix = np.array([[1, 0, 0.5], [0, 1, -0.5], [0, 0, 1.0]])
    moved, _ = move(grey, matrix, grey)
    np.testing.assert_allclose(moved.luminance, 0.5, atol=1e-6)


def fence(shift: int, behind: float) -> Picture:
    """Posts 60 pixels apart in front of blocks of this contrast, all moved by `shift`."""
    rng = np.random.default_rng(5)
    levels = np.full((280, 400), 110.0)
    for _ in range(60):
        top, left = rng.integers(0, 280), rng.integers(0, 400)
        levels[top : top + rng.integers(10, 60), left : left + rng.integers(10, 60)] += behind * rng.normal()
    levels[:, np.arange(400) % 60 < 8] = 210
    levels[40:48] = 210
    noisy = levels + np.random.default_rng(shift).normal(0, 4, levels.shape)
    return read_picture(np.clip(noisy, 0, 255).astype(np.uint8)[20:-20, 48 - shift : 368 - shift])


def test_a_scene_that_repeats_itself_is_not_aligned_by_a_wrong_period():
    a, b = fence(0, 1), fence(40, 1)
    found = estimate_alignment(View.of(a), View.of(b), "translation")
    assert found.matrix[0, 2] == pytest.approx(40 - 60, abs=0.3)
    assert found.confidence > 0.9
    assert not found.sure
    with pytest.raises(PictureError, match="the scene repeats itself, as bricks or a fence do"):
        align(a, b, "translation")
    assert offset_note(a, b) is None
    still = align(a, fence(0, 1), "translation")[2]
    assert still.sure
    assert not still.moves


def test_a_scene_with_a_fence_in_it_is_aligned():
    found = align(fence(0, 40), fence(36, 40), "translation")[2]
    assert found.matrix[0, 2] == pytest.approx(36, abs=0.3)


def test_pictures_with_nothing_in_common_are_not_moved():
    with pytest.raises(PictureError, match="cannot be aligned"):
        align(blocks(1), blocks(2))
    flat = read_picture(np.full((64, 64), 0.5))
    with pytest.raises(PictureError, match="cannot be aligned"):
        align(flat, flat)


def test_a_clear_offset_is_noted_and_a_registered_pair_is_not():
    assert "5 pixels off" in (offset_note(blocks(1), blocks(1, 5)) or "")
    assert offset_note(blocks(1), blocks(1)) is None
    assert offset_note(blocks(1), blocks(2)) is None


def test_the_command_says_so_aligns_and_refuses(tmp_path):
    model = small_model(tmp_path / "model")
    for name, picture in (("a.png", blocks(1)), ("b.png", blocks(1, 5)), ("c.png", blocks(2))):
        Image.fromarray((picture.luminance * 255).astype(np.uint8)).save(tmp_path / name)
    output = tmp_path / "f.png"
    base = ["-o", output, "--model", model]
    result = refusion("fuse", tmp_path / "a.png", tmp_path / "b.png", *base)
    assert (result.code, "--align moves it" in result.err) == (0, True)
    result = refusion("fuse", tmp_path / "a.png", tmp_path / "b.png", *base, "--align", "--motion", "translation")
    assert result.code == 0
    assert "b.png was moved onto a.png: translation, up to 5" in result.err
    assert "confidence" in result.err
    output.unlink()
    result = refusion("fuse", tmp_path / "a.png", tmp_path / "c.png", *base, "--align")
    assert (result.code, output.exists()) == (2, False)
    assert "cannot be aligned" in result.err


def test_resizing_is_asked_for(tmp_path):
    model = small_model(tmp_path / "model")
    Image.fromarray(textured(1, 48, 64)).save(tmp_path / "a.png")
    Image.fromarray(textured(2, 96, 128)).save(tmp_path / "b.png")
    Image.fromarray(textured(3, 96, 96)).save(tmp_path / "square.png")
    base = ["-o", tmp_path / "f.png", "--model", model]
    assert refusion("fuse", tmp_path / "a.png", tmp_path / "b.png", *base).code == 2
    for rule, size in (("smaller", (64, 48)), ("a", (64, 48)), ("larger", (128, 96)), ("b", (128, 96))):
        assert refusion("fuse", tmp_path / "a.png", tmp_path / "b.png", *base, "--resize", rule).code == 0
        with Image.open(tmp_path / "f.png") as fused:
            assert fused.size == size
    check_refused(
        refusion("fuse", tmp_path / "a.png", tmp_path / "square.png", *base, "--resize", "a"), "would distort"
    )


def test_pet_and_spect_are_not_aligned_but_ct_is(tmp_path):
    model = ReFusion("medical", channels=8, heads=4, blocks=1).eval()
    a, b = (picture.luminance for picture in (blocks(1), blocks(1, 5)))
    assert fuse([a, b], model=model).notes == ()
    assert fuse([a, b], model=model, align=True).alignment.shift == pytest.approx(5, abs=0.5)
    with pytest.raises(PictureError, match="as PET and SPECT are"):
        fuse([np.stack([a, a / 2, a / 3], axis=-1), b], model=model, align=True)


SPLITS = {
    "ir_vis": ("ir", "vis"),
    "medical": ("functional", "mri"),
    "multi_focus": ("near", "far"),
    "multi_exposure": ("under", "over"),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", SPLITS)
def test_registered_pairs_stay_where_they_are(shared, task):
    folder = shared / "data" / task / "val"
    for path in sorted((folder / SPLITS[task][0]).iterdir()):
        a, b = read_picture(path), read_picture(folder / SPLITS[task][1] / path.name)
        try:
            _, moved, found = align(a, b)
        except PictureError:
            continue
        assert found.shift <= 1, path.name
        if not found.moves:
            assert moved is b


def test_a_move_that_does_not_help_is_not_made_and_said():
    a = blocks(1)
    rng = np.random.default_rng(0)
    noisy = read_picture(np.clip(a.luminance + rng.normal(0, 0.01, a.luminance.shape), 0, 1).astype(np.float32))
    first, second, found = align(a, noisy, "euclidean", "crop")
    assert (first, second, found.moves) == (a, noisy, False)
    note = found.note("b.png", "a.png")
    said = "b.png was left where it is, since no euclidean alignment matches a.png clearly better"
    assert note == f"{said}; if it is off, try --motion similarity or affine or homography (align='similarity')."
    assert without_options(note) == f"{said}."
    assert "try --motion affine or homography (align='affine')" in align(a, noisy, "similarity")[2].note("b", "a")
    assert "try --motion homography (align='homography')" in align(a, noisy, "affine")[2].note("b", "a")
    assert "--motion" not in align(a, noisy, "homography")[2].note("b", "a")


def test_a_motion_that_was_tried_in_vain_is_not_suggested(shared):
    pair = [shared / "data/ir_vis/train" / side / "kaist_rfn1.jpg" for side in ("ir", "vis")]
    fused = fuse(*pair, align=True)
    assert (fused.alignment.motion, fused.alignment.moves) == ("translation", False)
    (note,) = (note for note in fused.notes if "left where it is" in note)
    assert "since no translation alignment matches" in note
    assert "try --motion similarity or affine" in note


def test_a_move_that_is_made_brings_the_edges_nearer():
    a, b = blocks(1), blocks(1, 5)
    _, moved, found = align(a, b, "translation")
    before, after = agreements(View.of(a), View.of(b), found.matrix)
    assert found.moves
    assert after > before + 0.1
    assert agreements(View.of(a), View.of(moved), np.eye(3))[0] > before + 0.1


def breathing_stack(count: int, growth: float) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """A sharp scene, frames focused from its top to its bottom that grow by a share in all, and where each lies."""
    height, width = 144, 192
    rng = np.random.default_rng(0)
    sharp = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), 1.2)
    sharp = 0.1 + 0.8 * (sharp - sharp.min()) / np.ptp(sharp)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    depth = np.linspace(0, 1, height)[:, None]
    frames, places = [], []
    for focus in np.linspace(0, 1, count):
        share = np.clip(1.5 * np.abs(depth - focus), 0, 1).astype(np.float32)
        size = 1 + growth * focus
        matrix = np.array([[size, 0, (1 - size) * width / 2], [0, size, (1 - size) * height / 2], [0, 0, 1]])
        frame = cv2.warpPerspective(
            sharp * (1 - share) + blurred * share,
            matrix,
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        )
        frames.append(np.clip(frame, 0, 1))
        places.append(matrix)
    return sharp, frames, places


def test_a_lens_that_breathes_is_followed_from_frame_to_frame():
    sharp, frames, _ = breathing_stack(5, 0.04)
    model = ReFusion.from_pretrained("refusion-multi-focus")

    def error(**options) -> float:
        fused = model.fuse_stack(frames, output_range="network", **options)
        return float(np.sqrt(((fused.picture.luminance - sharp) ** 2).mean()))

    assert error(align=True) < 0.5 * error()
    notes = model.fuse_stack(frames, align=True).notes
    assert len(notes) == 4
    assert all("similarity" in note for note in notes)


def test_frames_that_lie_on_each_other_are_not_moved():
    _, frames, _ = breathing_stack(3, 0)
    model = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
    fused = model.fuse_stack(frames, align=True)
    assert len(fused.notes) == 2
    assert all("was left where it is" in note for note in fused.notes)
    np.testing.assert_array_equal(np.asarray(fused), np.asarray(model.fuse_stack(frames)))


@pytest.mark.parametrize(
    ("degrees", "size", "words"),
    [
        (3, 1, "turned by about 3 degrees,"),
        (-5, 1, "turned by about 5 degrees,"),
        (0, 1.06, "about 6 % larger,"),
        (0, 0.94, "about 6 % smaller,"),
        (4, 1.08, "turned by about 4 degrees and about 8 % larger,"),
        (0.5, 1.01, ""),
    ],
)
def test_a_turn_and_another_size_are_noted(degrees, size, words):
    scene = cv2.GaussianBlur(np.random.default_rng(0).random((240, 320)).astype(np.float32), (0, 0), 3)
    scene = (scene - scene.min()) / np.ptp(scene)
    matrix = cv2.getRotationMatrix2D((160, 120), degrees, size)
    moved = cv2.warpAffine(scene, matrix, (320, 240), borderMode=cv2.BORDER_REFLECT)
    a, b = read_picture(scene, name="a.png"), read_picture(moved, name="b.png")
    note = offset_note(a, b) or ""
    assert note.startswith(f"b.png seems to be {words} compared with a.png") if words else note == ""
    assert ("--align --motion similarity" in note) == bool(words)
    if words:
        assert align(a, b, "similarity")[2].moves


@pytest.mark.parametrize("shape", [(8, 4000), (4000, 9)])
def test_a_narrow_pair_is_looked_at_too(shape):
    scene = textured(1, *shape)
    assert offset_note(read_picture(scene), read_picture(scene)) is None
    found = estimate_alignment(*(View.of(read_picture(x)) for x in (scene, scene)), "translation")
    assert found.shift < 1
