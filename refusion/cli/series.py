"""What is said after a run over many pairs on the scales of their images."""

from collections.abc import Sequence
from typing import TypeAlias

from refusion.images.picture import Levels

_Windows: TypeAlias = dict[str, tuple[float, float]]
"""For each source, a or b, the lowest and the highest stored value."""


class SeriesScales:
    """Counts the pairs whose images have scales that do not suit a series, and finds a window that suits all."""

    def __init__(self) -> None:
        self._own: _Windows = {}
        self._narrow: _Windows = {}
        self._own_pairs = self._narrow_pairs = 0

    def add(self, levels: Sequence[Levels | None]) -> None:
        """Add a pair.

        Args:
            levels: those of the first source and of the second.
        """
        known = {name: one for name, one in zip("ab", levels, strict=True) if one is not None}
        own = {name: (one.black, one.white) for name, one in known.items() if one.own}
        narrow = {name: (one.darkest, one.brightest) for name, one in known.items() if one.is_narrow}
        self._own_pairs += bool(own)
        self._narrow_pairs += bool(narrow)
        _widen(self._own, own)
        _widen(self._narrow, narrow)

    def notes(self) -> list[str]:
        """Notes for the user, each on at least two pairs."""
        found = []
        if self._own_pairs > 1:
            found.append(
                f"{self._own_pairs} pairs have images that were scaled by their own range (--own-range, temperatures, "
                "or DICOM files without a window), so the images of a series are not alike in brightness; one window "
                f"for all of them is {_flags(self._own)}."
            )
        if self._narrow_pairs > 1:
            found.append(
                f"{self._narrow_pairs} pairs have images that use little of their scale; one window for all of them is "
                f"{_flags(self._narrow)}."
            )
        return found


def _widen(windows: _Windows, found: _Windows) -> None:
    for name, (low, high) in found.items():
        lowest, highest = windows.get(name, (low, high))
        windows[name] = min(lowest, low), max(highest, high)


def _flags(windows: _Windows) -> str:
    return " ".join(f"--window-{name} {low:g} {high:g}" for name, (low, high) in sorted(windows.items()))
