"""What the handlers of all tabs share."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from refusion.demo import notes
from refusion.demo.options import DemoOptions
from refusion.demo.queue import Tick

CANCELLED = "Cancelled; nothing was fused."

STALE = "This result is from before your last change. Press Fuse to bring it up to date."

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Events of the page that programs need not see; they have endpoints of their own."""

READING: dict[str, Any] = {
    "preprocess": False,
    "show_progress": "hidden",
    "concurrency_id": "reading",
    "concurrency_limit": 4,
    **PRIVATE,
}
"""Events that only look at uploads; they do not wait for those that compute."""


def computing(options: DemoOptions) -> dict[str, Any]:
    """Events that compute on the device: one at a time, in the order in which they came.

    Half of those that may wait are let in, where they are told how long it takes; Gradio holds the others back, and
    refuses who comes when it is full.
    """
    return {
        "preprocess": False,
        "concurrency_id": "fusion",
        "concurrency_limit": 1 + options.queue_size // 2,
        **PRIVATE,
    }


def to_result(tab: str) -> str:
    """JavaScript that brings the result onto a small screen, and hands the inputs on as they are."""
    return f"""(...values) => {{
      const result = document.querySelector('#result-{tab} .status-row');
      if (window.innerWidth <= 900 && result) result.scrollIntoView({{ behavior: 'smooth' }});
      return values;
    }}"""


def changes(components: Sequence[Any]) -> list[Any]:
    """The event of each component that its value has changed."""
    return [component.change for component in components]


def heading(label: str) -> str:
    """A label as it stands above something."""
    return label[0].upper() + label[1:]


def session(request: gr.Request | None) -> str:
    """Whose request it is."""
    return (request.session_hash if request else None) or "nobody"


def told(event: gr.EventData, what: str) -> Any:
    """What a script of the page sends along with its event; a client may send anything."""
    return event._data.get(what) if isinstance(event._data, dict) else None


def toast(message: str) -> None:
    """Show an error over the page."""
    gr.Warning(notes.escape(message), duration=10, title="This cannot be fused")


def tell_progress(progress: Callable[..., Any], what: str) -> Callable[[Tick], None]:
    """Show how far a job is in a progress bar: the place in the line and the seconds left."""

    def tell(tick: Tick) -> None:
        rest = f"{notes.seconds(tick.left)} left" if tick.left > 1 else "almost done"
        before = f"{tick.place} before you" if tick.place else what
        progress(min(0.97, tick.elapsed / max(tick.elapsed + tick.left, 0.1)), desc=f"{before}, {rest}")

    return tell


def expired(error: Exception) -> str:
    """What is said where the files of a result are gone, or of another error."""
    if isinstance(error, FileNotFoundError):
        return "This result is more than an hour old and was removed; fuse again."
    return str(error)
