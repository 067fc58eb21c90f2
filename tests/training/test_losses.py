"""The losses, against values worked out by hand."""

import re

import pytest
import torch

from refusion.modules.gradients import image_gradient, sobel
from refusion.modules.loss_proposal import LossWeights
from refusion.training.losses import alpha_at, proposed_fusion_loss, reconstruction_loss


def halves(n: int = 1, side: int = 8) -> LossWeights:
    return LossWeights(torch.full((n, 2, side, side), 0.5), torch.full((n, 2, side, side), 0.5))


def test_gradient_of_a_ramp_and_of_a_constant():
    ramp = (torch.arange(8.0) / 10).expand(1, 1, 8, 8)
    torch.testing.assert_close(image_gradient(ramp)[..., 1:-1], torch.full((1, 1, 8, 6), 0.8))
    torch.testing.assert_close(image_gradient(ramp), image_gradient(ramp.transpose(2, 3)).transpose(2, 3))
    assert image_gradient(torch.full((1, 1, 8, 8), 0.7)).abs().max() < 1e-6


def test_the_gradient_is_the_sum_of_both_derivatives():
    x, y = torch.arange(8.0).expand(8, 8), torch.arange(8.0).expand(8, 8).T
    image = ((x - 2 * y) / 100)[None, None]
    torch.testing.assert_close(image_gradient(image)[0, 0, 1:-1, 1:-1], torch.full((6, 6), 0.08 + 0.16))


def test_derivatives_are_along_x_and_then_along_y_with_their_signs():
    ramp = torch.arange(8.0).expand(8, 8)[None, None] / 10
    for image, (along, across) in ((ramp, (0, 1)), (ramp.mT, (1, 0))):
        derivatives = sobel(image)[0, :, 1:-1, 1:-1]
        torch.testing.assert_close(derivatives[along], torch.full((6, 6), 0.8))
        assert derivatives[across].abs().max() < 1e-6


def test_fusion_loss_by_hand():
    a, b, fused = torch.full((1, 1, 8, 8), 0.2), torch.full((1, 1, 8, 8), 0.8), torch.full((1, 1, 8, 8), 0.6)
    assert proposed_fusion_loss(fused, a, b, halves(), 1.0).item() == pytest.approx(0.25 * (0.16 + 0.04))
    first = LossWeights(torch.stack((torch.ones(1, 8, 8), torch.zeros(1, 8, 8)), 1), halves().gradient)
    assert proposed_fusion_loss(fused, a, b, first, 1.0).item() == pytest.approx(0.16)


def test_gradient_term_is_scaled_by_alpha():
    a, b, fused = torch.rand(3, 1, 1, 8, 8)
    losses = [proposed_fusion_loss(fused, a, b, halves(), alpha).item() for alpha in (0.0, 0.5, 1.0)]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-5)
    assert losses[2] > losses[0]


def test_only_the_signed_gradient_term_sees_which_way_an_edge_goes():
    ramp = (torch.arange(8.0) / 10).expand(1, 1, 8, 8)
    edges_only = LossWeights(torch.zeros(1, 2, 8, 8), halves().gradient)
    falling = ramp.flip(3)
    assert proposed_fusion_loss(falling, ramp, ramp, edges_only, 1.0) < 1e-10
    signed = proposed_fusion_loss(falling, ramp, ramp, edges_only, 1.0, signed=True)
    # Sobel along x is 0.8 inside and 0.4 at both ends of a row; the difference is twice that.
    assert signed.item() == pytest.approx(2 * 0.25 * (6 * 1.6**2 + 2 * 0.8**2) / 8, rel=1e-5)
    assert proposed_fusion_loss(ramp + 0.1, ramp, ramp, edges_only, 1.0, signed=True) < 1e-10


def test_copying_the_trusted_source_costs_nothing():
    a, b = torch.rand(2, 1, 1, 8, 8)
    trust_b = torch.stack((torch.zeros(1, 8, 8), torch.ones(1, 8, 8)), 1)
    assert proposed_fusion_loss(b, a, b, LossWeights(trust_b, trust_b), 1.0) == 0


def test_reconstruction_loss_counts_the_larger_error():
    a, b = torch.full((1, 1, 8, 8), 0.2), torch.full((1, 1, 8, 8), 0.8)
    assert reconstruction_loss(a, b, a, b) == 0
    assert reconstruction_loss(a, b, a + 0.3, b - 0.1).item() == pytest.approx(0.09, rel=1e-5)
    assert reconstruction_loss(a, b, a + 0.3, b).item() == pytest.approx(0.09, rel=1e-5)


def test_alpha_grows_linearly_and_stays_in_its_bounds():
    assert [alpha_at(x) for x in (0, 1)] == [0.05, 1.0]
    assert alpha_at(0.5) == pytest.approx(0.525)
    assert alpha_at(-1) == alpha_at(0)
    assert alpha_at(2) == alpha_at(1)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 1, 8, 1), (2, 8, 8), (2, 3, 8, 8)])
def test_shapes_that_torch_would_broadcast_are_refused(shape):
    a, b, fused = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.rand(shape)
    with pytest.raises(ValueError, match=re.escape(f"fused {shape}")):
        proposed_fusion_loss(fused, a, b, halves(2), 1.0)
    with pytest.raises(ValueError, match=re.escape(f"a_reconstructed {shape}")):
        reconstruction_loss(a, b, fused, b)


def test_weights_and_images_of_other_shapes_are_refused():
    a, b = torch.rand(2, 2, 1, 8, 8)
    with pytest.raises(ValueError, match=re.escape("must be (2, 2, 8, 8)")):
        proposed_fusion_loss(a, a, b, halves(1), 1.0)
    colour = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="luminance of shape"):
        reconstruction_loss(colour, colour, colour, colour)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_losses_are_computed_in_the_type_of_the_sources(dtype):
    a, b, fused = torch.rand(3, 1, 1, 16, 16)
    weights = halves(side=16)

    def losses(x: torch.Tensor) -> list[torch.Tensor]:
        proposed = [proposed_fusion_loss(x, a, b, weights, 1.0, signed) for signed in (False, True)]
        return [*proposed, reconstruction_loss(a, b, x, x)]

    with torch.autocast("cpu", dtype):
        within, rounded = losses(fused), losses(fused.to(dtype))
    assert within == losses(fused)
    assert rounded == losses(fused.to(dtype).float())
