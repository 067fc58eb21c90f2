"""Tables in Markdown."""

from collections.abc import Sequence

NOTHING = "\N{EN DASH}"
"""Text of a table cell without a value."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; pipes and line breaks in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(escape, line))} |" for line in lines)


def escape(text: str) -> str:
    """Escape the text of a table cell: pipes would end the cell, line breaks the row."""
    return " ".join(text.replace("|", "\\|").split())
