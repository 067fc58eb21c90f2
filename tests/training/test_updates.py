"""The three updates: the forward-mode outer gradient against double backward, and what each leaves unchanged."""

from dataclasses import replace

import pytest
import torch
from double_backward import outer_gradient_by_double_backward
from support.modules import SMALL, batch, modules, options

from refusion.modules.loss_proposal import LossWeights
from refusion.training.crops import exchange
from refusion.training.losses import proposed_fusion_loss
from refusion.training.updates import (
    direct_gradient,
    fusion_loss_and_reconstruction_loss,
    imbalance,
    outer_gradient,
    propose,
    reconstruction_loss_of,
    source_targets,
    updated_reconstruction,
)


def relative_difference(one, other) -> float:
    assert one.keys() == other.keys()
    flat, reference = (torch.cat([g.flatten() for g in x.values()]) for x in (one, other))
    assert reference.abs().max() > 0
    return ((flat - reference).norm() / reference.norm()).item()


@pytest.mark.parametrize("arguments", [SMALL, {}])
@pytest.mark.parametrize(
    "extra", [{}, {"noise": 0.06}, {"equivariant": True, "noise": 0.06}, {"inner_reconstruction": False}]
)
def test_outer_gradient_equals_double_backward(arguments, extra):
    m = modules(**arguments)
    forward_mode = outer_gradient(m, batch(1), batch(2), 0.7, options(**extra)).meta
    reference = outer_gradient_by_double_backward(m, batch(1), batch(2), 0.7, options(**extra))
    assert relative_difference(forward_mode, reference) < 1e-8


def test_outer_gradient_in_image_space_equals_double_backward():
    m, inner, opts = modules(), batch(1), options(image_space=True)
    gradient = outer_gradient(m, inner, inner, 0.7, opts).meta

    fused = m.fusion(*inner).detach().requires_grad_()
    reconstruction = updated_reconstruction(m, fused.detach(), inner, opts)
    (g,) = torch.autograd.grad(reconstruction_loss_of(m, reconstruction, fused, inner, opts), fused)
    loss = proposed_fusion_loss(fused, *inner, propose(m.proposal, inner, False), 0.7)
    (step,) = torch.autograd.grad(loss, fused, create_graph=True)
    named = dict(m.proposal.named_parameters())
    reference = torch.autograd.grad(((fused - opts.inner_lr * step) * g).sum(), list(named.values()))
    assert relative_difference(gradient, dict(zip(named, reference, strict=True))) < 1e-8


@pytest.mark.parametrize("image_space", [False, True])
def test_outer_gradient_leaves_stored_weights_alone(image_space):
    m = modules()
    before = [p.clone() for part in (m.fusion, m.proposal, m.reconstruction) for p in part.parameters()]
    outer_gradient(m, batch(1), batch(2), 0.5, options(image_space=image_space, noise=0.1), balance=True)
    after = [p for part in (m.fusion, m.proposal, m.reconstruction) for p in part.parameters()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


@pytest.mark.parametrize("image_space", [False, True])
def test_without_its_inner_update_the_reconstruction_module_stays_and_the_outer_gradient_differs(image_space):
    m, inner, outer = modules(), batch(1), batch(2)
    without = options(image_space=image_space, inner_reconstruction=False)
    stored = dict(m.reconstruction.named_parameters())
    kept = updated_reconstruction(m, m.fusion(*inner), inner, without)
    assert all(torch.equal(kept[name], p) for name, p in stored.items())
    with_update = outer_gradient(m, inner, outer, 0.5, options(image_space=image_space)).meta
    assert relative_difference(outer_gradient(m, inner, outer, 0.5, without).meta, with_update) > 1e-3


def test_outer_gradient_points_where_the_outer_loss_falls():
    m, opts = modules(), options(inner_lr=0.5)
    result = outer_gradient(m, batch(1), batch(2), 1.0, opts)
    with torch.no_grad():
        norm = torch.cat([g.flatten() for g in result.meta.values()]).norm()
        for name, parameter in m.proposal.named_parameters():
            parameter -= 0.05 * result.meta[name] / norm
    assert outer_gradient(m, batch(1), batch(2), 1.0, opts).loss < result.loss


def test_balance_gradient_brings_the_mean_weights_to_a_half():
    m = modules()
    with torch.no_grad():
        m.proposal.intensity_head.weight[0] += 0.3

    def distance():
        return (propose(m.proposal, batch(1), False).intensity[:, 0].mean(dim=(1, 2)) - 0.5).abs().mean()

    before = distance()
    for _ in range(30):
        pull = outer_gradient(m, batch(1), batch(1), 1.0, options(image_space=True), balance=True).balance
        norm = torch.cat([g.flatten() for g in pull.values()]).norm()
        with torch.no_grad():
            for name, parameter in m.proposal.named_parameters():
                parameter -= 0.1 * pull[name] / norm
    assert distance() < before / 2


def test_the_imbalance_is_that_of_each_image_squared():
    w, v = (
        torch.tensor(x)[:, :, None, None].expand(2, 2, 4, 4)
        for x in ([[0.7, 0.3], [0.3, 0.7]], [[0.5] * 2, [0.9, 0.1]])
    )
    assert imbalance(LossWeights(w, v)).item() == pytest.approx((0.2**2 + (0.2**2 + 0.4**2)) / 2)


def test_targets_are_not_swapped_by_the_exchange():
    a, b = torch.rand(2, 3, 1, 8, 8)
    targets = source_targets(exchange(a, b))
    assert torch.equal(targets[0], torch.cat((a, a)))
    assert torch.equal(targets[1], torch.cat((b, b)))


def test_fusion_update_separates_the_modules():
    m = modules()
    fusion_loss, reconstruction = fusion_loss_and_reconstruction_loss(m, batch(1), 0.5, options())
    reconstruction.backward(retain_graph=True)
    assert all(p.grad is None for part in (m.fusion, m.proposal) for p in part.parameters())
    assert all(p.grad is not None for p in m.reconstruction.parameters())
    m.reconstruction.zero_grad()
    fusion_loss.backward()
    assert all(p.grad is None for part in (m.reconstruction, m.proposal) for p in part.parameters())
    assert all(p.grad is not None for p in m.fusion.parameters())


@pytest.mark.parametrize("extra", [{}, {"equivariant": True}, {"signed_gradient": True}])
def test_the_fusion_update_descends_the_loss_with_the_proposed_weights(extra):
    m, pair = modules(), batch(1)
    found, _ = fusion_loss_and_reconstruction_loss(m, pair, 0.5, options(**extra))
    proposed = propose(m.proposal, pair, extra.get("equivariant", False))
    expected = proposed_fusion_loss(m.fusion(*pair), *pair, proposed, 0.5, extra.get("signed_gradient", False))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert abs(proposed_fusion_loss(m.fusion(*pair), *pair, propose(m.proposal, pair, not extra), 0.5) - found) > 1e-6


def test_weights_are_given_to_the_inner_update_without_a_graph():
    result = outer_gradient(modules(), batch(1), batch(2), 0.5, options())
    assert isinstance(result.weights, LossWeights)
    assert not any(w.requires_grad for w in result.weights)


def test_noise_is_fresh_each_time():
    m, opts = modules(), replace(options(), noise=0.1)
    losses = {fusion_loss_and_reconstruction_loss(m, batch(1), 0.5, opts)[1].item() for _ in range(3)}
    assert len(losses) == 3


@pytest.mark.parametrize("gradient", [outer_gradient, direct_gradient])
def test_layers_with_running_averages_must_not_change(gradient):
    m = modules()
    m.fusion.decoder.append(torch.nn.BatchNorm2d(8).double())
    given = [batch(seed) for seed in range(2 if gradient is outer_gradient else 1)]
    with pytest.raises(ValueError, match=r"The fusion module has a BatchNorm2d \(decoder\.1\) .* call eval\(\)"):
        gradient(m, *given, 0.7, options())
    m.fusion.eval()
    assert all(one.isfinite().all() for one in gradient(m, *given, 0.7, options()).meta.values())
