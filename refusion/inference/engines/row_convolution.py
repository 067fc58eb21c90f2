"""A 3 x 3 convolution of an image that is processed a few rows at a time, from top to bottom."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.modules.blocks import LayerNorm2d, depthwise_products, is_slow

_HELD = 2
"""Number of past input rows that the next output rows need."""


def pad_columns(rows: Tensor, mode: str) -> None:
    """Fill the border columns, the first and the last, of (n, W + 2, C) rows from the columns between them."""
    if mode == "zeros":
        rows[:, 0] = rows[:, -1] = 0
    else:
        inner = 1 if mode == "replicate" else 2
        rows[:, 0], rows[:, -1] = rows[:, inner], rows[:, -1 - inner]


def normalised(rows: Tensor, eps: float, scales: Tensor | None = None) -> Tensor:
    """Layer norm without weight and bias: the rows, centred and divided by their standard deviation.

    Args:
        rows: (n, W, C).
        eps: eps of the norm.
        scales: (n, W), output for the factors of the centred rows, for use with `scaled`.

    Returns:
        (n, W, C).
    """
    x = rows.flatten(0, 1)
    # A product with a vector is much faster than a mean over a few channels.
    mean = x.new_full((x.shape[1],), 1 / x.shape[1])
    x = x - torch.mv(x, mean)[:, None]
    scales = None if scales is None else scales.flatten()
    scales = torch.mv(x * x, mean, out=scales).add_(eps).rsqrt_()
    return x.mul_(scales[:, None]).unflatten(0, rows.shape[:2])


def scaled(rows: Tensor, scales: Tensor) -> Tensor:
    """`normalised` without the centring, which `Pointwise` does too.

    Args:
        rows: (n, W, C).
        scales: (n, W), from `normalised`.

    Returns:
        (n, W, C).
    """
    return rows * scales[..., None]


class Pointwise:
    """A pointwise convolution, with the linear part of the layer norm before it, if any.

    The centring and the weight of the norm are folded into the matrix. The caller has to add `shift`.

    Args:
        conv: the pointwise convolution.
        norm: the norm; the input must then be `normalised` or `scaled`.
        outputs: the output channels to compute; by default all.

    Attributes:
        weight: the matrix, (inputs, outputs).
        shift: contribution of the bias of the norm to the outputs, or None.
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
    """A 3 x 3 convolution of `refusion.modules.blocks` that keeps height and width, applied to rows as they arrive.

    An output row needs the input row below it, so the output is one row behind until the last rows are pushed. The two
    input rows that are still needed are stored: nothing is computed twice.

    Args:
        conv: the convolution, padded by one as in `refusion.modules.blocks`.
        before: a pointwise convolution applied before this one, which must then be depthwise.
        outputs: the channels of a depthwise convolution to compute; by default all.
        room: whether the output has border columns, with undefined values.
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
        """Process the next rows.

        Args:
            rows: (n, W + 2, inputs), with border columns (see `pad_columns`); n may be 0 except for the last rows.
            last: whether these are the last rows of the image.

        Returns:
            The rows of the image that the output covers, and the output, (m, W, outputs), or (m, W + 2, outputs) with
            border columns.
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
        """The stored rows, the new ones, and space for one more."""
        channels = rows.shape[2] if self.before is None else self.before.weight.shape[1]
        window = rows.new_empty(_HELD + len(rows) + 1, rows.shape[1], channels)
        if self.last_rows is not None:
            window[:_HELD] = self.last_rows
        new = window[_HELD:-1]
        if self.before is None:
            new[:] = rows
        else:
            # A pointwise convolution commutes with repeating pixels.
            torch.mm(rows.flatten(0, 1), self.before.weight, out=new.flatten(0, 1))
            if self.mode == "zeros":
                new[:, 0] = new[:, -1] = self.border
        self.last_rows = window[len(rows) : len(rows) + _HELD].clone()
        return window

    def _pad_rows(self, window: Tensor, start: int, stop: int, first: bool, last: bool) -> tuple[int, int]:
        """Pad above the first and below the last row of the image."""
        inner = 0 if self.mode == "replicate" else 1
        if first:
            window[start - 1] = self.border if self.mode == "zeros" else window[start + inner]
            start -= 1
        if last:
            window[stop] = self.border if self.mode == "zeros" else window[stop - 1 - inner]
            stop += 1
        return start, stop
