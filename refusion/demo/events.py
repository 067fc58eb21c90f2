"""Texts, options and helpers shared by the event handlers of all tabs.

Handlers take the settings of a tab last, as ``*settings``: gradio passes a request and a progress only in the places of
named parameters before them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from refusion.demo import notes
from refusion.demo.options import DemoOptions
from refusion.demo.queue import CancelledError, Tick

CANCELLED = "Cancelled; nothing was fused."

BEFORE = "This result is from before your last change."

OTHER_SETTINGS = "This result was made with other settings."
"""Where the settings cannot be used; they may be those of a link, which nobody changed."""

FUSE_STACK = "Fuse the stack"
"""The button of the tab for stacks."""

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Options of events that are hidden from programs, which have endpoints of their own."""

READING: dict[str, Any] = {
    "preprocess": False,
    "show_progress": "hidden",
    "concurrency_id": "reading",
    "concurrency_limit": 4,
    **PRIVATE,
}
"""Options of events that only look at uploads; they do not wait for those that compute."""


def checking(note: gr.HTML) -> dict[str, Any]:
    """Options of events that check what was uploaded, which takes seconds for large images: the note says so."""
    return READING | {"trigger_mode": "always_last", "show_progress": "minimal", "show_progress_on": note}


def computing(options: DemoOptions) -> dict[str, Any]:
    """Options of events that compute on the device: one at a time, first come, first served.

    Half of the requests that may wait are admitted to the demo's own queue, which shows how long they take. Gradio
    holds back the other half, and refuses any more.
    """
    return {
        "preprocess": False,
        "concurrency_id": "fusion",
        "concurrency_limit": 1 + options.queue_size // 2,
        **PRIVATE,
    }


def awaiting(tab: str, values: str = "values") -> str:
    """JavaScript for an event that brings an example: from now on, uploads are newer than it; see `uploads_stay`.

    Args:
        tab: name of the tab.
        values: JavaScript for the values that the handler gets.
    """
    return f"(...values) => {{ pageUploads.wait('{tab}'); return {values}; }}"


def uploads_stay(tab: str, uploads: Sequence[Any], examples: Sequence[Any], uploaded: Sequence[Any]) -> None:
    """Let uploads win over an example that was asked for before them.

    Args:
        tab: name of the tab.
        uploads: the components that hold uploads.
        examples: the events that bring an example.
        uploaded: the event listeners of an upload.
    """
    keep = f"(...values) => {{ pageUploads.keep('{tab}', values); return []; }}"
    for listen in uploaded:
        listen(None, list(uploads), None, js=keep, cancels=list(examples), **PRIVATE)
    # Cancelling is a request, which may be too late.
    for event in examples:
        event.then(None, None, list(uploads), js=f"() => pageUploads.newer('{tab}')", **PRIVATE)


def to_result(tab: str) -> str:
    """JavaScript that scrolls to the result on a small screen, and passes the inputs on unchanged."""
    return f"""(...values) => {{
      const result = document.querySelector('#result-{tab} .status-row');
      if (window.innerWidth > 900 || !result) return values;
      const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
      result.scrollIntoView({{ behavior: still ? 'auto' : 'smooth' }});
      // A browser keeps what is below in its place when the status grows, and cuts off its first lines.
      if (!result.watched) {{
        result.watched = new ResizeObserver(() => {{
          const {{ top, bottom }} = result.getBoundingClientRect();
          if (top < 0 && bottom > 0) result.scrollIntoView();
        }});
        result.watched.observe(result);
      }}
      return values;
    }}"""


def changes(components: Sequence[Any]) -> list[Any]:
    """The change event of each component."""
    return [component.change for component in components]


def heading(label: str) -> str:
    """A label with a capital first letter."""
    return label[0].upper() + label[1:]


def session(request: gr.Request | None) -> str:
    """The id of the visitor's session."""
    return (request.session_hash if request else None) or "nobody"


def told(event: gr.EventData, what: str) -> Any:
    """A value that a script of the page sends with its event, unchecked: a client may send anything."""
    return event._data.get(what) if isinstance(event._data, dict) else None


def tell_progress(progress: Callable[..., Any], what: str, *, index: int = 0, count: int = 1) -> Callable[[Tick], None]:
    """Return a callback that shows a job in a progress bar: its place in the queue and the seconds left.

    Args:
        progress: the progress bar.
        what: what the job does.
        index: index of the job, if it is one of several that run one after the other and take as long.
        count: how many there are.
    """

    def tell(tick: Tick) -> None:
        whole = tick.elapsed + tick.left
        left = tick.left + (count - index - 1) * whole
        rest = f"{notes.seconds(left)} left" if left > 1 else "almost done"
        if left <= 0:
            rest = "it takes longer than estimated"
        before = f"{tick.place} before you" if tick.place else what
        said = before if tick.place and left <= 1 else f"{before}, {rest}"
        progress((index + min(0.97, tick.elapsed / max(whole, 0.1))) / count, desc=said)

    return tell


def filled(compute: Callable[[Callable[[Tick], None]], str], what: str, progress: Callable[..., Any]) -> str:
    """Fill a tab below a result: return the HTML that `compute` returns, or the reason why there is none.

    Args:
        compute: the computation; it takes a callback for the progress of its job.
        what: what the job does.
        progress: the progress bar.
    """
    progress(0, desc=what)
    try:
        return compute(tell_progress(progress, what))
    except CancelledError:
        return notes.good("Cancelled.")
    except FileNotFoundError:
        return notes.bad("This result is more than an hour old and was removed; fuse again.")
    except ValueError as error:
        return notes.bad(error)
