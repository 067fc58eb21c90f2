"""Trains in double precision, where what is left between two ways to train is an error: one process, or torchrun.

torchrun --nproc-per-node 2 tests/support/train_in_double.py DATA OUT STEPS NAME=VALUE ...
"""

import ast
import sys
from functools import partial
from pathlib import Path
from unittest import mock

from refusion.pairs.dataset import load_pairs
from refusion.system.processes import join_processes
from refusion.tasks import get_task
from refusion.training import trainer
from refusion.training.run_folder import resume, save_checkpoint
from refusion.training.settings import TrainingSettings

# Modules of the size of the paper are too slow in double precision.
MODULES = {
    name: partial(getattr(trainer, name), channels=4, heads=2, blocks=1)
    for name in ("FusionModule", "LossProposalModule", "ReconstructionModule")
}
SMALL = {"crop": 16, "batch_size": 2, "rounds": 1000, "meta_updates": 1, "fusion_updates": 1}


class DoubleTrainer(trainer.MetaTrainer):
    """A trainer whose weights and images are of double precision."""

    def __init__(self, *arguments, **named) -> None:
        with mock.patch.multiple(trainer, **MODULES):
            super().__init__(*arguments, **named)
        for module in (self.modules.fusion, self.modules.proposal, self.modules.reconstruction):
            module.double()
        if self.ema is not None:
            self.ema.double()

    def _batch(self, batches):
        a, b = super()._batch(batches)
        return a.double(), b.double()


def train(data: Path, out: Path, steps: int, **given) -> None:
    """Train to so many fusion updates, from the checkpoint in `out` if there is one."""
    processes = join_processes(cpu=True)
    pairs = load_pairs(data, get_task("ir-vis"), processes=processes)
    run = DoubleTrainer(pairs, TrainingSettings(**{**SMALL, **given}), steps=steps, processes=processes)
    if (out / "checkpoint.pt").exists():
        resume(out, run)
    for _ in run.train():
        pass
    if processes.first:
        out.mkdir(parents=True, exist_ok=True)
        save_checkpoint(out, run)
    processes.wait()
    processes.leave()


if __name__ == "__main__":
    settings = {name: ast.literal_eval(value) for name, _, value in (word.partition("=") for word in sys.argv[4:])}
    train(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), **settings)
