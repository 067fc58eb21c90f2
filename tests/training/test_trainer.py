"""The updates of the trainer and its schedules, compared with what they are made of."""

import pytest
import torch
from support.modules import trainer

from refusion.training.crops import exchange
from refusion.training.losses import alpha_at
from refusion.training.settings import TrainingSettings
from refusion.training.trainer import SCHEDULE_STEPS, MetaTrainer, make_scheduler
from refusion.training.updates import outer_gradient


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_the_cosine_learning_rate_rises_from_zero_and_falls_to_two_percent():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = make_scheduler(optimizer, TrainingSettings(lr_schedule="cosine", warmup=0.1))
    rates = []
    for share in (0, 0.05, 0.5, 1):
        scheduler.step(round(share * SCHEDULE_STEPS))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0, 0.25, 0.5 * (1 + 0.02) / 2, 0.01])


def test_an_outer_update_descends_the_sum_over_the_batches_by_its_largest_entry_and_the_balance(pair_folder):
    given = {"meta_batches": 2, "meta_lr": 1.0, "balance": 0.5, "equivariant": True, "noise": 0.05}
    given |= {"intensity_brightness": 3.0}
    trained, like = (trainer(pair_folder, **given) for _ in range(2))
    next(trained.train())

    inner, *outer = (exchange(*next(like.meta_batches)) for _ in range(3))
    results = [outer_gradient(like.modules, inner, one, alpha_at(0), like._options(), balance=True) for one in outer]
    total = {name: sum(result.meta[name] for result in results) for name in results[0].meta}
    largest = max(gradient.abs().max() for gradient in total.values())
    after = dict(trained.modules.proposal.named_parameters())
    for name, before in like.modules.proposal.named_parameters():
        step = total[name] / largest + 0.5 * results[0].balance[name]
        torch.testing.assert_close(after[name], before - step)
    assert max(pull.abs().max() for pull in results[0].balance.values()) > 1e-4


def moved_in_turn(t: MetaTrainer) -> list[str]:
    """Which module each update moves."""
    moved = []
    before = {name: weights(getattr(t.modules, name)) for name in ("fusion", "proposal")}
    for _ in t.train():
        after = {name: weights(getattr(t.modules, name)) for name in before}
        moved += [name for name in before if not torch.equal(before[name], after[name])]
        before = after
    return moved


def test_outer_updates_begin_after_their_share_of_the_run(pair_folder):
    assert moved_in_turn(trainer(pair_folder, rounds=2, meta_after=0.5)) == ["fusion", "proposal", "fusion"]


def test_the_balance_acts_in_its_share_of_the_run_only(pair_folder):
    def proposal(**given):
        t = trainer(pair_folder, rounds=1, intensity_brightness=3.0, meta_lr=0.01, **given)
        next(t.train())
        return weights(t.modules.proposal)

    without = proposal()
    assert not torch.equal(proposal(balance=0.5), without)
    assert torch.equal(proposal(balance=0.5, balance_until=0.0), without)


def test_in_its_share_of_the_run_the_inner_update_moves_the_image_and_needs_one_batch(pair_folder):
    def batches_drawn(**given):
        t, like = (trainer(pair_folder, rounds=1, **given) for _ in range(2))
        next(t.train())
        drawn = 0
        while not torch.equal(like.meta_batches.state_dict()["generator"], t.meta_batches.state_dict()["generator"]):
            next(like.meta_batches)
            drawn += 1
        return drawn

    assert batches_drawn(meta_batches=1) == 2
    assert batches_drawn(meta_batches=1, inner_image_until=1.0) == 1


def test_the_moving_average_is_kept_and_soon_follows_the_weights(pair_folder):
    t = trainer(pair_folder, rounds=8, lr=1e-3, loss="average", ema=0.999)
    start = weights(t.modules.fusion)
    for _ in t.train():
        pass
    kept, last = weights(t.fused_module()), weights(t.modules.fusion)
    assert not torch.equal(kept, last)
    assert (kept - last).norm() < 0.2 * (start - last).norm()


def test_outer_and_fusion_updates_see_different_crops(pair_folder):
    t = trainer(pair_folder)
    assert not torch.equal(next(t.fusion_batches)[0], next(t.meta_batches)[0])
