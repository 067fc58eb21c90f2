"""The transformer block of all three modules (paper, section 3.3; Restormer, CVPR 2022).

Every feature map keeps the height and width of the image. Convolutions have no bias.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.modules.windows import CELL_WEIGHTS, CELLS, cell_of

# The padding modes of torch that `Widths` accepts.
_PaddingMode = Literal["zeros", "replicate", "reflect"]

# So that a configuration from elsewhere cannot ask for a module that takes minutes to describe.
_MAX_BLOCKS = 100

# The eps of torch.nn.functional.normalize, which the paper's attention uses.
NORM_EPS = 1e-12


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels at each pixel of an (N, C, H, W) map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PointwiseConv(nn.Conv2d):
    """1 x 1 convolution, computed as a matrix product in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)


class DepthwiseConv(nn.Conv2d):
    """Depthwise 3 x 3 convolution without bias."""

    def forward(self, x: Tensor) -> Tensor:
        if not is_slow(x):
            return super().forward(x)
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return depthwise_products(F.pad(x, (1, 1, 1, 1), mode=mode), self.weight)


def is_slow(x: Tensor) -> bool:
    """Whether torch convolves channel by channel here, so that `depthwise_products` is faster."""
    return x.dtype == torch.float64 and x.device.type == "cpu"


def depthwise_products(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise 3 x 3 convolution without padding, as the sum of nine products of the map.

    Args:
        x: (N, C, H + 2, W + 2).
        weight: (C, 1, 3, 3).

    Returns:
        (N, C, H, W).
    """
    height, width = x.shape[2] - 2, x.shape[3] - 2
    result = x[:, :, :height, :width] * weight[:, :, :1, :1].transpose(0, 1)
    for place in range(1, 9):
        row, column = divmod(place, 3)
        factor = weight[:, :, row : row + 1, column : column + 1].transpose(0, 1)
        result = torch.addcmul(result, x[:, :, row : row + height, column : column + width], factor)
    return result


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    """Pointwise convolution without bias."""
    return PointwiseConv(inputs, outputs, 1, bias=False)


def conv3x3(inputs: int, outputs: int, padding_mode: str) -> nn.Conv2d:
    """3 x 3 convolution without bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, padding_mode=cast(_PaddingMode, padding_mode))


def depthwise3x3(channels: int, padding_mode: str) -> nn.Conv2d:
    """Depthwise 3 x 3 convolution without bias that keeps height and width."""
    return DepthwiseConv(
        channels, channels, 3, padding=1, groups=channels, bias=False, padding_mode=cast(_PaddingMode, padding_mode)
    )


def transposed_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor, window: int | None = None) -> Tensor:
    """Attention between channels (Restormer, equation 1), over all pixels or over the window around each.

    Args:
        q: queries, (N, C, H, W).
        k: keys, (N, C, H, W).
        v: values, (N, C, H, W).
        temperature: (heads, 1, 1); C must be a multiple of heads.
        window: side in pixels, a multiple of `CELLS`; None for the whole image. See `windowed_attention`.

    Returns:
        (N, C, H, W).
    """
    if window is None:
        return whole_attention(q, k, v, temperature)
    return windowed_attention(q, k, v, temperature, window)


def whole_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attention between channels over all pixels; arguments as for `transposed_attention`.

    q and k are L2-normalised along the pixels; here the small Gram matrix is divided by the norms, which is equivalent
    and avoids operations on full-size maps. The Gram matrix of all channels is one matrix product in channels-last
    memory; the heads are the blocks on its diagonal.
    """
    n, channels, height, width = v.shape
    heads = temperature.shape[0]
    shape = (heads, channels // heads)
    q, k, v = (x.permute(0, 2, 3, 1).reshape(n, height * width, channels) for x in (q, k, v))
    if v.dtype == torch.float16:
        # Sums over many pixels overflow float16, so q and k are normalised first.
        gram = _normalised(q).transpose(1, 2) @ _normalised(k)
    else:
        # torch.linalg.vector_norm takes four times as long in this memory format.
        q_norm, k_norm = (x.square().sum(dim=1).clamp_min(NORM_EPS**2).sqrt() for x in (q, k))
        gram = (q.transpose(1, 2) @ k) / (q_norm.unsqueeze(2) * k_norm.unsqueeze(1))
    blocks = gram.unflatten(2, shape).unflatten(1, shape).diagonal(dim1=1, dim2=3)
    attention = (blocks * temperature.permute(1, 2, 0)).softmax(dim=2)
    attention = torch.diag_embed(attention, dim1=1, dim2=3).reshape(n, channels, channels)
    return (v @ attention.transpose(1, 2)).reshape(n, height, width, channels).permute(0, 3, 1, 2)


def windowed_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor, window: int) -> Tensor:
    """Attention between channels over the window around each pixel; arguments as for `transposed_attention`.

    The image is divided into cells of window / `CELLS` pixels. Each cell has its own attention matrices, computed from
    the pixels of the `CELLS` x `CELLS` cells around it that lie in the image, weighted by `CELL_WEIGHTS` along both
    axes; at each pixel they are interpolated bilinearly between the centres of the cells. For an image that fits into
    one cell, this is attention over all pixels. (Windows at inference: Chu et al., Improving Image Restoration by
    Revisiting Global Information Aggregation, ECCV 2022.)
    """
    channels, height, width = v.shape[1:]
    heads, cell = temperature.shape[0], window // CELLS
    of_a_head = channels // heads
    square = (heads, of_a_head, of_a_head)
    q, k, v = (x.permute(0, 2, 3, 1) for x in (q, k, v))
    # torch.export cannot reshape into cells for all sizes.
    by_index = torch.compiler.is_exporting()
    # Sums over many pixels overflow float16.
    with _full_precision(v):
        q, k = (x.float() if x.dtype == torch.float16 else x for x in (q, k))
        sums = _sums_of_cells_by_index(q, k, heads, cell) if by_index else _sums_of_cells(q, k, heads, cell)
        sums = _windows(sums.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        products, *squares = sums.split((channels * of_a_head, channels, channels), dim=3)
        # The gradient of a square root is infinite at 0, which occurs in a black image.
        q_norm, k_norm = (x.clamp_min(NORM_EPS**2).sqrt().unflatten(3, square[:2]) for x in squares)
        cosines = products.unflatten(3, square) / (q_norm.unsqueeze(5) * k_norm.unsqueeze(4))
        attention = (cosines * temperature).softmax(dim=5).flatten(3).to(v.dtype)
    if by_index:
        attention = _at_pixels_by_index(attention, height, width, cell)
    else:
        attention = attention.permute(0, 3, 1, 2)
        attention = F.interpolate(attention, scale_factor=cell, mode="bilinear", align_corners=False)
        attention = attention[:, :, :height, :width].permute(0, 2, 3, 1)
    values = v.unflatten(3, (heads, 1, of_a_head))
    return (attention.unflatten(3, square) * values).sum(dim=5).flatten(3).permute(0, 3, 1, 2)


def _sums_of_cells(q: Tensor, k: Tensor, heads: int, cell: int) -> Tensor:
    """Products of queries with keys of the same head, and squares of both, summed over the pixels of each cell.

    Args:
        q: queries, (N, H, W, C).
        k: keys, the same shape.
        heads: attention heads.
        cell: side of a cell.

    Returns:
        (N, rows, columns, C d + 2 C) with d channels per head.
    """
    n, height, width, channels = q.shape
    rows, columns = -(-height // cell), -(-width // cell)

    def cells(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, columns * cell - width, 0, rows * cell - height))
        x = x.reshape(n, rows, cell, columns, cell, channels).transpose(2, 3)
        return x.reshape(n, rows, columns, cell * cell, channels)

    q, k = cells(q), cells(k)
    shape = (heads, channels // heads)
    products = (q.transpose(3, 4) @ k).unflatten(4, shape).unflatten(3, shape).diagonal(dim1=3, dim2=5)
    return torch.cat((products.movedim(5, 3).flatten(3), q.square().sum(dim=3), k.square().sum(dim=3)), dim=3)


def _sums_of_cells_by_index(q: Tensor, k: Tensor, heads: int, cell: int) -> Tensor:
    """`_sums_of_cells`, slower, plus an empty row and column of cells: torch.export specialises dimensions of 1."""
    n, height, width, channels = q.shape
    rows, columns = (height + cell - 1) // cell + 1, (width + cell - 1) // cell + 1
    shape = (heads, channels // heads)
    products = q.unflatten(3, shape).unsqueeze(5) * k.unflatten(3, shape).unsqueeze(4)
    pixels = torch.cat((products.flatten(3), q.square(), k.square()), dim=3).flatten(1, 2)
    of_rows, of_columns = (torch.arange(length, device=q.device) // cell for length in (height, width))
    index = (of_rows.unsqueeze(1) * columns + of_columns).flatten()
    sums = pixels.new_zeros(n, rows * columns, pixels.shape[2]).index_add(1, index, pixels)
    return sums.reshape(n, rows, columns, pixels.shape[2])


def _at_pixels_by_index(cells: Tensor, height: int, width: int, cell: int) -> Tensor:
    """Values of cells, as from `_sums_of_cells_by_index`, interpolated bilinearly to the pixels: (N, H, W, C)."""
    n, _, columns, channels = cells.shape
    flat, result = cells.flatten(1, 2), None
    (above, lower), (left, right) = (_neighbours(length, cell, cells) for length in (height, width))
    for row, row_share in (above, lower):
        for column, column_share in (left, right):
            index = (row.unsqueeze(1) * columns + column).flatten()
            share = (row_share.unsqueeze(1) * column_share).flatten().unsqueeze(1)
            part = flat.index_select(1, index) * share
            result = part if result is None else result + part
    assert result is not None
    return result.reshape(n, height, width, channels)


def _neighbours(length: int, cell: int, like: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Indices and weights of the two cells that each pixel along a side is interpolated from, (length) each."""
    places = (torch.arange(length, device=like.device) + 0.5) / cell - 0.5
    places = places.clamp(0, (length + cell - 1) // cell - 1)
    first = places.floor()
    share = (places - first).to(like.dtype)
    index = first.long()
    return (index, 1 - share), (index + 1, share)


def _windows(cells: Tensor) -> Tensor:
    """Weighted sums over the cells of each window inside the image, (N, C, rows, columns) in and out."""
    weights = cells.new_tensor(CELL_WEIGHTS)
    kernel = torch.outer(weights, weights).expand(cells.shape[1], 1, -1, -1)
    return F.conv2d(cells, kernel, padding=CELLS // 2, groups=cells.shape[1])


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    return torch.autocast(x.device.type, enabled=False) if x.dtype == torch.float16 else nullcontext()


def _normalised(x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp_min(NORM_EPS)
    return (x / norm).to(x.dtype)


@dataclass(frozen=True)
class Widths:
    """The constructor arguments of a module, with their defaults.

    Attributes:
        channels: width C of the feature maps.
        heads: attention heads; must divide `channels`.
        expansion: width of the gated feed-forward network relative to its input.
        blocks: transformer blocks in a sequence, 0 to 100.
        padding_mode: padding of the 3 x 3 convolutions: ``replicate``, ``reflect`` or ``zeros``.
        window: side of the attention window in pixels, a multiple of 5; None for the whole image.

    Raises:
        TypeError: a value is not of its type; the message names both.
        ValueError: a value is out of range; the message names it and the accepted values.
    """

    channels: int = 16
    heads: int = 8
    expansion: int = 2
    blocks: int = 2
    padding_mode: str = "replicate"
    window: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("channels", 1), ("heads", 1), ("expansion", 1), ("blocks", 0)):
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name} is {value!r}; it must be an int of at least {least}.")
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}.")
        if self.window is not None and type(self.window) is not int:
            raise TypeError(f"window is {self.window!r}; it must be an int, or None for the whole image.")
        if self.blocks > _MAX_BLOCKS:
            raise ValueError(f"blocks is {self.blocks}; it must be at most {_MAX_BLOCKS}.")
        if self.channels % self.heads:
            raise ValueError(f"channels ({self.channels}) must be a multiple of heads ({self.heads}).")
        if self.padding_mode not in ("zeros", "replicate", "reflect"):
            raise ValueError(f"padding_mode is {self.padding_mode!r}; it must be zeros, replicate or reflect.")
        cell_of(self.window)

    @property
    def doubled(self) -> "Widths":
        """The same with twice as many channels, for maps of both sources together."""
        return replace(self, channels=2 * self.channels)


class TransposedAttention(nn.Module):
    """Self-attention between channels (Restormer's multi-Dconv head transposed attention)."""

    def __init__(self, channels: int, heads: int, padding_mode: str, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv1x1(channels, 3 * channels)
        self.qkv_dwconv = depthwise3x3(3 * channels, padding_mode)
        self.project_out = conv1x1(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        return self.project_out(transposed_attention(q, k, v, self.temperature, self.window))


class GatedFeedForward(nn.Module):
    """Gated depthwise feed-forward network (Restormer's GDFN), exact (erf) GELU."""

    def __init__(self, channels: int, expansion: int, padding_mode: str) -> None:
        super().__init__()
        hidden = expansion * channels
        self.project_in = conv1x1(channels, 2 * hidden)
        self.dwconv = depthwise3x3(2 * hidden, padding_mode)
        self.project_out = conv1x1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); (N, C, H, W) in and out."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        channels, padding_mode = widths.channels, widths.padding_mode
        self.norm1 = LayerNorm2d(channels)
        self.attn = TransposedAttention(channels, widths.heads, padding_mode, widths.window)
        self.norm2 = LayerNorm2d(channels)
        self.ffn = GatedFeedForward(channels, widths.expansion, padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


def transformer_blocks(widths: Widths) -> nn.Sequential:
    """A sequence of `widths.blocks` transformer blocks."""
    return nn.Sequential(*(TransformerBlock(widths) for _ in range(widths.blocks)))
