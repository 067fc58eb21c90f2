"""What a fusion loss asks for: the image that minimises it, and the scores of that image.

    python benchmarks/loss_optimum.py --task medical --data TRAIN --pairs 5 --alpha 0.25

The pixels themselves are optimised for the loss, without a network, so that a loss can be judged apart from how well a
module was trained with it. Rows: losses with fixed weights, the starting gains of the preset and those with other flags
of train.py (--flags), and the weights that a trained model proposes (--model); each with magnitudes in the gradient
term (as in the paper) and with signed derivatives.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch

from refusion.hub.names import local_folder, locate
from refusion.metrics.fusion import score
from refusion.models.model import ReFusion
from refusion.models.training_modules import load_training_modules
from refusion.modules.loss_proposal import (
    LossWeights,
    feature_scores,
    propose_weights,
    smoothed_gradient_scores,
    weights_from_logits,
)
from refusion.pairs.dataset import load_pairs, read_row
from refusion.tasks import TASKS, get_task
from refusion.training.fixed_losses import FIXED_LOSSES, fixed_weights
from refusion.training.flags import make_parser, settings_from
from refusion.training.losses import proposed_fusion_loss
from refusion.training.settings import TrainingSettings

METRICS = ("EN", "SD", "SF", "MI", "CC", "SCD", "VIF", "Qabf", "SSIM")
Pair = tuple[torch.Tensor, torch.Tensor]


def middles(data: Path, task: str, count: int, side: int) -> list[Pair]:
    """The middles of `count` pairs spread over the data set, at most `side` high and wide, (1, 1, h, w) each."""
    dataset = load_pairs(data, get_task(task)).dataset
    pairs = []
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        a, b = (torch.from_numpy(x)[None, None] for x in read_row(dataset[int(index)]))
        top, left = (max(0, (length - side) // 2) for length in a.shape[2:])
        pairs.append(tuple(x[..., top : top + side, left : left + side].contiguous() for x in (a, b)))
    return pairs


def gains_alone(a: torch.Tensor, b: torch.Tensor, settings: TrainingSettings) -> LossWeights:
    """The weights that the starting gains give without any network."""
    scores = feature_scores(torch.tensor(settings.gains), a, b, settings.relative)
    return weights_from_logits(smoothed_gradient_scores(scores, settings.gradient_smoothing))


def optimum(
    a: torch.Tensor, b: torch.Tensor, weights: LossWeights, alpha: float, signed: bool, steps: int
) -> torch.Tensor:
    """The image, in [0, 1], that Adam reaches when it minimises the fusion loss, starting from the average."""
    fused = ((a + b) / 2).requires_grad_()
    optimizer = torch.optim.Adam([fused], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        proposed_fusion_loss(fused, a, b, weights, alpha, signed).backward()
        optimizer.step()
        schedule.step()
    return fused.detach().clamp(0, 1)


def scores(pairs: list[Pair], fused: list[torch.Tensor]) -> dict[str, float]:
    """Means over the pairs."""
    rows = [score(*(255 * x.double() for x in (a, b, f)), METRICS) for (a, b), f in zip(pairs, fused, strict=True)]
    return {metric: statistics.fmean(row[metric] for row in rows) for metric in METRICS}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True, type=Path, help="pairs, as for train.py")
    parser.add_argument("--pairs", type=int, default=5, help="pairs, spread over the data set (default: 5)")
    parser.add_argument("--side", type=int, default=208, help="largest side of the middles in pixels (default: 208)")
    parser.add_argument("--alpha", type=float, default=0.25, help="share of the gradient term (default: 0.25)")
    parser.add_argument("--steps", type=int, default=150, help="steps of the descent (default: 150)")
    parser.add_argument(
        "--flags", action="append", default=[], help="also the gains that these flags of train.py give; several times"
    )
    parser.add_argument("--model", action="append", default=[], help="also the loss of this model; several times")
    args = parser.parse_args()

    pairs = middles(args.data, args.task, args.pairs, args.side)
    proposed = {name: [fixed_weights(name, a, b) for a, b in pairs] for name in FIXED_LOSSES}
    for flags in ("", *args.flags):
        run = make_parser().parse_args(["--task", args.task, "--data", "", "--out", "", *flags.split()])
        settings = settings_from(run)
        proposed[f"starting gains {flags}".strip()] = [gains_alone(a, b, settings) for a, b in pairs]
    for name in args.model:
        folder = local_folder(locate(name if "/" not in name else Path(name)))
        module, _ = load_training_modules(folder, ReFusion.from_pretrained(folder).config)
        with torch.no_grad():
            proposed[name] = [propose_weights(module, a, b) for a, b in pairs]
    print(f"{args.task}, alpha {args.alpha}, middles of {len(pairs)} pairs, bare 8-bit luminance")
    print(" | ".join(["weights", "gradient", *METRICS]))

    def row(*names: str, fused: list[torch.Tensor]) -> None:
        print(" | ".join([*names, *(f"{value:.3f}" for value in scores(pairs, fused).values())]), flush=True)

    row("plain averaging", "-", fused=[(a + b) / 2 for a, b in pairs])
    for name, weights in proposed.items():
        for signed in (False, True):
            found = [optimum(a, b, w, args.alpha, signed, args.steps) for (a, b), w in zip(pairs, weights, strict=True)]
            row(name, "signed" if signed else "magnitude", fused=found)


if __name__ == "__main__":
    main()
