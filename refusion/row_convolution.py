"""A 3 x 3 convolution over a picture that is given a few rows at a time, from top to bottom."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.blocks import LayerNorm2d

_HELD = 2
"""Input rows that the next output rows still need."""


class Pointwise:
    """A pointwise convolution, and the layer norm before it if there is one.

    The centring of the norm and its scales are linear: they stand in the matrices before and after the division by the
    standard deviation. The shift is left to the caller.

    Args:
        conv: the pointwise convolution.
        norm: the norm.
        outputs: which of the convolution's channels to compute; all if not given.

    Attributes:
        weight: (inputs, outputs).
        shift: what the shift of the norm adds to the output, (outputs,), or None.
    """

    def __init__(self, conv: nn.Conv2d, norm: LayerNorm2d | None = None, outputs: slice = slice(None)) -> None:
        weight = conv.weight.flatten(1)[outputs]
        self.norm, self.shift = norm, None
        if norm is not None:
            channels = weight.shape[1]
            self.mean = weight.new_full((channels,), 1 / channels)
            self.centring = torch.eye(channels, dtype=weight.dtype, device=weight.device) - 1 / channels
            self.shift = weight @ norm.bias
            weight = weight * norm.weight
        self.weight = weight.T.contiguous()

    def without_shift(self, x: Tensor, out: Tensor) -> None:
        """(pixels, inputs) to (pixels, outputs), but for the shift."""
        if self.norm is not None:
            x = x @ self.centring
            x *= ((x * x) @ self.mean).add_(self.norm.eps).rsqrt_()[:, None]
        torch.mm(x, self.weight, out=out)


class RowConvolution:
    """A 3 x 3 convolution of `refusion.blocks` that keeps height and width, fed with rows.

    An output row needs the input row below it, so that the output is one row behind, until the last rows are given.
    The two input rows that are still needed are held: nothing is computed twice.

    Args:
        conv: the convolution, padded by one as in `refusion.blocks`.
        before: a pointwise convolution of the rows before this one, which must then be depthwise.
        outputs: which of a depthwise convolution's channels to compute; all if not given.
    """

    def __init__(self, conv: nn.Conv2d, before: Pointwise | None = None, outputs: slice = slice(None)) -> None:
        self.weight = conv.weight[outputs].contiguous(memory_format=torch.channels_last)
        self.groups = 1 if conv.groups == 1 else self.weight.shape[0]
        self.mode, self.before = conv.padding_mode, before
        self.border: Tensor | float = 0.0
        self.bias = None
        if before is not None and before.shift is not None:
            # A constant on every input pixel is a constant on every output pixel, if the border has it too.
            self.border, self.bias = -before.shift, before.shift * self.weight.sum(dim=(1, 2, 3))
        self.window: Tensor | None = None
        self.held = self.done = 0

    def push(self, rows: Tensor, last: bool) -> tuple[slice, Tensor]:
        """Take the next rows.

        Args:
            rows: (n, W, inputs); n may be 0 unless these are the last ones.
            last: whether the picture ends here.

        Returns:
            Which rows of the picture the output is, and the output, (m, W, outputs).
        """
        window = self._window(rows)
        count = rows.shape[0]
        start, stop = _HELD - self.held, _HELD + count
        if count:
            self._fill(window[_HELD:stop], rows)
        self.held = min(_HELD, stop - start)
        # Reflection at the top needs the second row.
        ready = last or (count and stop - start >= 2)
        first = self.done == 0
        if ready:
            start, stop = self._pad_rows(window, start, stop, first, last)
            out = F.conv2d(window[None, start:stop].permute(0, 3, 1, 2), self.weight, self.bias, groups=self.groups)
            out = out.permute(0, 2, 3, 1)[0]
        else:
            out = rows.new_empty(0, rows.shape[1], self.weight.shape[0])
        window[:_HELD] = window[count : count + _HELD].clone()
        begin, self.done = self.done, self.done + out.shape[0]
        return slice(begin, self.done), out

    def _window(self, rows: Tensor) -> Tensor:
        """Room for the rows, two before and one after them, with a column at each side."""
        needed = _HELD + rows.shape[0] + 1
        if self.window is None or self.window.shape[0] < needed:
            channels = rows.shape[2] if self.before is None else self.before.weight.shape[1]
            window = rows.new_empty(needed, rows.shape[1] + 2, channels)
            if self.window is not None:
                window[:_HELD] = self.window[:_HELD]
            self.window = window
        return self.window

    def _fill(self, window: Tensor, rows: Tensor) -> None:
        """Write the rows and their border columns."""
        if self.before is None:
            window[:, 1:-1] = rows
            self._pad_columns(window)
            return
        # What is done pixel by pixel commutes with repeating pixels.
        padded = rows.new_empty(rows.shape[0], rows.shape[1] + 2, rows.shape[2])
        padded[:, 1:-1] = rows
        self._pad_columns(padded)
        self.before.without_shift(padded.flatten(0, 1), window.flatten(0, 1))
        if self.mode == "zeros":
            window[:, 0] = window[:, -1] = self.border

    def _pad_columns(self, rows: Tensor) -> None:
        if self.mode == "zeros":
            rows[:, 0] = rows[:, -1] = 0
        else:
            inner = 1 if self.mode == "replicate" else 2
            rows[:, 0], rows[:, -1] = rows[:, inner], rows[:, -1 - inner]

    def _pad_rows(self, window: Tensor, start: int, stop: int, first: bool, last: bool) -> tuple[int, int]:
        """Write what lies above the first and below the last row of the picture."""
        inner = 0 if self.mode == "replicate" else 1
        if first:
            window[start - 1] = self.border if self.mode == "zeros" else window[start + inner]
            start -= 1
        if last:
            window[stop] = self.border if self.mode == "zeros" else window[stop - 1 - inner]
            stop += 1
        return start, stop
