"""The loss proposal module without torch: the result of `refusion.modules.loss_proposal.propose_weights`."""

import cv2
import numpy as np

from refusion.inference.engines.onnx_tiles import OnnxModule
from refusion.inference.engines.onnx_training_modules import PROPOSAL
from refusion.inference.engines.onnx_weights import Weights
from refusion.modules.features import (
    BRIGHTNESS_SPAN,
    CONTRAST_FLOOR,
    CONTRAST_WINDOW,
    MIN_DEVIATION,
    RELATIVE_FLOOR,
)

EXCHANGED = (1, 0, 3, 2)
"""The scores of exchanged sources, in the order of `PROPOSAL`."""


class LossProposal:
    """A loss proposal module in ONNX Runtime.

    Args:
        weights: its state dict, float32.
        padding_mode: padding mode of its 3 x 3 convolutions.
        window: side of the window of its attention; None for the whole image.
    """

    def __init__(self, weights: Weights, padding_mode: str, window: int | None) -> None:
        self._network = OnnxModule(weights, padding_mode, window, PROPOSAL)
        self._gains, self._relative = weights["gains"], bool(weights["relative"])
        self._smoothing = int(weights.get("gradient_smoothing", 1))

    def propose(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Propose the weights of the fusion loss, averaged over both orders of the sources.

        Args:
            a: first source, float32 (H, W), luminance in [0, 1], H and W at least 8.
            b: second source, the same shape.

        Returns:
            w and v of the paper, intensity and gradient: float32 (2, H, W) each, in [0, 1]; they sum to 1 over the two
            sources.

        Raises:
            PictureError: there is not enough memory.
        """
        (scores,), (exchanged,) = self._network.run(a, b), self._network.run(b, a)
        scores = (scores + exchanged[[*EXCHANGED]]) / 2
        scores += feature_scores(self._gains, a, b, self._relative)
        scores[2:] = [_mean(score, self._smoothing) for score in scores[2:]]
        return _softmax(scores[:2]), _softmax(scores[2:])


def feature_scores(gains: np.ndarray, a: np.ndarray, b: np.ndarray, relative: bool) -> np.ndarray:
    """As `refusion.modules.loss_proposal.feature_scores`, for one pair.

    Args:
        gains: (2, 2), rows intensity and gradient, columns brightness and contrast.
        a: first source, float32 (H, W), luminance in [0, 1].
        b: second source, the same shape.
        relative: whether both are relative to the pair.

    Returns:
        (4, H, W), intensity of a and b, then gradient of a and b.
    """
    brightness, gradient, floor = np.stack((a, b)), np.stack((_local_gradient(a), _local_gradient(b))), CONTRAST_FLOOR
    if relative:
        deviation = np.sqrt(brightness.var(axis=(1, 2), dtype=np.float64).mean())
        brightness /= np.float32(BRIGHTNESS_SPAN * max(deviation, MIN_DEVIATION))
        gradient /= np.float32(max(gradient.mean(dtype=np.float64), MIN_DEVIATION))
        floor = RELATIVE_FLOOR
    features = np.stack((brightness, np.log(gradient + np.float32(floor))))
    return np.tensordot(gains, features, axes=1).reshape(4, *a.shape)


def _local_gradient(x: np.ndarray) -> np.ndarray:
    """Mean over a window of |Sobel_x x| + |Sobel_y x|; the border is replicated."""
    along_x, along_y = (cv2.Sobel(x, cv2.CV_32F, *order, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1)))
    return _mean(np.abs(along_x) + np.abs(along_y), CONTRAST_WINDOW)


def _mean(x: np.ndarray, side: int) -> np.ndarray:
    """Mean over squares; the border is replicated."""
    return cv2.blur(x, (side, side), borderType=cv2.BORDER_REPLICATE)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=0))
    return powers / powers.sum(axis=0)
