"""Arguments of `refusion.fuse`, `fuse_stack` and `explain` as people give them."""

import io

import numpy as np
import pytest
from PIL import Image
from support.scenes import textured

import refusion
from refusion import PictureError
from refusion.cli.paths import check_there
from refusion.tasks import get_task

A, B = (textured(seed, 40, 56) for seed in (1, 2))


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


class Average:
    """A network of one's own."""

    task = get_task("ir-vis")

    def fuse_luminances(self, a, b, *, engine=None):
        return [(x + y) / 2 for x, y in zip(a, b, strict=True)]


def test_a_window_may_be_an_array():
    deep = [image.astype(np.uint16) * 20 for image in (A, B)]
    by_array = refusion.fuse(*deep, window=np.array([0, 5100]))
    np.testing.assert_array_equal(np.asarray(by_array), np.asarray(refusion.fuse(*deep, window=(0, 5100))))


@pytest.mark.parametrize("window", [(1, 2, 3), [5], 7])
def test_a_window_of_another_shape_is_refused_in_a_sentence(window):
    with pytest.raises((PictureError, ValueError), match=r"two numbers|windows were given"):
        refusion.fuse(A.astype(np.uint16), B.astype(np.uint16), window=window)


def test_the_largest_size_is_a_whole_number():
    with pytest.raises(ValueError, match="is 'a'; it must be a whole number"):
        refusion.fuse(A, B, max_pixels="a")


def test_sources_may_come_from_a_generator():
    pair = np.asarray(refusion.fuse(A, B))
    np.testing.assert_array_equal(np.asarray(refusion.fuse(image for image in (A, B))), pair)
    frames = [A, B, textured(3, 40, 56)]
    stack = np.asarray(refusion.fuse_stack(frames, task="multi-focus"))
    np.testing.assert_array_equal(np.asarray(refusion.fuse_stack(iter(frames), task="multi-focus")), stack)


@pytest.mark.parametrize("sources", [A, [A], np.stack([A, B])[:, None]])
def test_one_argument_that_is_no_pair_says_how_to_give_it(sources):
    with pytest.raises(ValueError, match=r"one was given; give them as fuse\(a, b\) or as a list"):
        refusion.fuse(sources)


def test_images_of_a_stack_without_names_are_told_by_their_place():
    colour = Image.fromarray(np.stack([A, B, A], axis=-1))
    fused = refusion.fuse_stack([A, B, colour], task="multi-focus")
    assert any(note.startswith("Image 3 is in colour and the others are grey") for note in fused.notes)


@pytest.mark.parametrize(
    ("kind", "name"), [(lambda a: a, "array"), (Image.fromarray, "PIL image"), (png, "The file in memory")]
)
def test_two_sources_without_names_are_told_apart(kind, name):
    fused = refusion.fuse(kind(A), kind(A), model=Average())
    same = f"{name} (first) and {name} (second) are the same image, so there is nothing to fuse."
    assert fused.notes == (same,)


def test_a_network_of_ones_own_is_used_as_it_is():
    fused = refusion.fuse(A, B, model=Average(), anchor="none", output_range="network")
    np.testing.assert_allclose(np.asarray(fused, int), (A.astype(int) + B) / 2, atol=1)


def test_explaining_the_same_image_twice_says_so():
    explained = refusion.explain("refusion-ir-vis", A, A)
    assert any("are the same image" in note for note in explained.notes)


def test_an_unknown_option_is_named_with_those_that_there_are():
    words = r"There is no option bits or colour; the options of fusing are output_range, anchor, chroma, .*nodata\."
    for fuse in (refusion.fuse, refusion.ReFusion("ir-vis", channels=8, heads=4, blocks=1).fuse):
        with pytest.raises(TypeError, match=words):
            fuse(A, B, bits=12, colour="a")
    with pytest.raises(TypeError, match="There is no option bits"):
        refusion.fuse_many([(A, B)], bits=12)


def test_an_empty_path_and_a_single_image_are_refused_in_a_sentence():
    with pytest.raises(PictureError, match="The path of an image is empty; give the path of a file"):
        refusion.fuse("", A, model=Average())
    with pytest.raises(ValueError, match="A stack has 2 to 50 images, but 1 was given"):
        refusion.fuse_stack([A], task="multi-focus")


def test_a_link_that_leads_nowhere_is_called_so(tmp_path):
    (tmp_path / "dang.png").symlink_to("gone.png")
    words = r"dang\.png is a link to gone\.png, which does not exist; add that file, or remove the link\."
    with pytest.raises(PictureError, match=words):
        refusion.fuse(tmp_path / "dang.png", A, model=Average())
    with pytest.raises(ValueError, match=words):
        check_there(tmp_path / "dang.png")


@pytest.mark.parametrize(
    ("task", "said"), [("ir-vis", None), ("multi-focus", "near focus"), ("multi-exposure", "under-exposed")]
)
def test_two_photographs_that_are_fused_for_their_heat_get_a_note(task, said):
    notes = refusion.fuse(A, B, task=task, anchor="heat").notes
    found = [note for note in notes if "anchor heat" in note]
    assert len(found) == (said is not None)
    assert not found or f"brightens what is bright in the {said} image" in found[0]
    assert not [note for note in refusion.fuse(A, B, task=task).notes if "anchor heat" in note]
