"""Notes on sources that look swapped, or unlike the modality that the task expects."""

from collections.abc import Sequence

import numpy as np

from refusion.images.colour import join_colour
from refusion.images.picture import NEUTRAL, Picture, Scan
from refusion.system.advice import Advised
from refusion.tasks import Task

LOOK_SWAPPED = "they look swapped"
"""The part of a note that says that the other order is probably right."""

_COLOURED = 0.01
"""Mean distance from neutral, in [0, 1], above which an image counts as coloured and not as grey with colour noise."""

_SATURATED = 0.14
"""Mean distance from neutral above which an image counts as false colour: no photograph is so saturated."""

_PALETTE = 64
"""Maximum number of colours, out of 4096, that hold nearly all pixels of a less saturated false-colour image."""

_VIVID = 0.24
"""The same for a visible source of many colours beside a grey infrared one; one of our photographs has 0.2."""

_SCANS = {"CT": "CT", "MR": "MRI", "PT": "PET", "NM": "SPECT"}
"""Names of the modalities of DICOM that the medical task is for."""

_SAME_EXTENT = 0.02
"""Largest relative difference of what two scans show in mm that counts as the same."""

_SAME_EXPOSURE = 1.5
"""Quotient of mean luminances above which two images are not of one exposure; for our 199 focus pairs it is at most
1.1."""

_NO_BRACKET = 1.1
"""Quotient of the largest and the smallest mean luminance up to which images are no exposure bracket; for our 162
exposure pairs it is at least 1.13."""

_BRIGHTER = 0.05
"""Difference in mean luminance, in [0, 1], above which the under-exposed source counts as the brighter one."""


def role_notes(a: Picture, b: Picture, task: Task) -> list[str]:
    """Return notes on sources that do not look like those that the task expects, as sentences.

    Args:
        a: first source.
        b: second source.
        task: the task, which defines the modality of each source.
    """
    if a.scan is not None and b.scan is not None and (notes := modality_notes(a, b, a.scan, b.scan, task)):
        return notes
    if task.name == "multi-exposure":
        dark, bright = float(a.luminance.mean()), float(b.luminance.mean())
        if dark <= bright + _BRIGHTER:
            return bracket_notes([dark, bright])
        return [
            f"{a.name} is given as the under-exposed source but is brighter on average ({dark:.2f}) than {b.name} "
            f"({bright:.2f}): {LOOK_SWAPPED}; the order is under, over."
        ]
    if task.name == "ir-vis":
        return _infrared_notes(a, b)
    if task.name == "multi-focus":
        return exposure_notes([(one.name, float(one.luminance.mean())) for one in (a, b)])
    if task.name == "medical" and _is_coloured(b):
        swapped = LOOK_SWAPPED if not _is_coloured(a) else "an MRI is grey"
        return [f"{b.name} is given as the MRI but is coloured: {swapped}; the order is CT, PET or SPECT, then MRI."]
    return []


def exposure_notes(images: Sequence[tuple[str, float]]) -> list[str]:
    """Notes on images of a focus pair or stack that are much darker or brighter than the others.

    Args:
        images: name and mean luminance of each, in [0, 1].
    """
    usual = max(sorted(mean for _, mean in images)[len(images) // 2], 1 / 255)
    odd = [(name, mean) for name, mean in images if not 1 / _SAME_EXPOSURE < mean / usual < _SAME_EXPOSURE]
    return [
        Advised(
            f"{name} is much {'darker' if mean < usual else 'brighter'} ({mean:.2f} on average) than "
            f"{'the others' if len(images) > 2 else 'the other image'} ({usual:.2f}): images of different focus have "
            "one exposure, so look whether it belongs to them",
            "--task multi-exposure (task='multi-exposure') is for an exposure bracket",
            "the task multi-exposure is for an exposure bracket",
        )
        for name, mean in odd
    ]


def bracket_notes(means: Sequence[float]) -> list[str]:
    """A note on an exposure bracket whose images are all equally bright, such as a focus stack.

    Args:
        means: mean luminance of each image, in [0, 1].
    """
    if max(means) > _NO_BRACKET * max(min(means), 1 / 255):
        return []
    return [
        Advised(
            f"All images are equally bright ({sum(means) / len(means):.2f} on average), so they are no exposure "
            "bracket; what is sharp in one of them only becomes blurred",
            "--task multi-focus (task='multi-focus') is for images of different focus",
            "the task multi-focus is for images of different focus",
        )
    ]


def modality_notes(a: Picture, b: Picture, of_a: Scan, of_b: Scan, task: Task) -> list[str]:
    """Notes on what two DICOM files say of themselves: modalities that the task is not for, and their extent."""
    kind_a, kind_b = _SCANS.get(of_a.modality), _SCANS.get(of_b.modality)
    if kind_a is None or kind_b is None:
        return []
    if task.name != "medical":
        return [
            Advised(
                f"{a.name} ({kind_a}) and {b.name} ({kind_b}) are medical scans, but are fused as {task.name}",
                "--task medical (task='medical') is for them",
                "choose the task medical",
            )
        ]
    notes = []
    if kind_b != "MRI":
        swapped = f"{LOOK_SWAPPED}; " if kind_a == "MRI" else ""
        notes.append(f"{b.name} is given as the MRI but is {kind_b}: {swapped}the order is CT, PET or SPECT, then MRI.")
    sides = [side for extent in (of_a.extent, of_b.extent) for side in extent or ()]
    if len(sides) == 4 and any(abs(sides[i] / sides[i + 2] - 1) > _SAME_EXTENT for i in range(2)):
        notes.append(
            f"{a.name} shows {sides[0]:.0f} x {sides[1]:.0f} mm and {b.name} {sides[2]:.0f} x {sides[3]:.0f} mm "
            "(height x width): the anatomy is of another size in them; register the two first."
        )
    return notes


def _infrared_notes(a: Picture, b: Picture) -> list[str]:
    if not _is_coloured(a):
        saturation = _saturation(b)
        if saturation <= _SATURATED or (saturation <= _VIVID and not _has_few_colours(b)):
            return []
        return [
            f"{b.name} is given as the visible source but is in false colours (a palette such as rainbow or iron), and "
            f"{a.name}, the infrared one, is grey: {LOOK_SWAPPED}; the order is infrared, visible."
        ]
    false_a, false_b = _is_false_colour(a), _is_false_colour(b)
    if (not _is_coloured(b) and not false_a) or (false_b and not false_a):
        what = "in false colours" if false_b else "grey"
        return [
            f"{a.name} is given as the infrared source but is a colour image, and {b.name}, the visible one, is "
            f"{what}: {LOOK_SWAPPED}; the order is infrared, visible."
        ]
    if false_a:
        return [
            f"{a.name}, the infrared source, is in false colours (a palette such as rainbow or iron): brightness may "
            "not rise with temperature, so hot objects may be lost; export it in grey (white hot)."
        ]
    return [
        f"{a.name} is given as the infrared source but is coloured, and only its brightness is fused; export it in "
        "grey, or check the order, which is infrared, visible."
    ]


def _is_coloured(picture: Picture) -> bool:
    return _saturation(picture) > _COLOURED


def _saturation(picture: Picture) -> float:
    return 0.0 if picture.chroma is None else float(np.hypot(*(picture.chroma - NEUTRAL)).mean())


def _is_false_colour(picture: Picture) -> bool:
    """Whether an image is grey with a colour palette applied: it is very saturated, or has few colours."""
    saturation = _saturation(picture)
    return saturation > _SATURATED or (saturation > 4 * _COLOURED and _has_few_colours(picture))


def _has_few_colours(picture: Picture) -> bool:
    if picture.chroma is None:
        return False
    rgb = np.clip(join_colour(picture.luminance, picture.chroma), 0, 1)
    red, green, blue = np.moveaxis(np.minimum(rgb * 16, 15).astype(np.int32), 2, 0)
    ordered = np.sort(np.bincount((red * 256 + green * 16 + blue).ravel(), minlength=4096))[::-1]
    # Compression adds a few rare colours.
    return int(np.searchsorted(np.cumsum(ordered), 0.98 * ordered.sum())) + 1 <= _PALETTE
