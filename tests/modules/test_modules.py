"""The three modules: shapes, sizes, parameters, and the fusion module against the release's arrangement."""

import pytest
import torch
from safetensors.torch import save_file
from support.modules import scattered
from torch import nn
from torch.nn import functional as F

from refusion.hub.folder import load_weights, save_weights
from refusion.models.model import ReFusion
from refusion.modules.blocks import LayerNorm2d, Widths, transposed_attention
from refusion.modules.features import BRIGHTNESS_SPAN, RELATIVE_FLOOR
from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import (
    LossProposalModule,
    exchange_equivariant,
    feature_scores,
    pair_features,
    propose_weights,
    source_features,
    weights_from_logits,
)
from refusion.modules.reconstruction import ReconstructionModule


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def under_way(module: LossProposalModule) -> LossProposalModule:
    """A loss proposal module whose heads and gains are no longer the zeros that it is made with."""
    for weight in (module.intensity_head.weight, module.gradient_head.weight, module.gains):
        weight.normal_(std=0.3)
    return module


def test_parameter_counts():
    assert count(FusionModule()) == 59_856
    assert count(FusionModule()) + count(LossProposalModule()) + count(ReconstructionModule()) < 130_000


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (33, 8), (17, 23)])
@pytest.mark.parametrize("padding_mode", ["replicate", "reflect", "zeros"])
def test_any_size_keeps_its_size(size, padding_mode):
    a, b = torch.rand(2, 1, 1, *size)
    with torch.no_grad():
        fused = FusionModule(padding_mode=padding_mode)(a, b)
    assert fused.shape == a.shape
    assert ((fused > 0) & (fused < 1)).all()


@pytest.mark.parametrize(
    "arguments",
    [{"channels": 8, "heads": 4}, {"channels": 12, "heads": 3, "expansion": 1}, {"heads": 1, "blocks": 1}],
)
def test_constructor_arguments_are_free(arguments):
    a, b = torch.rand(2, 2, 1, 12, 16)
    assert FusionModule(**arguments)(a, b).shape == a.shape
    weights = LossProposalModule(**arguments)(a, b)
    assert weights.intensity.shape == weights.gradient.shape == (2, 2, 12, 16)
    assert [x.shape for x in ReconstructionModule(**arguments)(a)] == [a.shape, a.shape]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"channels": 10, "heads": 4}, "multiple of heads"),
        ({"padding_mode": "same"}, "same"),
        ({"heads": 0}, "heads"),
        ({"blocks": -1}, "blocks is -1; it must be at least 0"),
        ({"blocks": 101}, "blocks is 101; it must be at most 100"),
    ],
)
def test_impossible_arguments_are_named(arguments, named):
    for module in (FusionModule, LossProposalModule, ReconstructionModule):
        with pytest.raises(ValueError, match=named):
            module(**arguments)


def test_the_limits_of_the_arguments_are_accepted():
    for blocks in (0, 100):
        assert Widths(channels=1, heads=1, expansion=1, blocks=blocks, window=5).blocks == blocks


@pytest.mark.parametrize(
    ("name", "value"), [("channels", 8.0), ("heads", "2"), ("expansion", 1.5), ("blocks", True), ("window", 20.0)]
)
def test_arguments_of_another_type_are_named(name, value):
    for module in (FusionModule, LossProposalModule, ReconstructionModule, ReFusion):
        with pytest.raises(TypeError, match=f"^{name} is {value!r}; it must be an int"):
            module(**{name: value})


@pytest.mark.parametrize(
    ("a", "b", "named"),
    [
        ((1, 1, 16, 16), (1, 1, 16, 17), r"\(1, 1, 16, 16\) and \(1, 1, 16, 17\)"),
        ((1, 3, 16, 16), (1, 3, 16, 16), r"\(N, 1, H, W\)"),
        ((16, 16), (16, 16), r"\(N, 1, H, W\)"),
        ((1, 1, 7, 16), (1, 1, 7, 16), "16 x 7"),
    ],
)
def test_wrong_shapes_are_refused(a, b, named):
    with pytest.raises(ValueError, match=named):
        FusionModule()(torch.rand(a), torch.rand(b))


def test_batch_equals_single():
    module = FusionModule().double()
    a, b = torch.rand(2, 3, 1, 16, 24, dtype=torch.float64)
    together = module(a, b)
    for index in range(3):
        torch.testing.assert_close(together[index], module(a[index : index + 1], b[index : index + 1])[0])


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_double_precision_gives_what_single_does(padding_mode):
    module = scattered(padding_mode=padding_mode, channels=8, heads=4, blocks=1)
    a, b = torch.rand(2, 1, 1, 16, 24)
    with torch.no_grad():
        single = module(a, b)
        torch.testing.assert_close(module.double()(a.double(), b.double()).float(), single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [None, 10])
def test_black_sources_have_finite_results_and_gradients_from_the_start(window):
    """With the weights that a training begins with, all queries and keys of a black image are 0."""
    black = torch.zeros(1, 1, 16, 24)
    for module, count in ((FusionModule, 2), (LossProposalModule, 2), (ReconstructionModule, 1)):
        made = module(window=window)
        results = made(*[black] * count)
        results = results if isinstance(results, tuple) else (results,)
        sum(result.square().sum() for result in results).backward()
        assert all(result.isfinite().all() for result in results)
        assert all(p.grad.isfinite().all() for p in made.parameters() if p.grad is not None)


@pytest.mark.parametrize("window", [None, 80])
def test_attention_in_half_precision_survives_sums_that_leave_its_range(window):
    q, k, v = 10 * torch.randn(3, 1, 8, 64, 64)
    temperature = torch.ones(4, 1, 1)
    expected = transposed_attention(q, k, v, temperature, window)
    found = transposed_attention(q.half(), k.half(), v.half(), temperature.half(), window)
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.01)


def test_every_parameter_has_a_gradient():
    a, b = torch.rand(2, 2, 1, 16, 16)
    proposal = under_way(LossProposalModule())
    for module, output in (
        (fusion := FusionModule(), fusion(a, b).sum()),
        (proposal, proposal.logits(a, b).square().sum()),
        (reconstruction := ReconstructionModule(), sum(x.sum() for x in reconstruction(a))),
    ):
        output.backward()
        without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert without == []


def test_layer_norm_is_over_channels_with_biased_variance():
    x = torch.randn(2, 6, 4, 5)
    norm = LayerNorm2d(6)
    expected = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
    torch.testing.assert_close(norm(x), expected)


def test_weights_sum_to_one_and_exchange_with_the_sources():
    module = under_way(LossProposalModule())
    a, b = torch.rand(2, 2, 1, 16, 16)
    forward, backward = propose_weights(module, a, b), propose_weights(module, b, a)
    for one, other in zip(forward, backward, strict=True):
        torch.testing.assert_close(one.sum(dim=1), torch.ones(2, 16, 16))
        torch.testing.assert_close(one, other[:, [1, 0]])
    plain = module(a, b).intensity, module(b, a).intensity
    assert (plain[0] - plain[1][:, [1, 0]]).abs().max() > 1e-4


def test_a_new_loss_proposal_module_proposes_what_its_gains_say():
    a, b = torch.rand(2, 2, 1, 16, 16)
    module = LossProposalModule()
    assert all((weight == 0.5).all() for weight in module(a, b))
    with torch.no_grad():
        module.gains.copy_(torch.tensor([[8.0, 0.0], [0.0, 3.0]]))
    torch.testing.assert_close(module(a, b), weights_from_logits(feature_scores(module.gains, a, b)))


def test_gains_add_brightness_and_contrast_to_the_scores():
    module = LossProposalModule()
    flat, rough = torch.full((1, 1, 24, 24), 0.7), 0.3 + 0.1 * torch.rand(1, 1, 24, 24)
    before = propose_weights(module, flat, rough)
    with torch.no_grad():
        module.gains.copy_(torch.tensor([[8.0, 0.0], [0.0, 3.0]]))
    brighter, rougher = propose_weights(module, flat, rough)
    assert before.intensity.sub(0.5).abs().max() < 0.2
    assert brighter[:, 0].min() > 0.75
    assert rougher[:, 1].min() > 0.9
    torch.testing.assert_close(propose_weights(module, rough, flat).gradient, rougher[:, [1, 0]])


def test_scores_are_those_of_intensity_and_then_of_gradient_for_both_sources():
    a, b = torch.rand(2, 1, 1, 24, 32)
    (bright_a, rough_a), (bright_b, rough_b) = (source_features(x)[0] for x in (a, b))
    scores = feature_scores(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), a, b)[0]
    intensity = bright_a + 2 * rough_a, bright_b + 2 * rough_b
    gradient = 3 * bright_a + 4 * rough_a, 3 * bright_b + 4 * rough_b
    torch.testing.assert_close(scores, torch.stack((*intensity, *gradient)))


def test_exchange_equivariant_leaves_equivariant_scores_alone():
    logits = torch.randn(2, 4, 3, 3)
    both = torch.cat((logits, logits[:, [1, 0, 3, 2]]))
    torch.testing.assert_close(exchange_equivariant(both), both)


def test_relative_features_do_not_depend_on_the_contrast_or_brightness_of_the_pair():
    a, b = torch.rand(2, 2, 1, 24, 32)
    module = LossProposalModule()
    with torch.no_grad():
        module.gains.copy_(torch.tensor([[6.0, 0.2], [0.0, 6.0]]))
        for relative, alike in ((1, True), (0, False)):
            module.relative = bool(relative)
            weights, dimmed = module(a, b), module(0.1 + 0.5 * a, 0.1 + 0.5 * b)
            for one, other in zip(weights, dimmed, strict=True):
                assert torch.allclose(one, other, atol=1e-3) == alike


def test_relative_features_are_in_units_of_the_pair():
    a = torch.rand(1, 1, 24, 32)
    brightness, contrast = pair_features(a, 0.25 * a)[0].unbind(dim=1)
    deviation = ((a.var(unbiased=False) + (0.25 * a).var(unbiased=False)) / 2).sqrt()
    torch.testing.assert_close(BRIGHTNESS_SPAN * deviation * brightness, torch.cat((a, 0.25 * a))[:, 0])
    shares = contrast.exp() - RELATIVE_FLOOR
    torch.testing.assert_close(shares[0], 4 * shares[1], rtol=1e-4, atol=1e-4)
    assert shares.mean().item() == pytest.approx(1, abs=0.1)


def test_features_of_a_flat_pair_are_finite():
    grey = torch.full((1, 1, 24, 32), 0.5)
    brightness, contrast = pair_features(grey, grey)[0].unbind(dim=1)
    assert brightness.isfinite().all()
    torch.testing.assert_close(contrast, torch.full((2, 24, 32), -2.3), atol=0.01, rtol=0)
    torch.testing.assert_close(source_features(grey)[0, 1], torch.full((24, 32), -3.9), atol=0.02, rtol=0)


def test_only_the_scores_for_v_are_averaged_and_away_from_the_border_by_a_box():
    a, b = torch.rand(2, 1, 1, 24, 32)
    module = scattered(LossProposalModule, channels=8, heads=4, blocks=1)
    with torch.no_grad():
        sharp = module.logits(a, b)
        module.gradient_smoothing = 5
        smooth = module.logits(a, b)
    torch.testing.assert_close(smooth[:, :2], sharp[:, :2])
    torch.testing.assert_close(smooth[0, 2, 10, 12], sharp[0, 2, 8:13, 10:15].mean())
    torch.testing.assert_close(smooth[0, 3, 0, 0], F.pad(sharp[:, 3:], (2,) * 4, mode="replicate")[0, 0, :5, :5].mean())


def test_weights_from_before_the_averaging_propose_what_they_did(tmp_path):
    a, b = torch.rand(2, 1, 1, 24, 32)
    module = scattered(LossProposalModule)
    save_weights(module, tmp_path / "now.safetensors")
    older = {name: value for name, value in module.state_dict().items() if name != "gradient_smoothing"}
    save_file(older, tmp_path / "older.safetensors")
    found = []
    for name in ("now", "older"):
        loaded = LossProposalModule().eval()
        loaded.gradient_smoothing = 9
        load_weights(loaded, tmp_path / f"{name}.safetensors")
        found.append(loaded.logits(a, b))
    torch.testing.assert_close(found[0], module.logits(a, b))
    torch.testing.assert_close(found[1], found[0])


def test_the_loss_proposal_module_is_one_graph():
    """Exported and compiled as a whole, also on the device `meta`."""
    a, b = torch.rand(2, 1, 1, 24, 32)
    module = scattered(LossProposalModule, channels=8, heads=4, blocks=1)
    module.relative, module.gradient_smoothing = True, 5
    with torch.no_grad():
        expected = module(a, b)
        torch.testing.assert_close(tuple(torch.export.export(module, (a, b)).module()(a, b)), tuple(expected))
        compiled = torch.compile(module, backend="eager", fullgraph=True)
        torch.testing.assert_close(tuple(compiled(a, b)), tuple(expected))
        assert module.to("meta")(a.to("meta"), b.to("meta")).intensity.shape == (1, 2, 24, 32)


def test_a_loss_proposal_module_within_another_keeps_what_is_stored():
    inner = LossProposalModule(channels=8, heads=4, blocks=1)
    inner.relative, inner.gradient_smoothing = True, 5
    state = nn.ModuleDict({"proposal": inner}).state_dict()
    outer = nn.ModuleDict({"proposal": LossProposalModule(channels=8, heads=4, blocks=1)})
    assert str(outer.load_state_dict(state)) == "<All keys matched successfully>"
    assert (outer["proposal"].relative, outer["proposal"].gradient_smoothing) == (True, 5)
    del state["proposal.gradient_smoothing"]
    outer.load_state_dict(state)
    assert outer["proposal"].gradient_smoothing == 1
    del state["proposal.relative"]
    with pytest.raises(RuntimeError, match=r"proposal\.relative"):
        outer.load_state_dict(state)


@pytest.mark.parametrize("shapes", [((1, 1, 16, 16), (1, 1, 16, 15)), ((1, 3, 16, 16),) * 2, ((1, 1, 4, 16),) * 2])
def test_sources_that_no_weights_can_be_proposed_for_are_refused(shapes):
    module, (a, b) = LossProposalModule(channels=8, heads=4, blocks=1), map(torch.rand, shapes)
    for propose in (module, lambda a, b: propose_weights(module, a, b)):
        with pytest.raises(ValueError, match=r"^The sources"):
            propose(a, b)
