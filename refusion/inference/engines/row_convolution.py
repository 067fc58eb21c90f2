"""A 3 x 3 convolution over a picture that is given a few rows at a time, from top to bottom."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.modules.blocks import LayerNorm2d, depthwise_products, is_slow

_HELD = 2
"""Input rows that the next output rows still need."""


def pad_columns(rows: Tensor, mode: str) -> None:
    """Write the border columns, the first and the last, of (n, W + 2, C) rows, from the columns between them."""
    if mode == "zeros":
        rows[:, 0] = rows[:, -1] = 0
    else:
        inner = 1 if mode == "replicate" else 2
        rows[:, 0], rows[:, -1] = rows[:, inner], rows[:, -1 - inner]


def normalised(rows: Tensor, eps: float, scales: Tensor | None = None) -> Tensor:
    """A layer norm without its weight and shift: the rows, centred and divided by their standard deviation.

    Args:
        rows: (n, W, C).
        eps: the norm's.
        scales: (n, W), to be filled with what the centred rows are multiplied by, for use with `scaled`.

    Returns:
        (n, W, C).
    """
    x = rows.flatten(0, 1)
    # A product with a vector takes a fraction of the time that a mean over a few channels takes.
    mean = x.new_full((x.shape[1],), 1 / x.shape[1])
    x = x - torch.mv(x, mean)[:, None]
    scales = None if scales is None else scales.flatten()
    scales = torch.mv(x * x, mean, out=scales).add_(eps).rsqrt_()
    return x.mul_(scales[:, None]).unflatten(0, rows.shape[:2])


def scaled(rows: Tensor, scales: Tensor) -> Tensor:
    """What `normalised` gives but for the centring, which `Pointwise` does too.

    Args:
        rows: (n, W, C).
        scales: (n, W).

    Returns:
        (n, W, C).
    """
    return rows * scales[..., None]


class Pointwise:
    """A pointwise convolution, and what is linear of the layer norm before it if there is one.

    The centring of the norm and its weight stand in the matrix. The shift is left to the caller.

    Args:
        conv: the pointwise convolution.
        norm: the norm; what is given to the convolution is then `normalised` or `scaled`.
        outputs: which of the convolution's channels to compute; all if not given.

    Attributes:
        weight: the matrix, (inputs, outputs).
        shift: what the shift of the norm adds to the outputs, or None.
    """

    def __init__(self, conv: nn.Conv2d, norm: LayerNorm2d | None = None, outputs: slice = slice(None)) -> None:
        weight = conv.weight.flatten(1)[outputs]
        self.shift = None
        if norm is not None:
            self.shift = weight @ norm.bias
            weight = weight * norm.weight
            weight = weight - weight.mean(dim=1, keepdim=True)
        self.weight = weight.T.contiguous()


class RowConvolution:
    """A 3 x 3 convolution of `refusion.modules.blocks` that keeps height and width, fed with rows.

    An output row needs the input row below it, so that the output is one row behind, until the last rows are given.
    The two input rows that are still needed are held: nothing is computed twice.

    Args:
        conv: the convolution, padded by one as in `refusion.modules.blocks`.
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
        self.weight = conv.weight[outputs].contiguous(memory_format=torch.channels_last)
        self.groups = 1 if conv.groups == 1 else len(self.weight)
        self.mode, self.before, self.room = conv.padding_mode, before, room
        self.border: Tensor | float = 0.0
        self.bias: Tensor | None = None
        if before is not None and before.shift is not None:
            # A constant on every input pixel is a constant on every output pixel, if the border has it too.
            self.border, self.bias = -before.shift, before.shift * self.weight.sum(dim=(1, 2, 3))
        self.last_rows: Tensor | None = None
        self.held = self.done = 0

    def push(self, rows: Tensor, last: bool) -> tuple[slice, Tensor]:
        """Take the next rows.

        Args:
            rows: (n, W + 2, inputs), with border columns (see `pad_columns`); n may be 0 unless these are the last
                ones.
            last: whether the picture ends here.

        Returns:
            Which rows of the picture the output is, and the output, (m, W, outputs), or (m, W + 2, outputs) with room
            for border columns.
        """
        window = self._window(rows)
        first, start, stop = self.done == 0, _HELD - self.held, _HELD + len(rows)
        self.held = min(_HELD, self.held + len(rows))
        # Reflection at the top needs the second row.
        if not (last or (len(rows) > 0 and self.held == _HELD)):
            width = rows.shape[1] - (0 if self.room else 2)
            return slice(self.done, self.done), rows.new_empty(0, width, len(self.weight))
        start, stop = self._pad_rows(window, start, stop, first, last)
        x = window[None, start:stop].permute(0, 3, 1, 2)
        if self.groups > 1 and is_slow(x):
            x = depthwise_products(F.pad(x, (1, 1)) if self.room else x, self.weight)
            x = x if self.bias is None else x + self.bias[:, None, None]
        else:
            x = F.conv2d(x, self.weight, self.bias, padding=(0, 1) if self.room else 0, groups=self.groups)
        x = x.permute(0, 2, 3, 1)[0]
        before, self.done = self.done, self.done + len(x)
        return slice(before, self.done), x

    def _window(self, rows: Tensor) -> Tensor:
        """The rows that are held, the new ones, and room for one more."""
        channels = rows.shape[2] if self.before is None else self.before.weight.shape[1]
        window = rows.new_empty(_HELD + len(rows) + 1, rows.shape[1], channels)
        if self.last_rows is not None:
            window[:_HELD] = self.last_rows
        new = window[_HELD:-1]
        if self.before is None:
            new[:] = rows
        else:
            # What is done pixel by pixel commutes with repeating pixels.
            torch.mm(rows.flatten(0, 1), self.before.weight, out=new.flatten(0, 1))
            if self.mode == "zeros":
                new[:, 0] = new[:, -1] = self.border
        self.last_rows = window[len(rows) : len(rows) + _HELD].clone()
        return window

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
