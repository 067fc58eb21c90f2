"""A 3 x 3 convolution over a picture that is given a few rows at a time, from top to bottom."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.blocks import LayerNorm2d

_HELD = 2
"""Input rows that the next output rows still need."""


def pad_columns(rows: Tensor, mode: str) -> None:
    """Write the border columns, the first and the last, of (n, W + 2, C) rows, from the columns between them."""
    if mode == "zeros":
        rows[:, 0] = rows[:, -1] = 0
    else:
        inner = 1 if mode == "replicate" else 2
        rows[:, 0], rows[:, -1] = rows[:, inner], rows[:, -1 - inner]


class Pointwise:
    """A pointwise convolution, and the layer norm before it if there is one.

    The centring of the norm and its scales are linear: they stand in the matrix. The shift is left to the caller.

    Args:
        conv: the pointwise convolution.
        norm: the norm.
        outputs: which of the convolution's channels to compute; all if not given.
        parts: maps that these channels are written to, equally many to each.
        scales: what the norm divides by, inverted, for each pixel of all rows: found here, to be used again.
        known: use these scales.

    Attributes:
        weights: one matrix (inputs, outputs of the part) for each part.
        shifts: what the shift of the norm adds to the outputs, one vector for each part, or None.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        norm: LayerNorm2d | None = None,
        outputs: slice = slice(None),
        parts: int = 1,
        scales: Tensor | None = None,
        *,
        known: bool = False,
    ) -> None:
        weight = conv.weight.flatten(1)[outputs]
        self.norm, self.shifts = norm, None
        self.scales, self.known = scales, known
        if norm is not None:
            channels = weight.shape[1]
            self.mean = weight.new_full((channels,), 1 / channels)
            self.centring = torch.eye(channels, dtype=weight.dtype, device=weight.device) - 1 / channels
            self.shifts = (weight @ norm.bias).chunk(parts)
            weight = weight * norm.weight
            weight = weight - weight.mean(dim=1, keepdim=True)
        self.weights = [part.T.contiguous() for part in weight.chunk(parts)]

    def without_shift(self, rows: Tensor, first: int, outs: list[Tensor]) -> None:
        """Write the outputs for some rows, but for the shift.

        Args:
            rows: (n, W, inputs).
            first: which row of all the first of them is.
            outs: (n, W, outputs of the part) for each part, contiguous.
        """
        x = rows.flatten(0, 1)
        if self.norm is not None:
            x = self._normalised(x, self.norm.eps, slice(first, first + len(rows)))
        for weight, out in zip(self.weights, outs, strict=True):
            torch.mm(x, weight, out=out.flatten(0, 1))

    def _normalised(self, x: Tensor, eps: float, rows: slice) -> Tensor:
        scales = None if self.scales is None else self.scales[rows].flatten()
        if self.known and scales is not None:
            # Not centred: the matrix does that.
            return x * scales[:, None]
        x = x @ self.centring
        scales = torch.mv(x * x, self.mean, out=scales).add_(eps).rsqrt_()
        return x.mul_(scales[:, None])


class RowConvolution:
    """A 3 x 3 convolution of `refusion.blocks` that keeps height and width, fed with rows.

    An output row needs the input row below it, so that the output is one row behind, until the last rows are given.
    The two input rows that are still needed are held: nothing is computed twice.

    The channels of a wide depthwise convolution are kept in several maps, of which three rows fit a processor's cache.

    Args:
        conv: the convolution, padded by one as in `refusion.blocks`.
        before: a pointwise convolution of the rows before this one, which must then be depthwise.
        outputs: which of a depthwise convolution's channels to compute; all if not given.
        room: whether the output has room for border columns; what stands in them is then without meaning.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        before: Pointwise | None = None,
        outputs: slice = slice(None),
        *,
        room: bool = False,
    ) -> None:
        parts = 1 if before is None else len(before.weights)
        self.weights = [
            part.contiguous(memory_format=torch.channels_last) for part in conv.weight[outputs].chunk(parts)
        ]
        self.groups = 1 if conv.groups == 1 else self.weights[0].shape[0]
        self.mode, self.before, self.room = conv.padding_mode, before, room
        self.borders: list[Tensor | float] = [0.0] * parts
        self.biases: list[Tensor | None] = [None] * parts
        if before is not None and before.shifts is not None:
            # A constant on every input pixel is a constant on every output pixel, if the border has it too.
            self.borders = [-shift for shift in before.shifts]
            self.biases = [
                shift * weight.sum(dim=(1, 2, 3)) for shift, weight in zip(before.shifts, self.weights, strict=True)
            ]
        self.windows: list[Tensor] = []
        self.taken = self.held = self.done = 0

    def push(self, rows: Tensor, last: bool) -> tuple[slice, list[Tensor]]:
        """Take the next rows.

        Args:
            rows: (n, W + 2, inputs), with border columns (see `pad_columns`); n may be 0 unless these are the last
                ones.
            last: whether the picture ends here.

        Returns:
            Which rows of the picture the output is, and the output, (m, W, outputs of the part) for each part, or
            (m, W + 2, outputs) with room for border columns.
        """
        self._make_room(rows)
        count = rows.shape[0]
        start, stop = _HELD - self.held, _HELD + count
        if count:
            self._fill([window[_HELD:stop] for window in self.windows], rows)
        self.taken += count
        self.held = min(_HELD, stop - start)
        # Reflection at the top needs the second row.
        ready = last or (count and stop - start >= 2)
        first = self.done == 0
        padding = (0, 1) if self.room else 0
        outs = []
        for window, weight, bias, border in zip(self.windows, self.weights, self.biases, self.borders, strict=True):
            if ready:
                begin, end = self._pad_rows(window, start, stop, first, last, border)
                x = window[None, begin:end].permute(0, 3, 1, 2)
                outs.append(F.conv2d(x, weight, bias, padding=padding, groups=self.groups).permute(0, 2, 3, 1)[0])
            else:
                outs.append(rows.new_empty(0, rows.shape[1] - (0 if self.room else 2), weight.shape[0]))
            window[:_HELD] = window[count : count + _HELD].clone()
        before, self.done = self.done, self.done + outs[0].shape[0]
        return slice(before, self.done), outs

    def _make_room(self, rows: Tensor) -> None:
        """Room for the rows, two before and one after them."""
        needed = _HELD + rows.shape[0] + 1
        if self.windows and self.windows[0].shape[0] >= needed:
            return
        widths = [rows.shape[2]] if self.before is None else [weight.shape[1] for weight in self.before.weights]
        windows = [rows.new_empty(needed, rows.shape[1], channels) for channels in widths]
        for window, old in zip(windows, self.windows, strict=False):
            window[:_HELD] = old[:_HELD]
        self.windows = windows

    def _fill(self, windows: list[Tensor], rows: Tensor) -> None:
        if self.before is None:
            windows[0][:] = rows
            return
        # What is done pixel by pixel commutes with repeating pixels.
        self.before.without_shift(rows, self.taken, windows)
        if self.mode == "zeros":
            for window, border in zip(windows, self.borders, strict=True):
                window[:, 0] = window[:, -1] = border

    def _pad_rows(
        self, window: Tensor, start: int, stop: int, first: bool, last: bool, border: Tensor | float
    ) -> tuple[int, int]:
        """Write what lies above the first and below the last row of the picture."""
        inner = 0 if self.mode == "replicate" else 1
        if first:
            window[start - 1] = border if self.mode == "zeros" else window[start + inner]
            start -= 1
        if last:
            window[stop] = border if self.mode == "zeros" else window[stop - 1 - inner]
            stop += 1
        return start, stop
