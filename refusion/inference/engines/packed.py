"""Feature maps in 16 bits, for images whose features would take too much memory in 32."""

import numpy as np

_LARGEST = np.float32(32767)

Key = tuple[slice, slice, slice]
"""Channels (all of them), rows and columns."""


class PackedMaps:
    """Maps that are read and written like an array of float32, (C, H, W), and take about half of its memory.

    Each pixel has a scale, the largest magnitude among its channels, and each channel is stored relative to it. The
    error is at most 1/65534 of the scale, less than that of float16 in the channels that matter.

    Args:
        levels: int16 (C, H, W), which is overwritten.
        steps: float32 (H, W), likewise; the value of one level at each pixel.
    """

    def __init__(self, levels: np.ndarray, steps: np.ndarray) -> None:
        self.levels, self.steps = levels, steps

    @property
    def shape(self) -> tuple[int, ...]:
        return self.levels.shape

    def __getitem__(self, key: Key) -> np.ndarray:
        return np.multiply(self.levels[key], self.steps[key[1:]], dtype=np.float32)

    def __setitem__(self, key: Key, values: np.ndarray) -> None:
        scale = np.maximum(values.max(0), -values.min(0))
        # Of a pixel that is 0 in all channels.
        scale[scale == 0] = 1
        levels = values * (_LARGEST / scale)
        self.levels[key] = np.rint(levels, out=levels)
        self.steps[key[1:]] = scale / _LARGEST
