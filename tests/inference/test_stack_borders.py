"""Blank borders of the images of a stack are kept, with a note."""

import cv2
import numpy as np
import pytest
from PIL import Image
from support.scenes import textured

import refusion

HEIGHT, WIDTH = 90, 120
SCENE = textured(1, HEIGHT, WIDTH)
PLAIN = {"task": "multi-focus", "output_range": "network", "anchor": "choice"}


def frames(count):
    """Images that are sharp in one column each."""
    blurred = cv2.GaussianBlur(SCENE, (0, 0), 3)
    columns = np.arange(WIDTH) * count // WIDTH
    return [np.where(columns == index, SCENE, blurred) for index in range(count)]


def bordered(image, level=0, wide=8):
    image = image.copy()
    image[:wide] = image[:, :wide] = level
    return image


@pytest.mark.parametrize(("level", "colour"), [(0, "black"), (255, "white")])
def test_a_border_of_one_image_is_kept_with_a_note(tmp_path, level, colour):
    first, second, third = frames(3)
    Image.fromarray(bordered(second, level)).save(tmp_path / "second.png")
    fused = refusion.fuse_stack([first, tmp_path / "second.png", third], **PLAIN)
    share = round(100 * (1 - (HEIGHT - 8) * (WIDTH - 8) / (HEIGHT * WIDTH)))
    assert fused.notes == (
        f"second.png has a {colour} border of {share} % of its pixels, as registration leaves it, and a stack keeps "
        "it; make it transparent, or crop all images.",
    )
    assert not [note for note in refusion.fuse_stack([first, second, third], **PLAIN).notes if "border" in note]


def test_of_many_borders_one_is_named_and_the_others_are_counted():
    for count, more in ((3, "1 more image has such a border."), (4, "2 more images have such a border.")):
        first, *others = frames(count)
        notes = refusion.fuse_stack([first, *(bordered(image) for image in others)], **PLAIN).notes
        assert notes[0].startswith("Image 2 has a black border of ")
        assert notes[1:] == (more,)


def test_a_border_of_all_images_gets_no_note():
    assert refusion.fuse_stack(list(map(bordered, frames(3))), **PLAIN).notes == ()
