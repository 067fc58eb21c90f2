"""Focus stacks and exposure brackets."""

from itertools import permutations

import numpy as np
import pytest
from conftest import textured
from PIL import Image

from refusion.images import PictureError
from refusion.model import ReFusion
from refusion.stacks import MAX_FRAMES

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
    assert fused.mode == "I;16"
    assert len(np.unique(np.asarray(fused))) > 256
    shallow = np.asarray(FOCUS.fuse_stack(deep, bits=8))
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
