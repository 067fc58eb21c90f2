"""Scores of stacks: what they mean for two images they mean for more."""

import numpy as np
import pytest
from support.scenes import textured

from refusion.metrics.defects import border_step_ratio
from refusion.metrics.fusion import score
from refusion.metrics.stack import STACK_METRICS, score_stack


def test_a_stack_of_two_has_the_metrics_of_the_pair():
    a, b, fused = (textured(seed) for seed in range(3))
    scores = score_stack([a, b], fused)
    assert tuple(scores) == STACK_METRICS
    pair = score(a, b, fused)
    for name in STACK_METRICS[:-1]:
        assert scores[name] == pytest.approx(pair[name]), name
    assert scores["border"] == pytest.approx(border_step_ratio(a, b, fused))


def test_the_order_and_a_repeated_stack_change_nothing():
    frames, fused = [textured(seed) for seed in range(5)], textured(9)
    scores = score_stack(frames, fused)
    for others in (frames[::-1], frames * 2):
        assert score_stack(others, fused) == pytest.approx(scores)


def test_a_source_that_is_the_result_raises_what_compares_with_sources():
    frames, fused = [textured(seed) for seed in range(3)], textured(9)
    before, after = score_stack(frames, fused), score_stack([*frames, fused], fused)
    for name in ("MI", "CC", "VIF", "SSIM"):
        assert after[name] > before[name], name
    for name in ("EN", "SD", "SF", "AG"):
        assert after[name] == before[name], name


def test_small_pictures_have_no_vif_and_nothing_has_no_scores():
    small = textured(1, 24, 40)
    assert "VIF" not in score_stack([small, small], small)
    with pytest.raises(ValueError, match="none was given"):
        score_stack(iter(()), small)
    with pytest.raises(ValueError, match="same shape"):
        score_stack([small, np.zeros((8, 8))], small)
