"""Notes next to the inputs, as HTML."""

from collections.abc import Iterable
from html import escape
from typing import Any

from refusion.system.advice import in_demo

NOTHING = "Nothing is fused yet."


def good(text: str) -> str:
    """A fact; empty for an empty text."""
    return f'<p class="note good" role="status">{escape(text)}</p>' if text else ""


def bad(why: str | Exception) -> str:
    """An error, and what to do about it on the page."""
    return f'<p class="note bad" role="alert">{escape(in_demo(why))}</p>'


def is_bad(html: Any) -> bool:
    """Whether HTML that a page has sent back is an error from `bad` or `refused`."""
    return isinstance(html, str) and html.startswith('<p class="note bad')


def remarks(texts: Iterable[str]) -> str:
    """What a visitor should know about a result that is up to date, such as sources that look swapped."""
    return "".join(f'<p class="note remark" role="status">{escape(text)}</p>' for text in texts)


def stale(text: str) -> str:
    """A warning that the result on the page does not match the inputs."""
    return f'<p class="note stale" role="status">{escape(text)}</p>'


def refused(why: str | Exception) -> str:
    """A status that nothing was fused; on a small screen, where the note is out of view, with the reason."""
    return (
        '<p class="note bad refused" role="alert">Nothing was fused<span class="near">; the note says why.</span>'
        f'<span class="far">: {escape(in_demo(why))}</span></p>'
    )


def seconds(value: float) -> str:
    """A duration in words."""
    if value < 1.5:
        return "about a second"
    return f"about {value:.0f} seconds" if value < 90 else f"about {value / 60:.0f} minutes"


def duration(fusing: float, wait: float) -> str:
    """How long fusing takes, and the wait for other jobs before it, if any; both in seconds."""
    before = f", after {seconds(wait)} for the jobs before it" if wait >= 1.5 else ""
    return f"Fusing takes {seconds(fusing)}{before}."
