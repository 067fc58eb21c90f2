"""The trainer: the three updates in turn, and their state."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.nn.utils import get_total_norm

from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, WEIGHTS, load_weights
from refusion.modules.fusion import FusionModule
from refusion.modules.loss_proposal import LossProposalModule, LossWeights
from refusion.modules.reconstruction import ReconstructionModule
from refusion.pairs.dataset import Pairs
from refusion.system.checkpoints import CheckpointError
from refusion.system.processes import ALONE, Processes
from refusion.training.crops import CropBatches, CropTransform, PairReader, exchange
from refusion.training.losses import alpha_at
from refusion.training.settings import FIXED_LOSSES, TrainingSettings
from refusion.training.updates import (
    Batch,
    MetaOptions,
    Modules,
    direct_gradient,
    fusion_loss_and_reconstruction_loss,
    loss_weights,
    outer_gradient,
)

SCHEDULE_STEPS = 10_000
META_EPS = 1e-10


class TrainingError(RuntimeError):
    """The training cannot continue; the message says why and what is saved."""


@dataclass(frozen=True)
class Progress:
    """What is reported after each update.

    Attributes:
        step: fusion updates done.
        share: how much of the run is done, in [0, 1].
        losses: the running losses and the mean and spread of the proposed weights, by name.
        lr: learning rate of the fusion module.
        seconds: training time so far, over all sessions of the run.
    """

    step: int
    share: float
    losses: dict[str, float]
    lr: float
    seconds: float


def make_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Scheduler:
    """The learning-rate schedule over `SCHEDULE_STEPS` steps, whatever the length of the run."""
    warmup: dict[str, Any] = {"warmup_t": round(settings.warmup * SCHEDULE_STEPS), "warmup_lr_init": 0.0}
    if settings.lr_schedule == "step":
        return StepLRScheduler(optimizer, decay_t=SCHEDULE_STEPS // 5, decay_rate=0.1, **warmup)
    lr_min = 0.02 * optimizer.param_groups[0]["lr"]
    return CosineLRScheduler(optimizer, t_initial=SCHEDULE_STEPS, lr_min=lr_min, **warmup)


def fusion_updates_in_a_round(pairs: Pairs, settings: TrainingSettings) -> int:
    """Fusion updates in a round; zero in the settings means one pass over the data.

    Raises:
        ValueError: one pass over a streamed data set is requested, whose length is not known.
    """
    if settings.fusion_updates:
        return settings.fusion_updates
    if pairs.streaming:
        raise ValueError("A streamed data set has no known length; give --fusion-updates.")
    return math.ceil(len(pairs.dataset) / settings.batch_size)


def updates_in_a_round(pairs: Pairs, settings: TrainingSettings, steps: int | None = None) -> tuple[int, int]:
    """Meta updates and fusion updates in a round of a new run.

    Args:
        pairs: the training pairs.
        settings: the hyperparameters.
        steps: fusion updates of the whole run, if it is to have this many; with fewer than in a round, the round
            shrinks in proportion.

    Raises:
        ValueError: less than one step is requested.
    """
    in_a_round = fusion_updates_in_a_round(pairs, settings)
    if steps is None or steps >= in_a_round:
        return settings.meta_updates, in_a_round
    if steps < 1:
        raise ValueError(f"--steps is {steps}; it must be at least 1.")
    return max(1, round(settings.meta_updates * steps / in_a_round)), steps


class MetaTrainer:
    """Meta-trains the three modules and can stop and resume after any update.

    Args:
        pairs: the training pairs.
        settings: the hyperparameters.
        seed: seed of weights, crops and noise.
        device: where to train.
        bf16: run the fusion update under bfloat16 autocast.
        steps: fusion updates after which the run ends, in place of the rounds of the settings; see
            `updates_in_a_round`.
        minutes: time budget; the schedules then follow the clock, and a resumed run is not repeatable to the bit.
        processes: those that train together, each with its part of every batch. All hold the same weights and the same
            state, which does not depend on how many they are.

    Raises:
        ValueError: the batch cannot be split evenly over the processes, or less than one step is requested.
    """

    def __init__(
        self,
        pairs: Pairs,
        settings: TrainingSettings,
        *,
        seed: int = 0,
        device: str = "cpu",
        bf16: bool = False,
        steps: int | None = None,
        minutes: float | None = None,
        processes: Processes = ALONE,
    ) -> None:
        for size in (settings.batch_size, settings.batch_size_last):
            if size % processes.count:
                raise ValueError(
                    f"A batch of {size} cannot be split evenly over {processes.count} processes; give a multiple of "
                    f"{processes.count} as --batch-size, or start another number of processes."
                )
        self.settings = settings
        self.processes = processes
        self.seed = seed
        self.device = torch.device(device)
        self.bf16 = bf16
        self.steps = steps
        self.minutes = minutes
        torch.manual_seed(seed)
        window = settings.window or None
        self.modules = Modules(
            FusionModule(window=window), LossProposalModule(window=window), ReconstructionModule(window=window)
        )
        for module in (self.modules.fusion, self.modules.proposal, self.modules.reconstruction):
            module.to(self.device).to(memory_format=torch.channels_last)
        self._set_gains()
        transform = CropTransform(settings.crop, zoom=settings.zoom, augmentation=settings.augmentation)
        self.reader = PairReader(pairs)
        self.fusion_batches = CropBatches(self.reader, transform, settings.batch_size, seed, processes)
        self.meta_batches = CropBatches(self.reader, transform, settings.batch_size, seed + 1, processes)
        self.meta_updates, self.fusion_updates = updates_in_a_round(pairs, settings, steps)
        trained = [*self.modules.fusion.parameters(), *self.modules.reconstruction.parameters()]
        self.optimizer = create_optimizer_v2(trained, opt=settings.optimizer, lr=settings.lr, weight_decay=0.0)
        self.meta_optimizer = torch.optim.Adam(self.modules.proposal.parameters(), lr=settings.meta_lr, eps=META_EPS)
        self.schedulers = [make_scheduler(o, settings) for o in (self.optimizer, self.meta_optimizer)]
        self.ema = ModelEmaV3(self.modules.fusion, decay=settings.ema, use_warmup=True) if settings.ema else None
        self.noise_generator = torch.Generator(self.device).manual_seed(seed + 2)
        self.round = 0
        self.position = 0
        self.step = 0
        self.seconds = 0.0
        self.losses: dict[str, float] = {}

    @property
    def share(self) -> float:
        """Progress of the run, in [0, 1]."""
        if self.minutes is not None:
            return min(1.0, self.seconds / (60 * self.minutes))
        rounds = self.settings.rounds if self.steps is None else math.ceil(self.steps / self.fusion_updates)
        return min(1.0, (self.round + self.position / self._updates_in_a_round) / rounds)

    @property
    def complete(self) -> bool:
        """Whether the budget is used up."""
        return self.share >= 1 or (self.steps is not None and self.step >= self.steps)

    @property
    def _updates_in_a_round(self) -> int:
        return self.meta_updates + self.fusion_updates

    def train(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Train to the end of the budget, or until `stop` says so; one `Progress` an update.

        Raises:
            TrainingError: a loss or gradient is not finite.
            LostProcessError: another process is gone.
        """
        while (self.steps is None or self.step < self.steps) and not self._over(stop):
            start = time.monotonic()
            self._set_crops()
            for scheduler in self.schedulers:
                scheduler.step(round(self.share * SCHEDULE_STEPS))
            if self.share < self.settings.meta_after or self.settings.loss in FIXED_LOSSES:
                self.position = max(self.position, self.meta_updates)
            if self.position < self.meta_updates:
                self._outer_update()
            else:
                self._fusion_update()
            self.position += 1
            if self.position == self._updates_in_a_round:
                self.position = 0
                self.round += 1
            self.seconds += time.monotonic() - start
            yield Progress(self.step, self.share, self.losses, self.optimizer.param_groups[0]["lr"], self.seconds)

    def _over(self, stop: Callable[[], bool]) -> bool:
        """Whether to end now; all processes agree on it."""
        self.seconds, stopping = self.processes.average_numbers((self.seconds, float(stop())))
        return self.share >= 1 or stopping > 0

    def _set_crops(self) -> None:
        """Switch to the last crops when it is time."""
        settings, last = self.settings, self.share >= self.settings.crop_last_after
        size = (settings.crop_last if last else 0) or settings.crop
        for batches in (self.fusion_batches, self.meta_batches):
            batches.batch_size = (settings.batch_size_last if last else 0) or settings.batch_size
            if batches.transform.size != size:
                batches.transform = replace(batches.transform, size=size)

    def _options(self) -> MetaOptions:
        return MetaOptions(
            inner_lr=self.settings.inner_lr,
            noise=self.settings.noise,
            equivariant=self.settings.equivariant,
            image_space=self.share < self.settings.inner_image_until,
            generator=self.noise_generator,
            loss=self.settings.loss,
            inner_reconstruction=self.settings.inner_reconstruction,
            signed_gradient=self.settings.signed_gradient,
            processes=self.processes,
        )

    def _batch(self, batches: CropBatches) -> Batch:
        a, b = next(batches)
        return exchange(a.to(self.device), b.to(self.device))

    def _alpha(self) -> float:
        return alpha_at(self.share, self.settings.alpha_first, self.settings.alpha_last)

    def _outer_update(self) -> None:
        """Update the loss proposal module.

        Its gradient is that of the outer loss, summed over the outer batches; with the loss ``direct`` that of the
        fusion loss; with a `direct_share` the weighted mean of both, each scaled first.
        """
        options = self._options()
        balance = self.settings.balance if self.share < self.settings.balance_until else 0.0
        inner = self._batch(self.meta_batches)
        total: dict[str, Tensor] = {}
        direct = self.settings.loss == "direct"
        update = "direct" if direct else "outer"
        for _ in range(1 if direct or options.image_space else self.settings.meta_batches):
            if direct:
                result = direct_gradient(self.modules, inner, self._alpha(), options, balance > 0)
            else:
                outer = inner if options.image_space else self._batch(self.meta_batches)
                result = outer_gradient(self.modules, inner, outer, self._alpha(), options, balance > 0)
            for name, gradient in result.meta.items():
                total[name] = total[name] + gradient if name in total else gradient
        direct_part: dict[str, Tensor] = {}
        if self.settings.direct_share and not direct:
            direct_part = direct_gradient(self.modules, inner, self._alpha(), options).meta
        figures = {update: result.loss}
        for name, weight in {"w": result.weights.intensity, "v": result.weights.gradient}.items():
            figures[f"{name}_mean"] = weight[: len(weight) // 2, 0].mean()
            figures[f"{name}_spread"] = weight[:, 0].std()
        total, direct_part, pull, figures = self._averaged(total, direct_part, result.balance, figures)
        self._check(update, [figures[update]], [*total.values(), *direct_part.values(), *pull.values()])
        total = self._scaled(total)
        if direct_part:
            share, direct_part = self.settings.direct_share, self._scaled(direct_part)
            total = {name: (1 - share) * total[name] + share * direct_part[name] for name in total}
        self._step_proposal(total, pull, balance)
        self._record(**{name: figure.item() for name, figure in figures.items()})

    def _averaged(self, *groups: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Average tensors over the processes in one buffer."""
        averaged = iter(self.processes.average([tensor for group in groups for tensor in group.values()]))
        return [{name: next(averaged) for name in group} for group in groups]

    def _scaled(self, gradient: dict[str, Tensor]) -> dict[str, Tensor]:
        """Divide a gradient by its norm, or by its largest entry."""
        flat = torch.cat([part.flatten() for part in gradient.values()])
        scale = torch.linalg.vector_norm(flat) if self.settings.meta_rule == "adam" else flat.abs().max()
        return {name: part / scale.clamp_min(torch.finfo(flat.dtype).tiny) for name, part in gradient.items()}

    def _step_proposal(self, gradient: dict[str, Tensor], pull: dict[str, Tensor], balance: float) -> None:
        named = dict(self.modules.proposal.named_parameters())
        for name, parameter in named.items():
            parameter.grad = gradient[name] + balance * pull[name] if balance else gradient[name]
        if self.settings.meta_rule == "adam":
            self.meta_optimizer.step()
        else:
            lr = self.meta_optimizer.param_groups[0]["lr"]
            with torch.no_grad():
                for parameter in named.values():
                    parameter.sub_(lr * parameter.grad)
        self.meta_optimizer.zero_grad()

    def _fusion_update(self) -> None:
        batch = self._batch(self.fusion_batches)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = fusion_loss_and_reconstruction_loss(self.modules, batch, self._alpha(), self._options())
        self.optimizer.zero_grad()
        (losses[0] + losses[1]).backward()
        parameters = self.optimizer.param_groups[0]["params"]
        *gradients, fusion, reconstruction = self.processes.average([*(p.grad for p in parameters), *losses])
        self._check("fusion", [fusion, reconstruction], gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.modules.fusion, step=self.step)
        self._record(fusion=fusion.item(), reconstruction=reconstruction.item())

    def _check(self, update: str, losses: list[Tensor], gradients: list[Tensor]) -> None:
        """Stop before the gradients are applied if one of them or a loss is not finite."""
        if not torch.stack([*losses, get_total_norm(gradients)]).isfinite().all():
            raise self._not_finite(f"The {update} update")

    def check_weights(self) -> None:
        """Check the last update, whose weights no loss was computed with, before they are saved.

        Raises:
            TrainingError: a weight, or an image that is fused with them, is not finite.
        """
        ramp = torch.linspace(0, 1, 16 * 16, device=self.device).reshape(1, 1, 16, 16)
        modules = (self.modules.fusion, self.fused_module(), self.modules.proposal, self.modules.reconstruction)
        with torch.no_grad():
            values = [self.modules.fusion(ramp, ramp.mT), *(p for module in modules for p in module.parameters())]
        if not all(value.isfinite().all() for value in values):
            raise self._not_finite("The result")

    def _not_finite(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} of step {self.step} is not finite, so training stops, and what was saved before stays. Train "
            "again with a lower learning rate (--lr, --meta-lr) and another --out."
        )

    def _record(self, **values: float) -> None:
        for name, value in values.items():
            before = self.losses.get(name, value)
            self.losses[name] = before + 0.05 * (value - before)

    def _set_gains(self) -> None:
        with torch.no_grad():
            self.modules.proposal.gains.copy_(torch.tensor(self.settings.gains))
        self.modules.proposal.relative = self.settings.relative
        self.modules.proposal.gradient_smoothing = self.settings.gradient_smoothing

    def start_from(self, folder: Path, *, keep_gains: bool, keep_proposal: bool = True) -> None:
        """Load the weights of all three modules from a model folder as the start of a new run.

        Args:
            folder: the model folder.
            keep_proposal: load the loss proposal module too; if not, it starts from the gains of the settings.
            keep_gains: keep its gains rather than those of the settings.

        Raises:
            ModelError: a file is missing or does not fit.
        """
        load_weights(self.modules.fusion, folder / WEIGHTS)
        load_weights(self.modules.reconstruction, folder / RECONSTRUCTION_WEIGHTS)
        if keep_proposal:
            load_weights(self.modules.proposal, folder / PROPOSAL_WEIGHTS)
            if not keep_gains:
                self._set_gains()
        if self.ema is not None:
            self.ema.module.load_state_dict(self.modules.fusion.state_dict())

    @torch.no_grad()
    def propose(self, a: Tensor, b: Tensor) -> LossWeights:
        """The current weights of the fusion loss for pairs, two tensors (N, 1, H, W)."""
        batch = exchange(a, b)
        both = loss_weights(self.modules.proposal, batch, self.settings.loss, self.settings.equivariant)
        return LossWeights(*(weight[: len(a)] for weight in both))

    def fused_module(self) -> FusionModule:
        """The fusion module to keep: the moving average where there is one."""
        return self.modules.fusion if self.ema is None else self.ema.module

    def state_dict(self) -> dict[str, Any]:
        """All of the state: modules, optimisers, random generators, position in the data."""
        return {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "minutes": self.minutes,
            "updates_in_a_round": (self.meta_updates, self.fusion_updates),
            "round": self.round,
            "position": self.position,
            "step": self.step,
            "seconds": self.seconds,
            "losses": dict(self.losses),
            "modules": {f.name: getattr(self.modules, f.name).state_dict() for f in fields(self.modules)},
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizers": [o.state_dict() for o in (self.optimizer, self.meta_optimizer)],
            "batches": [b.state_dict() for b in (self.fusion_batches, self.meta_batches)],
            "noise": self.noise_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; the schedules follow from the progress of the run.

        The run may be longer or shorter than it was to be: other `rounds`, steps or minutes are accepted. Its rounds
        stay as long as they were.

        A setting that the state does not have, because it is newer than the state, counts as having its default.

        Raises:
            CheckpointError: the state belongs to a run with other settings.
        """
        settings = asdict(self.settings)
        saved = {**asdict(TrainingSettings()), **state["settings"]}
        differing = [k for k in settings if k != "rounds" and saved[k] != settings[k]]
        if state["seed"] != self.seed:
            differing.append("seed")
        if differing:
            raise CheckpointError(
                f"The checkpoint was made with other settings ({', '.join(differing)}); resume with the same ones, "
                "or choose another --out: with --from the folder of this run, it starts from these weights."
            )
        for name, weights in state["modules"].items():
            getattr(self.modules, name).load_state_dict(weights)
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        for optimizer, saved in zip((self.optimizer, self.meta_optimizer), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for batches, saved in zip((self.fusion_batches, self.meta_batches), state["batches"], strict=True):
            batches.load_state_dict(saved)
        self.noise_generator.set_state(state["noise"])
        # A state of an older version does not have them.
        self.meta_updates, self.fusion_updates = state.get(
            "updates_in_a_round", (self.meta_updates, self.fusion_updates)
        )
        self.round, self.position = state["round"], state["position"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.losses = dict(state["losses"])
