"""Augmentation of training crops: each piece does what it says, and the same seed gives the same crop."""

import numpy as np
import pytest
import torch
from support.scenes import textured

from refusion.training.augmentation import NO_AUGMENTATION, Augmentation
from refusion.training.crops import CropTransform

PIECES = {
    "tone": Augmentation(tone=1, often=1),
    "gain": Augmentation(gain=0.8, often=1),
    "noise": Augmentation(noise=0.1, often=1),
    "blur": Augmentation(blur=3, often=1),
    "jpeg": Augmentation(jpeg=1),
    "invert": Augmentation(invert=1),
    "shift": Augmentation(shift=1),
}


def pair() -> np.ndarray:
    return np.stack([textured(seed, 40, 48) / np.float32(255) for seed in (1, 2)])


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_a_piece_changes_the_pair_within_its_range_and_repeatably(piece):
    changed = piece(pair(), 3)
    assert changed.dtype == np.float32
    assert changed.shape == pair().shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert np.abs(changed - pair()).max() > 0.01
    np.testing.assert_array_equal(piece(pair(), 3), changed)


def test_nothing_is_done_unless_it_is_asked_for():
    np.testing.assert_array_equal(NO_AUGMENTATION(pair(), 3), pair())


def test_gain_takes_contrast_and_blur_takes_detail():
    for seed in range(5):
        assert (PIECES["gain"](pair(), seed).std(axis=(1, 2)) <= pair().std(axis=(1, 2))).all()
    steps = [np.abs(np.diff(x, axis=2)).mean() for x in (PIECES["blur"](pair(), 1), pair())]
    assert steps[0] < steps[1]


def test_the_first_source_alone_is_inverted_and_the_second_moved():
    inverted, moved = PIECES["invert"](pair(), 1), PIECES["shift"](pair(), 1)
    np.testing.assert_allclose(inverted, np.stack([1 - pair()[0], pair()[1]]), atol=1e-6)
    np.testing.assert_array_equal(moved[0], pair()[0])


@pytest.mark.parametrize("transform", [CropTransform(16, zoom=1), CropTransform(16, augmentation=PIECES["noise"])])
def test_varied_crops_have_their_size_and_skipping_draws_what_they_draw(transform):
    a, b = pair()
    drawn, skipped = (torch.Generator().manual_seed(0) for _ in range(2))
    for _ in range(20):
        first, second, tried = transform.cut(a, b, drawn)
        transform.skip(tried, skipped)
        assert first.shape == second.shape == (1, 16, 16)
        assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(drawn.get_state(), skipped.get_state())


def test_a_zoomed_crop_of_equal_sources_stays_equal():
    a = pair()[0]
    first, second, _ = CropTransform(32, zoom=1).cut(a, a, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first, second)
