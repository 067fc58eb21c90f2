"""Convert between RGB and luminance with chroma, and fuse the chroma of two sources."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import get_args

import numpy as np

from refusion.images.exposure_colour import EVENING, WINDOW, brightened, darkened, evened, unclipped
from refusion.images.picture import NEUTRAL, Picture, PictureError, by
from refusion.tasks import ChromaRule, MeanRule

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luminance, from ITU-R BT.601."""

RED_DIFFERENCE, BLUE_DIFFERENCE = 1.402, 1.772
"""Factors of Cr and Cb for red and blue minus luminance, from ITU-R BT.601."""

CHROMA_EPSILON = 1e-4 / 255
"""Keeps weighted means of chroma, and ratios of saturation, from a division by zero."""

DARK, HEADROOM, CLIPPED_WEIGHT = 0.2, 0.2, 0.1
"""Constants of the chroma rule ``exposure``: the luminance below which colour is trusted less; the distance of the
brightest of red, green and blue from white below which it counts less; and to which share it counts where clipped."""

ROWS = 64
"""Rows of which the chroma rule ``exposure`` computes the colour at a time."""

RECORDED = 0.5
"""To which share a colour too bright for the rule ``exposure`` is what a longer exposure records; else it is paler."""


def split_colour(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split RGB values into luminance and chroma.

    Args:
        rgb: float32 (H, W, 3) in [0, 1].

    Returns:
        Luminance float32 (H, W), and chroma float32 (2, H, W) or None where red, green and blue are equal everywhere.
    """
    red, green, blue = np.moveaxis(rgb, 2, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red.copy(), None
    luminance = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    chroma = np.stack([(blue - luminance) / BLUE_DIFFERENCE, (red - luminance) / RED_DIFFERENCE])
    chroma += NEUTRAL
    return luminance, chroma


def join_colour(luminance: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Combine luminance (H, W) and chroma (2, H, W) into RGB values (H, W, 3), not clipped."""
    return np.stack([luminance + difference for difference in _from_luminance(chroma)], axis=-1)


def fit_chroma(luminance: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Lower the saturation where red, green or blue would leave [0, 1], and only there.

    Clipping them, as the authors' release does, changes brightness and hue: fused detail is lost where a bright detail
    of one source meets a strong colour of the other.

    Args:
        luminance: (H, W) in [0, 1].
        chroma: float32 (2, H, W), on the scale of `Picture`.

    Returns:
        Chroma of the same shape and hue, for which `join_colour` stays in [0, 1].
    """
    share = np.ones_like(luminance)
    for difference in _from_luminance(chroma):
        room = np.where(difference > 0, 1 - luminance, luminance)
        np.minimum(share, room / np.maximum(np.abs(difference), CHROMA_EPSILON), out=share)
    return NEUTRAL + share * (chroma - NEUTRAL)


def recorded_chroma(luminance: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Where red, green or blue would exceed 1, return the mean of `fit_chroma` and of what a longer exposure records.

    A longer exposure scales all three until they are clipped, so a bright orange becomes yellow, where `fit_chroma`,
    which keeps the hue, makes it salmon.

    Args:
        luminance: (H, W); clipped to [0, 1], and otherwise unchanged.
        chroma: float32 (2, H, W), on the scale of `Picture`.

    Returns:
        Chroma of the same shape; other pixels are unchanged.
    """
    luminance = luminance.clip(0, 1)
    bright = colour_excess(chroma) > 1 - luminance
    if not bright.any():
        return chroma
    here, given = luminance[bright][None], chroma[:, bright][:, None]
    recorded = join_colour(here, given).clip(0, None)
    recorded *= (here / _luminance(recorded))[..., None]
    # One more of the three is clipped in each pass.
    for _ in range(2):
        recorded = recorded.clip(0, 1)
        unclipped = np.where(recorded < 1, recorded, 0)
        recorded += unclipped * _share(here - _luminance(recorded), _luminance(unclipped))
    recorded = recorded.clip(0, 1)
    recorded += (1 - recorded) * _share(here - _luminance(recorded), _luminance(1 - recorded))
    red, _, blue = np.moveaxis(recorded, -1, 0) - here
    fitted = fit_chroma(here, given) - NEUTRAL
    mixed = RECORDED * np.stack([blue / BLUE_DIFFERENCE, red / RED_DIFFERENCE]) + (1 - RECORDED) * fitted
    result = chroma.copy()
    result[:, bright] = NEUTRAL + mixed[:, 0]
    return result


def _luminance(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array(LUMINANCE, rgb.dtype)


def _share(missing: np.ndarray, of: np.ndarray) -> np.ndarray:
    return (missing / np.maximum(of, CHROMA_EPSILON))[..., None]


def colour_excess(chroma: np.ndarray) -> np.ndarray:
    """Strongest of red, green and blue less luminance, (H, W); it fits where the luminance is at most 1 less it."""
    return np.maximum.reduce(list(_from_luminance(chroma)))


def _from_luminance(chroma: np.ndarray) -> Iterator[np.ndarray]:
    """Red, green and blue, each minus luminance, from chroma (2, H, W)."""
    blue_difference, red_difference = chroma - NEUTRAL
    red, blue = RED_DIFFERENCE * red_difference, BLUE_DIFFERENCE * blue_difference
    yield from (red, (LUMINANCE[0] * red + LUMINANCE[2] * blue) / -LUMINANCE[1], blue)


def fuse_chroma(
    a: Picture,
    b: Picture,
    rule: ChromaRule,
    shares: np.ndarray | None = None,
    luminance: np.ndarray | None = None,
) -> np.ndarray | None:
    """Return the chroma of the fused image, float32 (2, H, W) on the scale of `Picture`, or None for grey.

    Rules "a" and "b" return the chroma of that source unchanged (not copied). Rule "release" is that of the
    authors' release: grey if both sources are grey, the chroma of the coloured source if one is grey, and if
    both are coloured their mean weighted by distance from neutral. The release computes
    (Ca |Ca - n| + Cb |Cb - n|) / (|Ca - n| + |Cb - n| + 1e-4), which is 0, a strong green, where both
    sources are neutral. Here the same mean is taken of the differences from neutral d = C - n, as
    n + (da |da| + db |db|) / (|da| + |db| + eps), which is n there; eps is 1e-4 on the scale 0..255. The two
    differ by about n eps / (|da| + |db| + eps), where eps is the release's: if the release uses the scale
    0..255 too, by 0.013 of an 8-bit level where |da| + |db| is one level, and less above; if it uses 0..1,
    by less than a level where |da| + |db| is four levels or more. Rule "saturation" weights both channels of
    a pixel by its distance from neutral, sqrt(dCb^2 + dCr^2), so that the hue is kept where only one source has
    colour, and a grey pixel counts like one of a grey source. Rule "exposure" has these weights too, and in addition
    counts dark and clipped pixels less. It averages chroma relative to luminance, d / (Y + e), and multiplies the mean
    by the fused luminance plus e: a longer exposure scales red, green and blue alike, and so also d and Y, until a
    pixel is clipped; e limits how much the noise of dark pixels is amplified. Blotches in the dark are evened first
    (`refusion.images.exposure_colour.evened`), and what one source clipped is estimated from the other (`unclipped`
    there). The hue of a dark colour goes half the way to that of `brightened`, as a bright colour does to that of
    `darkened`. Colours that are too bright are those of `recorded_chroma`. Rule "choice" takes as much of each source's
    colour as of its luminance, given by `shares`, so that colour is as sharp as luminance.

    Args:
        a: first source.
        b: second source.
        rule: "a", "b", "release", "saturation", "exposure" or "choice".
        shares: for "choice", the weight of the first source at each pixel, (H, W) in [0, 1]; see
            `refusion.inference.anchors.choice_shares`.
        luminance: for "exposure", the fused luminance, (H, W) in [0, 1].

    Raises:
        PictureError: the sizes differ.
        ValueError: the rule is unknown, or what it needs is missing.
    """
    if a.size != b.size:
        raise PictureError(f"Chroma needs two sources of one size, but A is {by(a.size)} and B is {by(b.size)}.")
    if rule == "a":
        return a.chroma
    if rule == "b":
        return b.chroma
    if rule == "choice":
        if shares is None:
            raise ValueError("The chroma rule choice follows the luminance; give the shares of the first source.")
        return choose_chroma(a.chroma, b.chroma, shares)
    if rule == "exposure" and luminance is not None:
        return _exposed_chroma(a, b, luminance)
    mean = ChromaMean(rule)
    mean.add(a)
    mean.add(b)
    return mean.chroma(luminance)


def _exposed_chroma(a: Picture, b: Picture, luminance: np.ndarray) -> np.ndarray | None:
    """Rule "exposure" of `fuse_chroma`, some rows at a time, which stay in the processor's cache."""
    if a.chroma is None and b.chroma is None:
        return None
    result = np.empty((2, *luminance.shape), np.float32)
    for first in range(0, len(luminance), ROWS):
        # `unclipped` averages over a window.
        top = max(0, first - WINDOW // 2)
        around = slice(top, first + ROWS + WINDOW // 2)
        inner, rows = slice(first - top, first - top + ROWS), slice(first, first + ROWS)
        of_a, of_b = (_evened_rows(one, around) for one in (a, b))
        rgb_a, rgb_b = (_rgb(one) for one in (of_a, of_b))
        mean = ChromaMean("exposure")
        for one, rgb, other in ((of_a, rgb_a, rgb_b), (of_b, rgb_b, rgb_a)):
            if one.chroma is not None:
                part = replace(one, luminance=one.luminance[inner], chroma=one.chroma[:, inner])
                mean.add(part, unclipped(rgb, other)[inner], luminance[rows])
        result[:, rows] = mean.chroma(luminance[rows])
    return result


def _evened_rows(picture: Picture, rows: slice) -> Picture:
    """Rows of a picture with `evened` colour."""
    luminance = picture.luminance[rows]
    if picture.chroma is None:
        return replace(picture, luminance=luminance)
    top = max(0, rows.start - EVENING // 2)
    around = slice(top, rows.stop + EVENING // 2)
    chroma = evened(picture.luminance[around], picture.chroma[:, around])
    return replace(picture, luminance=luminance, chroma=chroma[:, rows.start - top :][:, : len(luminance)])


def _rgb(picture: Picture) -> np.ndarray:
    if picture.chroma is None:
        return np.repeat(picture.luminance[..., None], 3, axis=2)
    return join_colour(picture.luminance, picture.chroma)


def choose_chroma(a: np.ndarray | None, b: np.ndarray | None, shares: np.ndarray) -> np.ndarray | None:
    """Rule "choice" of `fuse_chroma`.

    Args:
        a: chroma of the first source, float32 (2, H, W), or None if it is grey.
        b: chroma of the second source, likewise.
        shares: weight of the first source at each pixel, (H, W) in [0, 1].
    """
    if a is None and b is None:
        return None
    of_a, of_b = (NEUTRAL if chroma is None else chroma for chroma in (a, b))
    return np.asarray(of_b + shares * (of_a - of_b), np.float32)


class ChromaMean:
    """Rules "release", "saturation" and "exposure" of `fuse_chroma` for any number of sources, added one by one.

    Raises:
        ValueError: the rule is not one of these.
    """

    def __init__(self, rule: ChromaRule) -> None:
        if rule not in get_args(MeanRule):
            raise ValueError(f"There is no chroma rule {rule!r}; the rules are {', '.join(get_args(ChromaRule))}.")
        self._rule = rule
        self._only: np.ndarray | None = None
        self._weighted: np.ndarray | None = None
        self._weight: np.ndarray | None = None

    def add(self, picture: Picture, rgb: np.ndarray | None = None, luminance: np.ndarray | None = None) -> None:
        """Add a source; a grey one changes nothing.

        Args:
            picture: the source.
            rgb: for "exposure", its red, green and blue, (H, W, 3), above 1 where they were clipped; see `unclipped`.
            luminance: for "exposure", the fused luminance where it is known, (H, W) in [0, 1]; see `brightened`.
        """
        if picture.chroma is None:
            return
        weighted, weight = self._weigh(picture.luminance, picture.chroma, rgb, luminance)
        if self._weighted is None or self._weight is None:
            self._only, self._weighted, self._weight = picture.chroma, weighted, weight
        else:
            self._only = None
            self._weighted += weighted
            self._weight += weight

    def chroma(self, luminance: np.ndarray | None = None) -> np.ndarray | None:
        """Return the fused chroma, float32 (2, H, W), or None if all sources are grey.

        Args:
            luminance: for "exposure", the fused luminance, (H, W) in [0, 1].

        Raises:
            ValueError: the rule is "exposure", and the luminance is missing.
        """
        if self._weight is None or self._weighted is None:
            return None
        mean = self._weighted / (self._weight + CHROMA_EPSILON)
        if self._rule == "exposure":
            if luminance is None:
                raise ValueError("The chroma rule exposure scales with the luminance; give the fused luminance.")
            return recorded_chroma(luminance, np.asarray(NEUTRAL + (luminance + DARK) * mean, np.float32))
        return NEUTRAL + mean if self._only is None else self._only

    def _weigh(
        self, luminance: np.ndarray, chroma: np.ndarray, rgb: np.ndarray | None, fused: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        from_neutral = chroma - NEUTRAL
        if self._rule == "release":
            weight = np.abs(from_neutral)
            return from_neutral * weight, weight
        weight = np.hypot(*from_neutral)[None]
        if self._rule == "saturation":
            return from_neutral * weight, weight
        headroom = 1 - luminance - colour_excess(chroma)
        weight = weight * (luminance / (luminance + DARK)) ** 2 * np.clip(headroom / HEADROOM, CLIPPED_WEIGHT, 1)
        return _relative_chroma(join_colour(luminance, chroma) if rgb is None else rgb, fused) * weight, weight


def _relative_chroma(rgb: np.ndarray, fused: np.ndarray | None) -> np.ndarray:
    """Differences from neutral relative to luminance, (2, H, W), half the way to those at the fused luminance."""
    luminance = _luminance(rgb)
    relative = _differences(rgb, luminance) / (luminance + DARK)
    if fused is None:
        return relative
    bright = brightened(rgb.clip(0, None), luminance, fused)
    hue = _unit(relative) + _unit(_differences(bright, _luminance(bright)))
    shown = rgb.clip(0, 1)
    gained = _relative_chroma(darkened(shown, _luminance(shown), fused), None) - _relative_chroma(shown, None)
    return np.hypot(*relative) * _unit(hue) + gained / 2


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.hypot(*vector), CHROMA_EPSILON)


def _differences(rgb: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    return np.stack([(rgb[..., 2] - luminance) / BLUE_DIFFERENCE, (rgb[..., 0] - luminance) / RED_DIFFERENCE])


def colour_source(pictures: Iterable[Picture], rule: ChromaRule) -> Picture:
    """Return the source that the metadata of the fused image are taken from: the source of its colour.

    With the rules of both sources this is the first coloured source, or the first if all are grey.
    """
    pictures = list(pictures)
    if rule == "b":
        return pictures[-1]
    coloured = [picture for picture in pictures if picture.chroma is not None]
    return coloured[0] if rule != "a" and coloured else pictures[0]
