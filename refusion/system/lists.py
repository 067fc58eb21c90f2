"""Lists for the console."""

from collections.abc import Sequence


def listed(title: str, lines: Sequence[str], most: int) -> list[str]:
    """Return the lines that show a list: its title, the first entries, and how many more there are.

    Args:
        title: heading, without a colon.
        lines: the entries; if there are none, nothing is shown.
        most: largest number of entries shown.
    """
    if not lines:
        return []
    more = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return [f"{title}:", *(f"  {line}" for line in lines[:most]), *more]
