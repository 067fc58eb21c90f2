"""The three alternating updates of the meta-training, as functions (paper, section 3.5, algorithm 1).

Parameters are dictionaries, as `torch.func` has them, so that an updated module is a dictionary and not a
second module.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import (
    LossProposalModule,
    LossWeights,
    exchange_equivariant,
    weights_from_logits,
)
from refusion.modules.reconstruction import ReconstructionModule
from refusion.system.processes import ALONE, Processes
from refusion.training.fixed_losses import fixed_weights
from refusion.training.losses import proposed_fusion_loss, reconstruction_loss
from refusion.training.settings import FIXED_LOSSES

Parameters = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]


@dataclass
class Modules:
    """The three modules of the method."""

    fusion: FusionModule
    proposal: LossProposalModule
    reconstruction: ReconstructionModule


@dataclass(frozen=True)
class MetaOptions:
    """Options of the updates.

    Attributes:
        inner_lr: eta of the inner update.
        noise: standard deviation of the noise on the fused image before it is reconstructed. Without it the
            reconstruction module can undo a halved edge, so the loss has no reason to keep contrast.
        equivariant: average the scores over both orders of the sources (the second half of a batch is its
            first half exchanged).
        image_space: the inner update moves the fused image instead of the fusion module's parameters.
        generator: where the noise comes from; on the device of the batch.
        loss: ``learned`` or ``direct``: the loss proposal module weighs the sources; else one of
            `refusion.training.settings.FIXED_LOSSES`.
        inner_reconstruction: the inner update also moves the reconstruction module; without it theta_R' = theta_R.
        signed_gradient: the gradient term compares derivatives with their signs; see `proposed_fusion_loss`.
        processes: those that share each batch. Losses are means over the batch and no module mixes its images, so the
            mean over the processes of a loss or gradient of their equal parts is that of the whole batch.
    """

    inner_lr: float
    noise: float
    equivariant: bool
    image_space: bool
    generator: torch.Generator
    loss: str = "learned"
    inner_reconstruction: bool = True
    signed_gradient: bool = False
    processes: Processes = ALONE


def parameters_of(module: torch.nn.Module) -> Parameters:
    """Detached parameters of a module, by name."""
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def propose(module: LossProposalModule, batch: Batch, equivariant: bool) -> LossWeights:
    """Weights for an exchanged batch (second half = first half with the sources exchanged)."""
    logits = module.logits(*batch)
    return weights_from_logits(exchange_equivariant(logits) if equivariant else logits)


def loss_weights(module: LossProposalModule, batch: Batch, loss: str, equivariant: bool) -> LossWeights:
    """Weights of the fusion loss for an exchanged batch, by the rule of a fixed loss or else as proposed."""
    return fixed_weights(loss, *batch) if loss in FIXED_LOSSES else propose(module, batch, equivariant)


def fusion_loss_of(fused: Tensor, batch: Batch, weights: LossWeights, alpha: float, options: MetaOptions) -> Tensor:
    """L_f of a fused batch with the given weights."""
    return proposed_fusion_loss(fused, *batch, weights, alpha, options.signed_gradient)


def source_targets(batch: Batch) -> Batch:
    """Reconstruction targets of an exchanged batch: the exchange is undone, they are never swapped."""
    a, b = batch
    half = len(a) // 2
    return torch.cat((a[:half], b[half:])), torch.cat((b[:half], a[half:]))


def reconstruction_loss_of(
    modules: Modules, reconstruction: Parameters, fused: Tensor, batch: Batch, options: MetaOptions
) -> Tensor:
    """L_r of a fused batch, through the given parameters of the reconstruction module."""
    if options.noise:
        fused = fused + options.noise * _noise_like(fused, options)
    again = functional_call(modules.reconstruction, reconstruction, (fused,))
    return reconstruction_loss(*source_targets(batch), *again)


def _noise_like(fused: Tensor, options: MetaOptions) -> Tensor:
    """Normal noise for an exchanged batch: that of the whole batch is drawn, and this process's part of it taken."""
    processes, half = options.processes, len(fused) // 2
    shape = (2 * processes.count * half, *fused.shape[1:])
    noise = torch.randn(shape, generator=options.generator, device=fused.device, dtype=fused.dtype)
    return noise.unflatten(0, (2, processes.count, half))[:, processes.rank].flatten(0, 1)


def descend(parameters: Parameters, gradients: Iterable[Tensor], lr: float) -> Parameters:
    """One step of gradient descent; the result is detached."""
    return {
        name: (p - lr * g).detach().requires_grad_() for (name, p), g in zip(parameters.items(), gradients, strict=True)
    }


def differentiable(module: torch.nn.Module) -> Parameters:
    """Parameters of a module, by name, as leaves of a graph of their own."""
    return {name: p.requires_grad_() for name, p in parameters_of(module).items()}


@dataclass(frozen=True)
class OuterGradient:
    """The result of an outer update.

    Attributes:
        meta: gradient of `loss` with respect to the loss proposal module, by parameter name.
        balance: gradient of `imbalance`, likewise; empty if not requested.
        weights: weights proposed for the inner batch, detached.
        loss: the outer reconstruction loss, detached; of `direct_gradient`, the fusion loss.
    """

    meta: dict[str, Tensor]
    balance: dict[str, Tensor]
    weights: LossWeights
    loss: Tensor


def check_constant(modules: Modules) -> None:
    """Check that no layer changes when it is run, as an outer update runs the modules several times.

    Raises:
        ValueError: a layer keeps running averages, and is in training mode.
    """
    for kind, module in vars(modules).items():
        for name, layer in module.named_modules():
            if layer.training and getattr(layer, "running_mean", None) is not None:
                raise ValueError(
                    f"The {kind} module has a {type(layer).__name__} ({name or 'itself'}) in training mode, whose "
                    "running averages an outer update would change; call eval() of this layer first, or use one "
                    "without running averages, such as GroupNorm."
                )


def imbalance(weights: LossWeights) -> Tensor:
    """Squared distance of each image's mean weight from 1/2, of w and v together."""
    means = torch.stack([w[:, 0].mean(dim=(1, 2)) for w in weights])
    return (means - 0.5).square().sum(dim=0).mean()


def outer_gradient(
    modules: Modules, inner: Batch, outer: Batch, alpha: float, options: MetaOptions, balance: bool = False
) -> OuterGradient:
    """Gradient of the outer reconstruction loss with respect to the loss proposal module.

    The inner update is theta_F' = theta_F - eta dL_f/dtheta_F. L_f depends on the loss proposal module only
    through the weights (w, v), so with g = dL_r/dtheta_F' the gradient is
    -eta d/dtheta_L [ (dL_f/dtheta_F) . g ], and the bracket is the derivative of L_f in the direction g: one
    forward-mode product in place of a second backward pass. With `image_space` the fused image F takes
    the place of theta_F, the outer batch is the inner one, and g is taken at F.

    Where several processes share the batches, theta_F', theta_R' and g are those of the whole batches, and what is
    returned is of this process's part: its mean over the processes is the gradient.

    Args:
        modules: the three modules; none is changed.
        inner: exchanged meta-train batch, two tensors (2 N, 1, H, W).
        outer: exchanged meta-test batch.
        alpha: weight of the gradient term.
        options: see `MetaOptions`.
        balance: also compute the gradient of `imbalance`, which shares the forward pass.

    Raises:
        ValueError: a layer changes when it is run, such as BatchNorm2d in training mode, see `check_constant`.
    """
    check_constant(modules)
    weights = propose(modules.proposal, inner, options.equivariant)
    fixed = LossWeights(*(w.detach() for w in weights))
    if options.image_space:
        fused, direction, outer_loss = _image_direction(modules, inner, options)
    else:
        fused, direction, outer_loss = _parameter_direction(modules, inner, outer, fixed, alpha, options)
    _, slope = jvp(lambda f: fusion_loss_of(f, inner, weights, alpha, options), (fused,), (direction,))  # type: ignore[misc]
    meta, pull = _proposal_gradients(modules.proposal, -options.inner_lr * slope, weights, balance)
    return OuterGradient(meta, pull, fixed, outer_loss.detach())


def direct_gradient(
    modules: Modules, batch: Batch, alpha: float, options: MetaOptions, balance: bool = False
) -> OuterGradient:
    """Gradient of the fusion loss itself with respect to the loss proposal module: no meta-learning.

    The paper's ablation without the outer update, for comparison: nothing asks for the reconstruction of the
    sources, and the loss falls fastest where the weights go to the source that the fused image is nearer to already.

    Args:
        modules: the three modules; none is changed.
        batch: exchanged batch, two tensors (2 N, 1, H, W).
        alpha: weight of the gradient term.
        options: see `MetaOptions`.
        balance: also compute the gradient of `imbalance`.

    Raises:
        ValueError: a layer changes when it is run, see `check_constant`.
    """
    check_constant(modules)
    with torch.no_grad():
        fused = modules.fusion(*batch)
    weights = propose(modules.proposal, batch, options.equivariant)
    loss = fusion_loss_of(fused, batch, weights, alpha, options)
    gradient, pull = _proposal_gradients(modules.proposal, loss, weights, balance)
    return OuterGradient(gradient, pull, LossWeights(*(w.detach() for w in weights)), loss.detach())


def _proposal_gradients(
    module: LossProposalModule, loss: Tensor, weights: LossWeights, balance: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    named = dict(module.named_parameters())
    pull = {}
    if balance:
        gradients = torch.autograd.grad(imbalance(weights), list(named.values()), retain_graph=True)
        pull = dict(zip(named, gradients, strict=True))
    gradients = torch.autograd.grad(loss, list(named.values()))
    return dict(zip(named, gradients, strict=True)), pull


def _image_direction(modules: Modules, batch: Batch, options: MetaOptions) -> tuple[Tensor, Tensor, Tensor]:
    """F, g = dL_r/dF, and L_r, where the inner update moves F and theta_R.

    g is taken at F and not at F' = F - eta dL_f/dF: L_f is a mean over all pixels, so F' is nearly F.
    """
    with torch.no_grad():
        fused = modules.fusion(*batch)
    reconstruction = updated_reconstruction(modules, fused, batch, options)
    fused.requires_grad_()
    loss = reconstruction_loss_of(modules, reconstruction, fused, batch, options)
    (direction,) = torch.autograd.grad(loss, fused)
    # The loss of the whole batch is the mean over the processes, and only this one's depends on this part of F.
    return fused.detach(), direction / options.processes.count, loss


def _parameter_direction(
    modules: Modules, inner: Batch, outer: Batch, fixed: LossWeights, alpha: float, options: MetaOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """F of the inner batch, its derivative in the direction g = dL_r/dtheta_F', and L_r of the outer batch.

    The inner update moves theta_F and theta_R.
    """
    start = differentiable(modules.fusion)
    fused = functional_call(modules.fusion, start, inner)
    fusion_loss = fusion_loss_of(fused, inner, fixed, alpha, options)
    of_fusion = torch.autograd.grad(fusion_loss, list(start.values()))
    of_reconstruction = _reconstruction_gradients(modules, fused.detach(), inner, options)
    averaged = options.processes.average((*of_fusion, *of_reconstruction))
    updated = descend(start, averaged[: len(start)], options.inner_lr)
    reconstruction = _moved_reconstruction(modules, averaged[len(start) :], options)
    fused_outer = functional_call(modules.fusion, updated, outer)
    outer_loss = reconstruction_loss_of(modules, reconstruction, fused_outer, outer, options)
    of_updated = options.processes.average(torch.autograd.grad(outer_loss, list(updated.values())))
    along = dict(zip(updated, of_updated, strict=True))
    with torch.no_grad():
        fused, direction = jvp(  # type: ignore[misc]
            lambda p: functional_call(modules.fusion, p, inner), (parameters_of(modules.fusion),), (along,)
        )
    return fused, direction, outer_loss


def updated_reconstruction(modules: Modules, fused: Tensor, batch: Batch, options: MetaOptions) -> Parameters:
    """theta_R': one step of L_r on a fused image that is not part of the graph; theta_R where that step is off."""
    gradients = options.processes.average(_reconstruction_gradients(modules, fused, batch, options))
    return _moved_reconstruction(modules, gradients, options)


def _reconstruction_gradients(
    modules: Modules, fused: Tensor, batch: Batch, options: MetaOptions
) -> tuple[Tensor, ...]:
    """Gradient of L_r with respect to theta_R; none where the inner update leaves it alone."""
    if not options.inner_reconstruction:
        return ()
    start = differentiable(modules.reconstruction)
    loss = reconstruction_loss_of(modules, start, fused, batch, options)
    return torch.autograd.grad(loss, list(start.values()))


def _moved_reconstruction(modules: Modules, gradients: list[Tensor], options: MetaOptions) -> Parameters:
    start = parameters_of(modules.reconstruction)
    return descend(start, gradients, options.inner_lr) if gradients else start


def fusion_loss_and_reconstruction_loss(
    modules: Modules, batch: Batch, alpha: float, options: MetaOptions
) -> tuple[Tensor, Tensor]:
    """Losses of a fusion update: L_f with the weights detached, and L_r on the detached fused image."""
    with torch.no_grad():
        weights = loss_weights(modules.proposal, batch, options.loss, options.equivariant)
    fused = modules.fusion(*batch)
    fusion_loss = fusion_loss_of(fused, batch, weights, alpha, options)
    reconstruction: Parameters = dict(modules.reconstruction.named_parameters())
    return fusion_loss, reconstruction_loss_of(modules, reconstruction, fused.detach(), batch, options)
