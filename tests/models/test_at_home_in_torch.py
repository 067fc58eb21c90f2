"""What users of torch and of the Hub's other models expect of `ReFusion`."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from refusion import ReFusion
from refusion.hub.folder import CONFIG_TYPES
from refusion.modules.blocks import depthwise3x3
from refusion.tasks import TASKS

PAIR = [torch.rand(1, 1, 24, 40, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def test_the_type_and_the_device_are_taken_as_transformers_takes_them():
    def type_of(**given):
        return {weight.dtype for weight in ReFusion.from_pretrained("refusion-ir-vis", **given).parameters()}

    for name in ("dtype", "torch_dtype"):
        assert type_of(**{name: torch.float64}, device_map="cpu") == {torch.float64}
        assert type_of(**{name: "float16"}) == {torch.float16}
        assert type_of(**{name: "auto"}, device_map="auto") == {torch.float32}
    assert type_of(dtype="float16", torch_dtype=torch.float16) == {torch.float16}


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("given", ["int8", torch.int64, "nothing"])
def test_other_types_are_refused(name, given):
    with pytest.raises(ValueError, match=f"^{name} is"):
        ReFusion.from_pretrained("refusion-ir-vis", **{name: given})


def test_two_types_at_once_are_refused():
    with pytest.raises(ValueError, match="leave torch_dtype out"):
        ReFusion.from_pretrained("refusion-ir-vis", dtype="float16", torch_dtype="float32")


@pytest.mark.parametrize("given", [3, None, ["refusion-ir-vis"]])
def test_what_is_no_name_of_a_model_is_refused_by_a_sentence(given):
    with pytest.raises(TypeError, match=f"its name or its folder, not as {type(given).__name__}"):
        ReFusion.from_pretrained(given)


def test_a_map_of_modules_is_refused():
    with pytest.raises(ValueError, match="lies on one device"):
        ReFusion.from_pretrained("refusion-ir-vis", device_map={"encoder1": "cpu"})


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_depthwise_convolution_in_float64_is_the_same(padding_mode):
    convolution = depthwise3x3(6, padding_mode).double()
    x = torch.rand(2, 6, 9, 11, dtype=torch.float64, requires_grad=True)
    here, theirs = convolution(x), nn.Conv2d.forward(convolution, x)
    assert torch.allclose(here, theirs, rtol=0, atol=1e-14)
    ones = torch.rand_like(here)
    assert torch.allclose(*(torch.autograd.grad(y, x, ones)[0] for y in (here, theirs)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("engine", ["whole", "strips"])
@pytest.mark.parametrize("name", [task.model for task in TASKS.values()])
def test_float64_gives_what_float32_gives(name, engine):
    model = ReFusion.from_pretrained(name)
    a, b = (x[0, 0].numpy() for x in PAIR)
    single = model.fuse_luminances([a], [b], engine=engine)[0]
    double = model.double().fuse_luminances([a], [b], engine=engine)[0]
    assert np.abs(single - double).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [task.model for task in TASKS.values()])
def test_half_precision_weights_on_a_cpu_are_computed_in_float32(name, dtype):
    """Of a size at which sums over all pixels leave the range of float16."""
    a, b = (torch.rand(160, 200, generator=torch.Generator().manual_seed(seed)).numpy() for seed in (0, 1))
    model = ReFusion.from_pretrained(name)
    single = model.fuse_luminances([a], [b])[0]
    half = model.to(dtype).fuse_luminances([a], [b])[0]
    assert np.abs(single - half).max() < (0.01 if dtype == torch.float16 else 0.1)


def test_strips_in_float16_survive_sums_that_leave_its_range():
    model = ReFusion.from_pretrained("refusion-ir-vis")
    ones = np.ones((160, 200), np.float32)
    single = model.fuse_luminances([ones], [ones])[0]
    half = model.half().fuse_luminances([ones], [ones], engine="strips")[0]
    assert np.abs(single - half).max() < 0.01


def test_the_old_exporter_says_what_to_use():
    model = ReFusion.from_pretrained("refusion-ir-vis")
    with pytest.raises(RuntimeError, match="refusion export"):
        torch.onnx.export(model, tuple(PAIR), io.BytesIO(), dynamo=False)


def test_the_types_of_the_configuration_are_those_of_the_constructor():
    model = ReFusion("medical", window=80)
    assert list(model.config) == list(CONFIG_TYPES)
    assert all(isinstance(value, CONFIG_TYPES[key]) for key, value in model.config.items())
