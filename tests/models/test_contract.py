"""What every model promises, however it was loaded (`refusion.inference.network.Network`)."""

import numpy as np
import pytest

from refusion.inference.network import fuse_luminance
from refusion.models.bundled import load_bundled
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

MODELS = {
    "bundled, whole image": lambda: load_bundled("refusion-ir-vis"),
    "bundled, windowed": lambda: load_bundled("refusion-multi-focus"),
    "torch, whole image": lambda: ReFusion.from_pretrained("refusion-ir-vis"),
    "torch, windowed": lambda: ReFusion.from_pretrained("refusion-multi-focus"),
    "torch, untrained": lambda: ReFusion("medical", channels=8, heads=4, blocks=1).eval(),
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


def luminances(count: int, height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((count, height, width), np.float32))


class TestNetwork:
    def test_has_a_task(self, model):
        assert model.task.name in TASKS

    @pytest.mark.parametrize("size", [(8, 8), (33, 47), (8, 90)])
    def test_any_size_gives_float32_of_that_size_between_0_and_1(self, model, size):
        (fused,) = model.fuse_luminances(luminances(1, *size), luminances(1, *size))
        assert fused.shape == size
        assert fused.dtype == np.float32
        assert 0 <= fused.min() <= fused.max() <= 1

    def test_several_pairs_give_what_each_gives(self, model):
        a, b = luminances(3, 20, 24), luminances(3, 20, 24)[::-1]
        together = model.fuse_luminances(a, b)
        for one, x, y in zip(together, a, b, strict=True):
            np.testing.assert_allclose(one, fuse_luminance(model, x, y), atol=1e-5, rtol=0)

    def test_sources_are_left_as_they_are(self, model):
        a, b = luminances(2, 20, 24)
        before = a.copy(), b.copy()
        fuse_luminance(model, a, b)
        np.testing.assert_array_equal((a, b), before)

    def test_sizes_that_differ_and_unknown_engines_are_refused(self, model):
        a, b = luminances(1, 20, 24), luminances(1, 20, 25)
        with pytest.raises(ValueError, match=r".+"):
            model.fuse_luminances(a, b)
        with pytest.raises(ValueError, match="tiles"):
            model.fuse_luminances(a, a, engine="tiles")
