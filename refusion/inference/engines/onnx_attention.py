"""Attention matrices, computed from sums over pixels."""

import math
from dataclasses import dataclass

import numpy as np

NORM_EPS = 1e-12
"""The eps of torch.nn.functional.normalize, which the paper's attention uses."""

GRAM_CHANNELS = 16
"""Number of queries and keys that are multiplied with each other at a time: fewer take as long."""


@dataclass(frozen=True)
class Attention:
    """Parameters of an attention, and the computation of its matrices from sums over pixels.

    Attributes:
        temperatures: one for each head, (heads).
        of_a_head: number of channels of a head, d.
        projection: the pointwise convolution after the attention, (C, C).
    """

    temperatures: np.ndarray
    of_a_head: int
    projection: np.ndarray

    @property
    def heads(self) -> int:
        """Number of heads."""
        return len(self.temperatures)

    @property
    def free_shares(self) -> int:
        """Number of shares of an output that have to be given, since they add up to 1."""
        return max(1, self.of_a_head - 1)

    def heads_at_a_time(self, channels: int) -> list[slice]:
        """Slices of heads with at most `channels` queries and keys together, but at least one head each."""
        count = max(1, channels // (2 * self.of_a_head))
        return [slice(first, min(first + count, self.heads)) for first in range(0, self.heads, count)]

    def heads_of_a_block(self, channels: int) -> int:
        """Number of heads in a block, whose queries and keys are multiplied at a time.

        Args:
            channels: as for `heads_at_a_time`; no block extends over two of its slices.
        """
        size = 2 * self.of_a_head
        return math.gcd(self.heads, max(1, channels // size), max(1, GRAM_CHANNELS // size))

    @property
    def shape_of_wanted(self) -> tuple[int, int]:
        """Shape of the result of `wanted`: (heads, d d + 2 d)."""
        return self.heads, self.of_a_head * (self.of_a_head + 2)

    def wanted(self, sums: np.ndarray) -> np.ndarray:
        """Select the products of each query with each key of its head, and the squares of both.

        Args:
            sums: for each block of n heads, products of [queries; keys] with themselves, summed over pixels,
                (..., blocks, 2 n d, 2 n d).

        Returns:
            (..., heads, d d + 2 d).
        """
        d, others = self.of_a_head, sums.shape[:-3]
        blocks, of_a_block = sums.shape[-3], self.heads // sums.shape[-3]
        squares = np.diagonal(sums, axis1=-2, axis2=-1).reshape(*others, blocks, 2, of_a_block, d)
        squares = squares.swapaxes(-3, -2).reshape(*others, self.heads, 2 * d)
        half = of_a_block * d
        products = sums[..., :half, half:].reshape(*others, blocks, of_a_block, d, of_a_block, d)
        products = np.einsum("...ninj->...nij", products).reshape(*others, self.heads, d * d)
        return np.concatenate((products, squares), axis=-1)

    def shares(self, wanted: np.ndarray) -> np.ndarray:
        """Compute the attention matrix of each head.

        Args:
            wanted: result of `wanted`, summed over all pixels that the attention covers, (..., heads, d d + 2 d).

        Returns:
            Share of each value (last axis) in each output (second to last): (..., heads, d, d), float32.
        """
        d = self.of_a_head
        norms = np.sqrt(np.maximum(wanted[..., d * d :], NORM_EPS**2))
        scores = wanted[..., : d * d].reshape(*wanted.shape[:-1], d, d)
        scores = scores / (norms[..., :d, None] * norms[..., None, d:]) * self.temperatures[:, None, None]
        # Sums over the first axis are several times as fast as over a short last axis.
        scores = np.ascontiguousarray(np.moveaxis(scores, -1, 0))
        shares = np.exp(scores - scores.max(axis=0))
        return np.moveaxis(shares / shares.sum(axis=0), 0, -1).astype(np.float32)

    def projected(self, wanted: np.ndarray) -> np.ndarray:
        """Combine the attention over a whole image and the projection after it into one pointwise convolution.

        Its inputs are the values.

        Args:
            wanted: as for `shares`, (heads, d d + 2 d).

        Returns:
            (C, C, 1, 1), float32.
        """
        matrix = np.zeros_like(self.projection)
        for head, shares in enumerate(self.shares(wanted)):
            channels = slice(head * self.of_a_head, (head + 1) * self.of_a_head)
            matrix[:, channels] = self.projection[:, channels] @ shares
        return matrix[:, :, None, None]
