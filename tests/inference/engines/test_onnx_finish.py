"""The graph of what follows the network gives what `finish_pair` gives."""

from itertools import product

import numpy as np
import onnx
import pytest
from support.scenes import textured

from refusion.images import read_picture
from refusion.inference.engines.onnx_finish import finish_graph
from refusion.inference.engines.onnx_runtime import InferenceSession
from refusion.inference.finishing import finish_pair
from refusion.inference.options import FinishOptions
from refusion.inference.preparation import Prepared
from refusion.tasks import CHOICES


@pytest.fixture(scope="module")
def session():
    model = finish_graph()
    onnx.checker.check_model(model, full_check=True)
    return InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def coloured(seed, height=52, width=70):
    return np.stack([textured(3 * seed + i, height, width) for i in range(3)], axis=-1)


def grey(seed):
    return np.repeat(textured(seed, 52, 70)[..., None], 3, axis=2)


def finished(session, sources, luminance, options):
    feed = {name: np.array(names.index(getattr(options, name))) for name, names in CHOICES.items()}
    for name, source in zip("ab", sources, strict=True):
        feed[name] = source.transpose(2, 0, 1)[None].astype(np.float32) / 255
    (rgb,) = session.run(None, feed | {"fused": luminance[None, None]})
    return np.rint(255 * rgb[0].transpose(1, 2, 0)).astype(int)


def wanted(sources, luminance, options):
    a, b = (read_picture(source) for source in sources)
    levels = finish_pair(luminance, Prepared(a, b), options).to_array(8).astype(int)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)


@pytest.mark.parametrize("sources", [(grey(1), coloured(2)), (coloured(3), coloured(4))], ids=["one grey", "colour"])
def test_every_choice_is_within_a_grey_level(session, sources):
    luminance = (0.5 * sources[0] + 0.5 * sources[1]).mean(axis=2).astype(np.float32) / 255
    for choice in product(*CHOICES.values()):
        options = FinishOptions(*choice)
        difference = np.abs(finished(session, sources, luminance, options) - wanted(sources, luminance, options))
        assert (difference.max(axis=2) > 1).mean() <= 0.001, options


@pytest.mark.parametrize("output_range", CHOICES["output_range"])
def test_a_constant_image_stays_constant(session, output_range):
    sources = [np.full((20, 30, 3), level, np.uint8) for level in (80, 120)]
    luminance = np.full((20, 30), 0.4, np.float32)
    options = FinishOptions(output_range, "none", "a")
    np.testing.assert_allclose(
        finished(session, sources, luminance, options), wanted(sources, luminance, options), atol=1
    )


def test_a_white_that_the_fit_exceeds_keeps_its_hue(session):
    sources = [grey(1), coloured(2)]
    luminance = np.clip((sources[0].astype(np.float32) + sources[1]).mean(axis=2) / 255, 0, 1)
    options = FinishOptions("network", "full-detail", "b")
    found, expected = finished(session, sources, luminance, options), wanted(sources, luminance, options)
    white = expected.min(axis=2) == 255
    assert white.any()
    assert np.abs(found - expected)[white].max() <= 1
    # Elsewhere, red, green and blue are in the order of the source.
    order = np.argsort(sources[1][~white].astype(int), axis=1)
    assert (np.diff(np.take_along_axis(expected[~white], order, axis=1), axis=1) >= -1).all()
