"""Lists and counts in texts."""

from collections.abc import Sequence


def listed(title: str, lines: Sequence[str], shown: int) -> list[str]:
    """Return the lines that show a list: its title, the first entries, and how many more there are.

    Args:
        title: heading, without a colon.
        lines: the entries; if there are none, nothing is shown.
        shown: largest number of entries shown.
    """
    if not lines:
        return []
    more = [f"  and {len(lines) - shown} more"] if len(lines) > shown else []
    return [f"{title}:", *(f"  {line}" for line in lines[:shown]), *more]


def were_given(number: int) -> str:
    """As in "1 was given" and "3 were given"."""
    return f"{number} {'was' if number == 1 else 'were'} given"


def counted(number: int, noun: str) -> str:
    """A number and its noun, as in "1 pair" and "2 pairs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
