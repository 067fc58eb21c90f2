"""What stands next to the inputs."""

from html import escape

STYLE = """
.prose .note { margin: 0; padding: 0.375rem 0.75rem; border-radius: var(--radius-md); font-size: var(--text-sm);
  color: var(--body-text-color); overflow-wrap: anywhere; }
.prose .note.good { padding: 0 0.25rem; }
.prose .note.bad { background: var(--error-background-fill); border: 1px solid var(--error-border-color);
  color: var(--error-text-color); }
"""


def good(text: str) -> str:
    """A fact."""
    return f'<p class="note good" role="status">{escape(text)}</p>' if text else ""


def bad(text: str) -> str:
    """What is wrong, and what to do."""
    return f'<p class="note bad" role="alert">{escape(text)}</p>'


def seconds(value: float) -> str:
    """A time for people."""
    if value < 1.5:
        return "about a second"
    return f"about {value:.0f} seconds" if value < 90 else f"about {value / 60:.0f} minutes"
