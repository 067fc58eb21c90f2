"""Lists and counts in texts."""

import re
from collections.abc import Iterable, Sequence

MORE_ALIKE = "more like this"
"""End of a line that stands for several."""

_NAME = re.compile(r"\S*(?:\d|[./\\]\S)\S*")
"""A word with a digit, or with a dot or a slash within, as the names of files have."""


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


def few_of_each_kind(entries: Iterable[tuple[str, str, str]], shown: int) -> list[str]:
    """Return the first entries of each kind, and after them how many more there are like these.

    Args:
        entries: for each, what it is of, its name, and a sentence. They are of one kind if they are of the same, and
            their sentences differ only in the name and in numbers and names of files.
        shown: largest number of entries shown of each kind.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for whose, name, sentence in entries:
        kind = _NAME.sub("*", sentence.replace(name, "*") if name else sentence)
        kinds.setdefault((whose, kind), []).append(": ".join(filter(None, (whose, name, sentence))))
    lines: list[str] = []
    for alike in kinds.values():
        lines += alike[:shown]
        if len(alike) > shown:
            lines.append(f"and {len(alike) - shown:,} {MORE_ALIKE}")
    return lines


def were_given(number: int) -> str:
    """As in "1 was given" and "3 were given"."""
    return f"{number} {'was' if number == 1 else 'were'} given"


def counted(number: int, noun: str) -> str:
    """A number and its noun, as in "1 pair" and "2 pairs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
