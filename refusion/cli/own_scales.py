"""What is said after a run in which images were scaled by ranges of their own."""

from collections.abc import Sequence

from refusion.images.picture import Levels


class OwnScales:
    """Counts the pairs with an image at its own range, and finds a window that suits all of them."""

    def __init__(self) -> None:
        self._pairs = 0
        self._windows: dict[str, tuple[float, float]] = {}

    def add(self, levels: Sequence[Levels | None]) -> None:
        """Add a pair.

        Args:
            levels: those of the first source and of the second.
        """
        own = {name: one for name, one in zip("ab", levels, strict=True) if one is not None and one.own}
        self._pairs += bool(own)
        for name, one in own.items():
            low, high = self._windows.get(name, (one.black, one.white))
            self._windows[name] = min(low, one.black), max(high, one.white)

    @property
    def note(self) -> str | None:
        """A note for the user; None if at most one pair has such an image."""
        if self._pairs < 2:
            return None
        windows = " ".join(f"--window-{name} {low:g} {high:g}" for name, (low, high) in sorted(self._windows.items()))
        return (
            f"{self._pairs} pairs have images that were scaled by their own range (--own-range, temperatures, or DICOM "
            "files without a window), so the images of a series are not alike in brightness; one window for all of "
            f"them is {windows}."
        )
