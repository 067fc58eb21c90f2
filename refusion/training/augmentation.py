"""Augmentation of training crops: what cameras, weather and files do to a pair of sources.

Each piece is an option of its own. All keep the two sources of a crop registered, but for the small shifts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MAX_SHIFT = 2
"""Pixels by which a source is moved at most."""


@dataclass(frozen=True)
class Augmentation:
    """How much, or how often, the sources of a crop are changed; all are 0 for none.

    Attributes:
        tone: largest binary logarithm of a gamma, drawn for each source.
        gain: largest share of its contrast that a source loses, around a level that is drawn too: dim, dark or hazy.
        noise: largest deviation of sensor noise, drawn for each source.
        blur: largest deviation of a Gaussian blur, in pixels, drawn for each source.
        jpeg: how often a source is compressed (qualities 30 to 95).
        invert: how often the first source is inverted (infrared as black-hot).
        shift: how often the second source is moved by up to `MAX_SHIFT` pixels.
        often: how often each of the other pieces is applied at all, to each source.
    """

    tone: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    invert: float = 0.0
    shift: float = 0.0
    often: float = 0.5

    def __call__(self, pair: np.ndarray, seed: int) -> np.ndarray:
        """Change a crop.

        Args:
            pair: both sources, float32 (2, H, W) in [0, 1].
            seed: what is drawn follows from it.

        Returns:
            The same shape, in [0, 1].
        """
        generator = np.random.default_rng(seed)
        first, second = pair
        if generator.random() < self.invert:
            first = 1 - first
        if generator.random() < self.shift:
            second = _moved(second, generator)
        changed = [self._change(source, generator) for source in (first, second)]
        return np.stack(changed).astype(np.float32)

    def _change(self, source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        pieces: tuple[tuple[float, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]], ...] = (
            (self.blur, _blurred),
            (self.tone, _toned),
            (self.gain, _dimmed),
            (self.noise, _noisy),
        )
        for strength, piece in pieces:
            if strength and generator.random() < self.often:
                source = piece(source, strength, generator)
        if generator.random() < self.jpeg:
            source = _compressed(source, generator)
        return source


NO_AUGMENTATION = Augmentation()
"""Crops are left as they were cut."""


def _blurred(source: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(source, (0, 0), max(0.1, strength * generator.random()))


def _toned(source: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    return source ** (2 ** generator.uniform(-strength, strength))


def _dimmed(source: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    kept = 1 - strength * generator.random()
    return kept * source + (1 - kept) * generator.random()


def _noisy(source: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    noise = generator.standard_normal(source.shape, np.float32)
    return np.clip(source + strength * generator.random() * noise, 0, 1)


def _compressed(source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    quality = int(generator.integers(30, 96))
    _, file = cv2.imencode(".jpg", np.rint(255 * source).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.float32)
    return decoded / 255


def _moved(source: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    x, y = generator.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    matrix = np.array([[1, 0, x], [0, 1, y]])
    return cv2.warpAffine(source, matrix, source.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
