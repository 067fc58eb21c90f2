"""A source with a black and a white border: the black one is filled, and the white one is kept, with a note."""

import numpy as np
import pytest
from support.scenes import textured
from support.videos import MODEL, scene, write

from refusion import fuse_videos
from refusion.images import read_picture
from refusion.inference.preparation import prepare_pair

HEIGHT, WIDTH = 160, 240


def bordered(image):
    """Black at the top and on the left, white at the bottom and on the right."""
    image = np.clip(image, 20, 235)
    image[:12] = image[:, :12] = 0
    image[-20:, 12:] = image[12:, -20:] = 255
    return image


def both():
    return bordered(textured(1, HEIGHT, WIDTH)), textured(2, HEIGHT, WIDTH)


@pytest.mark.parametrize("fill", [None, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_white_border_of_a_pair_is_kept_with_a_note(fill, swapped):
    a, b = both()
    pair = [read_picture(levels) for levels in ((b, a) if swapped else (a, b))]
    prepared = prepare_pair(*pair, fill=fill, check_offset=False)
    filled = prepared.b if swapped else prepared.a
    assert filled.luminance[:10, :-20].mean() > 0.1
    assert np.all(filled.luminance[-15:, 40:] == 1)
    black, white = prepared.notes
    assert "has a black border" in black
    assert "was filled" in black
    share = 100 * np.mean(a == 255)
    assert f"also has a white border, of {share:.0f} % of its pixels, which is kept; " in white


def test_the_black_border_inside_a_white_one_is_named():
    levels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    levels[10:-10, 10:-10] = 0
    levels[25:-25, 25:-25] = np.clip(textured(1, HEIGHT - 50, WIDTH - 50), 20, 235)
    prepared = prepare_pair(read_picture(levels), read_picture(both()[1]), fill=True, check_offset=False)
    assert len(prepared.notes) == 2
    assert "also has a black border, of " in prepared.notes[1]


def test_a_second_border_that_the_other_source_shares_gets_no_note():
    a, b = both()
    b[-20:] = b[:, -20:] = 255
    prepared = prepare_pair(read_picture(a), read_picture(b), check_offset=False)
    assert [note for note in prepared.notes if "black border" in note]
    assert not [note for note in prepared.notes if "also" in note]


def test_no_note_says_that_borders_are_kept_which_was_asked_for():
    prepared = prepare_pair(*map(read_picture, both()), fill=False, check_offset=False)
    assert not prepared.notes


def test_the_white_border_of_a_video_gets_the_note(tmp_path):
    ir = write(tmp_path / "ir.mp4", [bordered(frame) for frame in scene(1, 3)])
    vis = write(tmp_path / "vis.mp4", scene(2, 3))
    notes = fuse_videos((ir, vis), tmp_path / "fused.mp4", model=MODEL)
    assert [note for note in notes if note.startswith("ir.mp4 has a black border")]
    assert [note for note in notes if note.startswith("ir.mp4 also has a white border")]
