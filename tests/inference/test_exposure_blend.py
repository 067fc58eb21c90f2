"""The blend of a bracket by exposure."""

from functools import partial

import numpy as np
import pytest

from refusion.inference.exposure_blend import exposedness
from refusion.inference.stack_layers import Layer, blend_pairs


def flat(level: float) -> np.ndarray:
    return np.full((16, 16), level, np.float32)


def test_the_best_exposure_is_grey_and_the_others_count_by_a_gaussian():
    levels = np.float32([0.1, 0.3, 0.5, 0.7])
    assert exposedness(levels) == pytest.approx(np.exp([-2, -0.5, 0, -0.5]), rel=1e-5)


def test_a_fused_pair_counts_as_two_images_also_where_all_are_flat(tmp_path):
    frames = [partial(Layer, flat(level), None) for level in (0.1, 0.3, 0.8)]
    blended = blend_pairs(lambda a, b: Layer(flat(0.9), None), frames, tmp_path, lambda: None)
    np.testing.assert_allclose(blended.luminance, (2 * 0.9 + 0.1 + 0.3 + 0.8) / 5, atol=1e-4)
