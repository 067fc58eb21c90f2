"""Focus stacks and exposure brackets."""

from itertools import permutations

import cv2
import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.scenes import textured

from refusion.images import PictureError
from refusion.inference.stack import MAX_FRAMES
from refusion.models.model import ReFusion

FOCUS = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
EXPOSURE = ReFusion("multi-exposure", channels=8, heads=4, blocks=1).eval()


def frames(count: int) -> list[np.ndarray]:
    return [textured(seed) for seed in range(count)]


@pytest.mark.parametrize("model", [FOCUS, EXPOSURE], ids=lambda model: model.task.name)
def test_the_order_does_not_matter(model):
    stack = frames(4)
    expected = np.asarray(model.fuse_stack(stack))
    for order in list(permutations(range(4)))[1::5]:
        np.testing.assert_array_equal(np.asarray(model.fuse_stack([stack[i] for i in order])), expected)


def test_every_kind_of_source_gives_the_same(tmp_path):
    stack = frames(3)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, frame in zip(paths, stack, strict=True):
        Image.fromarray(frame).save(path)
    expected = np.asarray(FOCUS.fuse_stack(stack))
    for sources in (paths, [Image.fromarray(frame) for frame in stack]):
        np.testing.assert_array_equal(np.asarray(FOCUS.fuse_stack(sources)), expected)


def test_progress_reaches_the_end():
    seen = []
    FOCUS.fuse_stack(frames(3), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(len(seen)))
    assert {total for _, total in seen} == {len(seen) - 1}


def test_colour_of_all_frames_counts():
    grey = textured(1)
    red = np.stack([grey, grey // 2, grey // 2], axis=-1)
    fused = np.asarray(FOCUS.fuse_stack([grey, red, textured(2)], output_range="network")).astype(int)
    assert (fused[..., 0] - fused[..., 2]).mean() > 20


def test_sixteen_bits_are_kept():
    deep = [frame.astype(np.uint16) * 257 for frame in frames(3)]
    fused = FOCUS.fuse_stack(deep)
    assert fused.to_image().mode == "I;16"
    assert len(np.unique(np.asarray(fused))) > 256
    shallow = FOCUS.fuse_stack(deep).to_array(8)
    np.testing.assert_array_equal(shallow, np.asarray(FOCUS.fuse_stack(frames(3))))


def test_what_is_no_stack_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 to 50 pictures, but 1"):
        FOCUS.fuse_stack(frames(1))
    with pytest.raises(ValueError, match="but 51 were given"):
        FOCUS.fuse_stack([tmp_path / "nowhere.png"] * (MAX_FRAMES + 1))
    with pytest.raises(ValueError, match="ir-vis fuses two pictures of different kinds"):
        ReFusion("ir-vis", channels=8, heads=4, blocks=1).fuse_stack(frames(3))
    with pytest.raises(ValueError, match="release or saturation"):
        FOCUS.fuse_stack(frames(3), chroma="a")
    with pytest.raises(PictureError, match=r"64 x 48.*32 x 48"):
        FOCUS.fuse_stack([*frames(2), textured(3)[:, :32]])


def room_with_a_window(stops: float) -> np.ndarray:
    """A dim room and a bright sky in its window, at an exposure; 8 bits."""
    rng = np.random.default_rng(0)
    light = 0.08 * (1 + 0.05 * rng.standard_normal((120, 160)))
    light[20:70, 90:140] = np.linspace(4, 7, 50)[:, None]
    return np.rint(255 * np.clip(light * 2.0**stops, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def test_more_frames_of_a_bracket_do_not_take_the_sky_away():
    model = ReFusion.from_pretrained("refusion-multi-exposure")
    sky, room = (slice(24, 66), slice(94, 136)), (slice(80, 115), slice(10, 150))

    def white(picture: np.ndarray) -> float:
        return float((picture[sky] >= 251).mean())

    pair = np.asarray(model.fuse_stack([room_with_a_window(stops) for stops in (-4, 2)]))
    for exposures in ((-4, -1, 2), (-4, -2.5, -1, 0.5, 2)):
        bracket = [room_with_a_window(stops) for stops in exposures]
        fused = np.asarray(model.fuse_stack(bracket))
        assert white(bracket[len(bracket) // 2]) == 1
        assert white(fused) <= white(pair) == 0
        assert fused[room].mean() >= bracket[len(bracket) // 2][room].mean()
    blended = np.asarray(model.fuse_stack([room_with_a_window(stops) for stops in (-4, -1, 2)]))
    assert blended[sky].std() >= pair[sky].std()


def test_the_command_fuses_a_bracket_as_python_does(tmp_path):
    exposures = (-4, -1, 2)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, stops in zip(paths, exposures, strict=True):
        Image.fromarray(room_with_a_window(stops)).save(path)
    result = refusion("fuse", *paths, "-o", tmp_path / "fused.png", "--task", "multi-exposure")
    assert result.code == 0, result.err
    expected = np.asarray(ReFusion.from_pretrained("refusion-multi-exposure").fuse_stack(paths))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "fused.png")), expected)


def test_the_colour_of_a_focus_stack_is_as_sharp_as_its_luminance():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    third = np.arange(96)[:, None] * 3 // 96
    frames_in_focus = [np.where(third == part, sharp, blurred) for part in range(3)]
    model = ReFusion.from_pretrained("refusion-multi-focus")
    truth, follows, mixed = (
        cv2.cvtColor(np.asarray(x), cv2.COLOR_RGB2YCrCb)[..., 1:].astype(float)
        for x in (sharp, model.fuse_stack(frames_in_focus), model.fuse_stack(frames_in_focus, chroma="release"))
    )
    assert np.abs(follows - truth).mean() < 0.5 * np.abs(mixed - truth).mean()
