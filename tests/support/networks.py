"""Small networks for tests, the same in every run and order of tests."""

import torch

from refusion.models.model import ReFusion


def small_network() -> ReFusion:
    """An untrained model with few weights, ready to fuse."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ReFusion(channels=8, heads=4, blocks=1).eval()
