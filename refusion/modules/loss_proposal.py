"""The loss proposal module: which source to trust at each pixel (paper, section 3.2). Training only."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refusion.modules.blocks import Widths, conv3x3, transformer_blocks
from refusion.modules.features import (
    BRIGHTNESS_SPAN,
    CONTRAST_FLOOR,
    CONTRAST_WINDOW,
    MIN_DEVIATION,
    RELATIVE_FLOOR,
)
from refusion.modules.fusion import check_sources
from refusion.modules.gradients import image_gradient


class LossWeights(NamedTuple):
    """The proposed weights of the fusion loss.

    Attributes:
        intensity: w of the paper, (N, 2, H, W), in [0, 1], summing to 1 over the two sources (a, b).
        gradient: v of the paper, likewise.
    """

    intensity: Tensor
    gradient: Tensor


def source_features(x: Tensor) -> Tensor:
    """Compute brightness and local contrast of one source, which the gains multiply.

    Args:
        x: sources, (N, 1, H, W), luminance in [0, 1].

    Returns:
        (N, 2, H, W): x itself, and the logarithm of its mean gradient over a window (-3.9 where it is flat).
    """
    margin = CONTRAST_WINDOW // 2
    gradient = F.pad(image_gradient(x), (margin,) * 4, mode="replicate")
    contrast = torch.log(F.avg_pool2d(gradient, CONTRAST_WINDOW, stride=1) + CONTRAST_FLOOR)
    return torch.cat((x, contrast), dim=1)


def pair_features(a: Tensor, b: Tensor) -> Tensor:
    """Compute `source_features` relative to the pair, so that dim or hazy pairs get the same weights as bright ones.

    Args:
        a: first sources, (N, 1, H, W), luminance in [0, 1].
        b: second sources, the same shape.

    Returns:
        (N, 2, 2, H, W), sources and features: brightness in units of `BRIGHTNESS_SPAN` deviations of the pair, and the
        logarithm of the mean gradient over a window relative to that of the pair (-2.3 where it is flat).
    """
    pair = torch.stack((a, b), dim=1)
    deviation = pair.var(dim=(3, 4), unbiased=False).mean(dim=(1, 2)).sqrt().clamp_min(MIN_DEVIATION)
    margin = CONTRAST_WINDOW // 2
    gradient = F.pad(image_gradient(pair.flatten(0, 1)), (margin,) * 4, mode="replicate")
    gradient = F.avg_pool2d(gradient, CONTRAST_WINDOW, stride=1).unflatten(0, (-1, 2))
    typical = gradient.mean(dim=(1, 2, 3, 4), keepdim=True).clamp_min(MIN_DEVIATION)
    contrast = torch.log(gradient / typical + RELATIVE_FLOOR)
    return torch.cat((pair / (BRIGHTNESS_SPAN * deviation)[:, None, None, None, None], contrast), dim=2)


def feature_scores(gains: Tensor, a: Tensor, b: Tensor, relative: bool = False) -> Tensor:
    """Compute the part of the scores due to brightness and local contrast.

    Args:
        gains: (2, 2), rows intensity and gradient, columns brightness and contrast.
        a: first sources, (N, 1, H, W), luminance in [0, 1].
        b: second sources, the same shape.
        relative: whether both are relative to the pair, see `pair_features`.

    Returns:
        (N, 4, H, W), as from `LossProposalModule.logits`.
    """
    features = pair_features(a, b) if relative else torch.stack((source_features(a), source_features(b)), dim=1)
    return torch.einsum("hf,nsfyx->nhsyx", gains, features).flatten(1, 2)


STORED = {"relative": bool, "gradient_smoothing": int}
"""Attributes of `LossProposalModule` that its state dict holds as tensors, and their types."""


class LossProposalModule(nn.Module):
    """Proposes the weights of both sources at every pixel, for intensity and for gradient.

    The scores are those of the paper's network plus a skip connection that is not in the paper: brightness and local
    contrast of each source, times four learned gains (`gains`, 2 x 2: rows intensity and gradient, columns brightness
    and contrast). With gains of 0, their initial value, it is the paper's network; other initial values state what the
    sources of a task are trusted for, as the starting point of the meta-learning. The weights of both heads are
    initialised to 0, so that the proposal of a new module depends only on its gains. The scores for v are averaged over
    squares, because gradients of one source here and of the other a pixel further on are those of no image.

    Attributes:
        relative: whether brightness and contrast are relative to the pair (`pair_features`); False in a new module.
        gradient_smoothing: side in pixels of the squares over which the scores for v are averaged, odd; 1, as in a new
            module, for none. Both are plain values, which can be set, and are stored with the weights.

    Args:
        channels: width C of the feature maps.
        heads: attention heads; must divide `channels`.
        expansion: width of the gated feed-forward network relative to its input.
        blocks: transformer blocks in each encoder and in the trunk.
        padding_mode: ``replicate``, ``reflect`` or ``zeros``.
        window: see `refusion.modules.fusion.FusionModule`.

    Raises:
        TypeError: an argument is not of its type.
        ValueError: an argument is out of range.
    """

    ADDED_STATE: ClassVar[Mapping[str, Tensor]] = {"gradient_smoothing": torch.ones(())}
    """What older weights lack, with the values that leave their proposals as they were."""

    def __init__(
        self,
        channels: int = Widths.channels,
        heads: int = Widths.heads,
        expansion: int = Widths.expansion,
        blocks: int = Widths.blocks,
        padding_mode: str = Widths.padding_mode,
        window: int | None = Widths.window,
    ) -> None:
        super().__init__()
        widths = Widths(channels, heads, expansion, blocks, padding_mode, window)
        self.project_in_1 = conv3x3(1, channels, padding_mode)
        self.project_in_2 = conv3x3(1, channels, padding_mode)
        self.encoder1 = transformer_blocks(widths)
        self.encoder2 = transformer_blocks(widths)
        self.trunk = transformer_blocks(widths.doubled)
        self.project_mid = conv3x3(2 * channels, channels, padding_mode)
        self.activation = nn.PReLU()
        self.intensity_head = conv3x3(channels, 2, padding_mode)
        self.gradient_head = conv3x3(channels, 2, padding_mode)
        self.gains = nn.Parameter(torch.zeros(2, 2))
        # Not tensors: a forward pass that branches on one waits for the GPU, and cannot be exported.
        self.relative = False
        self.gradient_smoothing = 1
        # Random heads would add noise to the scores, and the outer gradient is too noisy to remove it.
        for head in (self.intensity_head, self.gradient_head):
            nn.init.zeros_(head.weight)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in STORED:
            destination[prefix + name] = torch.tensor(float(getattr(self, name)), dtype=self.gains.dtype)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        *others: Any,
    ) -> None:
        for name, kind in STORED.items():
            value = state_dict.pop(prefix + name, self.ADDED_STATE.get(name))
            if value is not None:
                setattr(self, name, kind(value))
            elif strict:
                missing_keys.append(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *others)

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """Scores before the softmax: (N, 4, H, W), intensity of a and b, then gradient of a and b; see `forward`."""
        check_sources(a, b)
        x1 = self.encoder1(self.project_in_1(a).contiguous(memory_format=torch.channels_last))
        x2 = self.encoder2(self.project_in_2(b).contiguous(memory_format=torch.channels_last))
        x = self.activation(self.project_mid(self.trunk(torch.cat((x1, x2), dim=1))))
        scores = torch.cat((self.intensity_head(x), self.gradient_head(x)), dim=1) + feature_scores(
            self.gains, a, b, self.relative
        )
        return smoothed_gradient_scores(scores, self.gradient_smoothing)

    def forward(self, a: Tensor, b: Tensor) -> LossWeights:
        """Propose the weights of the fusion loss.

        Args:
            a: first source, (N, 1, H, W), luminance in [0, 1], H and W at least 8.
            b: second source, the same shape.

        Raises:
            ValueError: the shapes differ, are not (N, 1, H, W), or are smaller than 8 x 8.
        """
        return weights_from_logits(self.logits(a, b))


def smoothed_gradient_scores(scores: Tensor, side: int) -> Tensor:
    """Average the scores for v over squares; the border is replicated.

    Args:
        scores: as from `LossProposalModule.logits`.
        side: side of the squares in pixels, odd; 1 changes nothing.
    """
    if side == 1:
        return scores
    gradient = F.pad(scores[:, 2:], (side // 2,) * 4, mode="replicate")
    return torch.cat((scores[:, :2], F.avg_pool2d(gradient, side, stride=1)), dim=1)


def weights_from_logits(logits: Tensor) -> LossWeights:
    """Softmax over the two sources at every pixel; `logits` as from `LossProposalModule.logits`."""
    return LossWeights(logits[:, :2].softmax(dim=1), logits[:, 2:].softmax(dim=1))


def exchange_equivariant(logits: Tensor) -> Tensor:
    """Make scores independent of the order of the sources.

    Swapping the sources then swaps the weights exactly, so that "always the first source" cannot be learned.

    Args:
        logits: scores of a batch whose second half is its first half with the sources swapped, (2 N, 4, H, W).

    Returns:
        Each half averaged with the other after swapping the sources back; the same shape.
    """
    half = len(logits) // 2
    exchanged = logits.roll(half, dims=0)[:, [1, 0, 3, 2]]
    return (logits + exchanged) / 2


def propose_weights(module: LossProposalModule, a: Tensor, b: Tensor) -> LossWeights:
    """Propose the weights of a batch of pairs, averaged over both orders of the sources (`exchange_equivariant`).

    Every preset but `paper` trains with these weights; with `paper`, those of the module itself are trained.

    Args:
        module: the loss proposal module.
        a: first sources, (N, 1, H, W), luminance in [0, 1], H and W at least 8.
        b: second sources, the same shape.

    Raises:
        ValueError: the shapes differ, are not (N, 1, H, W), or are smaller than 8 x 8.
    """
    check_sources(a, b)
    logits = exchange_equivariant(module.logits(torch.cat((a, b)), torch.cat((b, a))))
    return weights_from_logits(logits[: len(a)])
