"""Subclasses of `ReFusion` with arguments and layers of their own, saved and loaded."""

import json

import pytest
import torch
from torch import nn

from refusion import ModelError, ReFusion

PAIR = [torch.rand(1, 1, 24, 40, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
SMALL = {"task": "medical", "channels": 8, "heads": 4}


class Headed(ReFusion):
    """With a layer of a given number of kernels after the fusion."""

    def __init__(self, kernels: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.kernels = kernels
        self.head = nn.Conv2d(1, kernels, 1)

    def forward(self, a, b):
        return torch.sigmoid(self.head(super().forward(a, b)).mean(1, keepdim=True))


class Named(Headed):
    """A subclass of the subclass, with an argument without a default."""

    def __init__(self, title: str, **kwargs):
        super().__init__(**kwargs)
        self.title = title


class Fixed(ReFusion):
    """Takes none of the arguments of ReFusion."""

    def __init__(self, scale: float = 1.0):
        super().__init__("multi-focus", channels=8, heads=4)
        self.scale = scale


class Derived(ReFusion):
    """Sets an argument of ReFusion itself and passes the others on."""

    def __init__(self, scale: int = 2, **kwargs):
        super().__init__(channels=4 * scale, **kwargs)


class Activated(ReFusion):
    """Takes what JSON cannot hold."""

    def __init__(self, head: nn.Module, **kwargs):
        super().__init__(**kwargs)
        self.head = head


def test_a_subclass_is_saved_with_its_arguments_and_those_of_refusion(tmp_path):
    model = Headed(5, **SMALL).eval()
    model.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config == {**ReFusion(**SMALL).config, "kernels": 5} == model.config
    loaded = Headed.from_pretrained(tmp_path / "saved")
    assert (type(loaded), loaded.kernels, loaded.task.name) == (Headed, 5, "medical")
    with torch.no_grad():
        assert torch.equal(loaded(*PAIR), model(*PAIR))
    loaded.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()


def test_the_card_of_a_subclass_shows_how_to_load_it(tmp_path):
    Headed(**SMALL).save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text()
    assert f'from {__name__} import Headed\n\nmodel = Headed.from_pretrained("./saved")\n' in card
    assert "refusion evaluate" not in card

    class Inner(Headed):
        pass

    card = str(Inner(**SMALL).generate_model_card("me/inner"))
    assert "# Inner is the subclass of refusion.ReFusion that this model was saved from.\n\n" in card
    assert 'model = Inner.from_pretrained("me/inner")' in card
    assert "from refusion import ReFusion\n\nmodel = ReFusion." in str(ReFusion(**SMALL).generate_model_card())


def test_subclasses_of_subclasses_and_those_without_arguments_of_refusion(tmp_path):
    Named("one", kernels=2, **SMALL).save_pretrained(tmp_path / "named")
    named = Named.from_pretrained(tmp_path / "named")
    assert (named.title, named.kernels, named.task.name) == ("one", 2, "medical")
    Fixed(0.5).save_pretrained(tmp_path / "fixed")
    fixed = Fixed.from_pretrained(tmp_path / "fixed")
    assert (fixed.scale, fixed.task.name) == (0.5, "multi-focus")
    plain = ReFusion(**SMALL)
    plain.save_pretrained(tmp_path / "plain")
    assert type("Plain", (ReFusion,), {}).from_pretrained(tmp_path / "plain").config == plain.config


def test_the_folder_of_a_subclass_says_what_loads_it(tmp_path):
    Headed(**SMALL).save_pretrained(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"unknown key kernels; .* loaded with from_pretrained of that subclass"):
        ReFusion.from_pretrained(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"refusion-ir-vis: .*missing .* 'title'"):
        Named.from_pretrained("refusion-ir-vis")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Derived(3, heads=4), "multiple values for keyword argument 'channels'"),
        (lambda: Activated(nn.Conv2d(1, 1, 1), **SMALL), "missing .* 'head'"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, model, reason):
    with pytest.raises(ModelError, match=f"was not saved, .*{reason}.* Give .* only arguments that JSON can hold"):
        model().save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_layer_added_afterwards_is_not_lost_silently(tmp_path):
    model = Headed(**SMALL)
    model.tail = nn.Conv2d(1, 1, 1)
    with pytest.raises(ModelError, match=r"Headed was not saved, because .* with other weights"):
        model.save_pretrained(tmp_path / "saved")
