"""What stands next to the inputs."""

from html import escape


def good(text: str) -> str:
    """A fact."""
    return f'<p class="note good" role="status">{escape(text)}</p>' if text else ""


def bad(text: str) -> str:
    """What is wrong, and what to do."""
    return f'<p class="note bad" role="alert">{escape(text)}</p>'


def stale(text: str) -> str:
    """What is on the page is not what the inputs ask for."""
    return f'<p class="note stale" role="status">{escape(text)}</p>'


def seconds(value: float) -> str:
    """A time for people."""
    if value < 1.5:
        return "about a second"
    return f"about {value:.0f} seconds" if value < 90 else f"about {value / 60:.0f} minutes"
