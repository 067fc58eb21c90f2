"""Result panel of a tab: status, viewer and download; details, scores and explanation in tabs below."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import notes
from refusion.demo.events import PRIVATE
from refusion.demo.viewer import empty_viewer


@dataclass(frozen=True)
class Shown:
    """Content of the result panel.

    Attributes:
        status: a sentence or two, as HTML; see `refusion.demo.notes`.
        viewer: the viewer as HTML.
        saved: file of the fused image.
        details: Markdown.
        result: data for the tabs below, kept on the server; any type.
        address: query string of the link to the result.
    """

    status: str
    viewer: str
    saved: Path
    details: str
    result: Any
    address: str = ""


@dataclass(frozen=True)
class ResultPanel:
    """The components of the panel."""

    status: gr.HTML
    cancel: gr.Button
    viewer: gr.HTML
    download: gr.DownloadButton
    details: gr.Markdown
    result: gr.State
    open_tab: gr.State
    to_fill: gr.State
    address: gr.Textbox
    filled: dict[str, gr.HTML] = field(default_factory=dict)
    tabs: dict[str, gr.Tab] = field(default_factory=dict)

    @property
    def outputs(self) -> list[Any]:
        """Outputs that `show` and `keep` return values for."""
        panel = [self.status, self.viewer, self.download, self.details, self.result, self.address, self.to_fill]
        return [*panel, *self.filled.values()]

    def show(self, shown: Shown, open_tab: str) -> list[Any]:
        """Values of the outputs for a new result; an open tab below it is filled again."""
        token = f"{open_tab} {secrets.token_hex(8)}" if open_tab in self.filled else ""
        return [
            shown.status,
            shown.viewer,
            gr.DownloadButton(value=str(shown.saved), interactive=True),
            shown.details,
            shown.result,
            shown.address,
            token or gr.skip(),
            *[""] * len(self.filled),
        ]

    def keep(self, status: Any = None) -> list[Any]:
        """Values of the outputs that keep the last result, optionally with another status."""
        return [gr.skip() if status is None else status, *[gr.skip()] * (len(self.outputs) - 1)]

    def fill(self, functions: dict[str, Callable[..., Any]], computing: dict[str, Any]) -> list[Any]:
        """Fill the tabs below the result when they are opened, and again for a new result while they are open.

        Args:
            functions: for each tab, a function that takes the result, a request and a progress, and returns HTML.
            computing: see `refusion.demo.events.computing`.

        Returns:
            The events, for cancelling them.
        """
        opened: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
        self.tabs["details"].select(lambda: "details", None, self.open_tab, **opened)
        events: list[Any] = []
        for name, function in functions.items():
            output = self.filled[name]
            filling = {"outputs": output, "show_progress_on": output, **computing}
            self.tabs[name].select(_constant(name), None, self.open_tab, **opened)
            events.append(self.tabs[name].select(function, self.result, **filling))
            events.append(self.to_fill.change(_only(name, function), [self.to_fill, self.result], **filling))
        return events


def result_panel(name: str, filled: dict[str, str], poster: str = "") -> ResultPanel:
    """Add the panel.

    Args:
        name: name of the tab; the panel's id is ``result-NAME``.
        filled: name and title of the tabs below the result that are computed when they are opened.
        poster: address of the image shown until there is a result.
    """
    tabs: dict[str, gr.Tab] = {}
    outputs: dict[str, gr.HTML] = {}
    status, cancel = status_row()
    viewer = gr.HTML(empty_viewer(poster), elem_classes="viewer-box", elem_id=f"viewer-{name}")
    download = gr.DownloadButton("Download in full quality", interactive=False, elem_classes="download")
    with gr.Tabs(overflow_behavior="wrap", elem_classes="below"):
        with gr.Tab("Details", id=f"{name}-details") as tabs["details"]:
            details = gr.Markdown("")
        for key, title in filled.items():
            with gr.Tab(title, id=f"{name}-{key}") as tabs[key]:
                outputs[key] = gr.HTML("", elem_classes="filled")
    return ResultPanel(
        status,
        cancel,
        viewer,
        download,
        details,
        gr.State(None),
        gr.State("details"),
        gr.State(""),
        gr.Textbox(visible=False),
        outputs,
        tabs,
    )


def status_row() -> tuple[gr.HTML, gr.Button]:
    """Add the status line, and the Cancel button, which is shown while something runs."""
    with gr.Row(elem_classes="status-row"):
        status = gr.HTML(notes.good(notes.NOTHING), elem_classes="status-box")
        cancel = gr.Button("Cancel", size="sm", elem_classes="cancel", scale=0, min_width=90)
    return status, cancel


def _constant(value: str) -> Callable[[], str]:
    return lambda: value


def _only(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def fill(wanted: str, result: Any, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Any:
        return function(result, request, progress) if wanted.startswith(f"{name} ") else gr.skip()

    return fill
