"""The outer gradient with the graph of the inner update kept: the reference for tests and benchmarks."""

import torch
from torch import Tensor
from torch.func import functional_call

from refusion.training.updates import (
    Batch,
    MetaOptions,
    Modules,
    differentiable,
    fusion_loss_of,
    propose,
    reconstruction_loss_of,
    updated_reconstruction,
)


def outer_gradient_by_double_backward(
    modules: Modules, inner: Batch, outer: Batch, alpha: float, options: MetaOptions
) -> dict[str, Tensor]:
    """As `refusion.training.updates.outer_gradient`, by differentiating twice."""
    weights = propose(modules.proposal, inner, options.equivariant)
    start = differentiable(modules.fusion)
    fused = functional_call(modules.fusion, start, inner)
    loss = fusion_loss_of(fused, inner, weights, alpha, options)
    gradients = torch.autograd.grad(loss, list(start.values()), create_graph=True)
    updated = {name: p - options.inner_lr * g for (name, p), g in zip(start.items(), gradients, strict=True)}
    reconstruction = updated_reconstruction(modules, fused.detach(), inner, options)
    fused_outer = functional_call(modules.fusion, updated, outer)
    outer_loss = reconstruction_loss_of(modules, reconstruction, fused_outer, outer, options)
    named = dict(modules.proposal.named_parameters())
    return dict(zip(named, torch.autograd.grad(outer_loss, list(named.values())), strict=True))
