"""Event handlers that the tabs with one result have in common: those of the tasks, and that for stacks."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import link, notes
from refusion.demo.events import CANCELLED, filled, session, tell_progress, told
from refusion.demo.examples import Example, credit_html
from refusion.demo.queue import CancelledError
from refusion.demo.result_panel import ResultPanel, Shown
from refusion.demo.results import Result, ResultFiles, comparison
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.uploads import SourceError, stored_path
from refusion.images import Picture
from refusion.tasks import get_task


class ResultEvents(ABC):
    """The handlers of a tab with two inputs and the settings on one side, and the result on the other.

    The inputs of a task are its two images; those of the tab for stacks are the task and the list of images.

    Args:
        tab: name of the tab.
        kind: what is fused there, a pair or a stack.
        examples: the examples of the tab.
        fusing: the computations.
        files: where results are written.
        showcase: the examples with their results.
        panel: where the result is shown.
    """

    def __init__(
        self,
        tab: str,
        kind: str,
        examples: Sequence[Example],
        fusing: Fusing,
        files: ResultFiles,
        showcase: Showcase,
        panel: ResultPanel,
    ) -> None:
        self._tab, self._kind = tab, kind
        self._examples = {example.name: example for example in examples}
        self._fusing, self._files, self._showcase, self._panel = fusing, files, showcase, panel

    @abstractmethod
    def check(self, result: Result | None, one: Any, other: Any, *settings: Any) -> list[Any]:
        """Check the inputs, and whether the result still matches them; returns the note, the status, and one more."""

    @abstractmethod
    def _asked(self, one: Any, other: Any, *settings: Any) -> tuple[tuple[Path, ...], Settings]:
        """The sources and settings that a client sent, checked.

        Raises:
            SourceError: an upload is missing, or cannot be used.
            ValueError: a value is not among its choices.
        """

    @abstractmethod
    def _uploads(self, one: Any, other: Any) -> list[Any]:
        """The uploads among the inputs, as a client sent them."""

    @abstractmethod
    def _labelled(self, paths: tuple[Path, ...], settings: Settings) -> list[tuple[str, Picture]]:
        """Label and image of each source that the result can be compared with."""

    @abstractmethod
    def _about(self, paths: tuple[Path, ...], settings: Settings) -> str:
        """The note on the sources, as HTML."""

    @abstractmethod
    def _status(self, result: Result) -> str:
        """The status of a result that matches the inputs, as HTML."""

    @abstractmethod
    def _details(self, result: Result, size: tuple[int, int], example: Example | None, request: gr.Request) -> str:
        """Description of the result, a link to it and the code for it, as Markdown."""

    @abstractmethod
    def _example_inputs(self, example: Example, paths: tuple[Path, ...], changed: dict[str, str]) -> list[Any]:
        """Values of the inputs and settings for an example, whose sources are at `paths`."""

    @abstractmethod
    def _scores(self, visitor: str, result: Result, tell: OnTick) -> str:
        """The scores of a result as an HTML table."""

    def fuse(
        self,
        open_tab: str,
        one: Any,
        other: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
        *settings: Any,
    ) -> list[Any]:
        """Fuse the sources and show the result; returns the note and the panel."""
        try:
            paths, chosen = self._asked(one, other, *settings)
            progress(0, desc="Reading the images")
            fused = self._fusing.fuse(session(request), paths, chosen, tell_progress(progress, "Fusing"))
            labelled = self._labelled(paths, chosen)
        except CancelledError:
            return [gr.skip(), *self._panel.keep(notes.stale(CANCELLED))]
        except ValueError as error:
            return [notes.bad(error), *self._panel.keep(notes.refused(error))]
        progress(0.98, desc="Saving")
        saved = self._files.save_fused(fused, f"{paths[0].stem}_fused.png")
        viewer = comparison(f"compare-{self._tab}", labelled, fused, saved, self._files)
        result = Result(paths, saved, chosen, secrets.token_hex(8), fused.notes)
        example = self._showcase.example_of(paths)
        details = self._details(result, fused.size, example, request)
        shown = Shown(self._status(result), viewer, saved, details, result, self._address(result, example))
        return [self._about(paths, chosen), *self._panel.show(shown, open_tab)]

    def cancel(self, result: Result | None, one: Any, other: Any, request: gr.Request, *settings: Any) -> list[Any]:
        """Cancel the jobs of this visitor; returns the note and the status."""
        self._fusing.jobs.cancel(session(request))
        note, status, *_ = self.check(result, one, other, *settings)
        kept = result is not None and status == self._status(result)
        return [note, status if kept else notes.stale(CANCELLED)]

    def show_example(self, open_tab: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Show the selected example with its result."""
        example = self._examples.get(str(told(event, "name")))
        return self._example(example, {}, open_tab, request)[0]

    def opened(
        self, address: str, result: Result | None, open_tab: str, request: gr.Request, *uploads: Any
    ) -> list[Any]:
        """Show the first example when the tab is opened, unless it has a result or an upload, or `arrived` handles it.

        `address` is the query string that the page was opened with.
        """
        empty = result is None and not any(uploads)
        first = link.example_on_opening(self._tab, self._examples, address) if empty else None
        return self._example(first, {}, open_tab, request)[0]

    def arrived(self, open_tab: str, request: gr.Request) -> list[Any]:
        """Show what the address of the page asks for, or the first example, if the page opens with this tab.

        The last value is a key that starts the fusion if the address asks for other settings.
        """
        example, changed = link.example_on_arrival(self._tab, self._examples, dict(request.query_params))
        shown, key = self._example(example, changed, open_tab, request)
        return [*shown, key]

    def _example(
        self, example: Example | None, changed: dict[str, str], open_tab: str, request: gr.Request
    ) -> tuple[list[Any], Any]:
        """Inputs, settings, note, credit and panel for an example, and the key to fuse; no change if it is None."""
        inputs = 2 + len(link.SETTINGS)
        if example is None:
            return [gr.skip()] * (inputs + 2 + len(self._panel.outputs)), gr.skip()
        try:
            finished = self._showcase.finished(example)
            settings = Settings.checked(self._fusing.models, get_task(example.task))
            about = self._about(finished.paths, settings)
        except ValueError as error:
            return [*[gr.skip()] * inputs, notes.bad(error), credit_html(example), *self._panel.keep()], gr.skip()
        result = Result(finished.paths, finished.fused, settings, secrets.token_hex(8))
        shown = Shown(
            self._status(result),
            finished.viewer,
            finished.fused,
            self._details(result, finished.size, example, request),
            result,
            self._address(result, example) if not changed else "",
        )
        values = [
            *self._example_inputs(example, finished.paths, changed),
            about,
            credit_html(example),
            *self._panel.show(shown, open_tab),
        ]
        return values, f"link {result.token}" if changed else gr.skip()

    def checked(self, result: Result | None, one: Any, other: Any, *settings: Any) -> list[Any]:
        """What `check` returns, and the credit of the example whose images are there; empty if others are too."""
        return [*self.check(result, one, other, *settings), self._credit(self._uploads(one, other))]

    def _credit(self, uploads: list[Any]) -> str:
        try:
            paths = {stored_path(upload, "uploaded") for upload in uploads if upload}
        except SourceError:
            return ""
        examples = self._examples.values() if paths else ()
        return next((credit_html(one) for one in examples if paths <= set(self._showcase.paths(one))), "")

    def scores(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Return the scores of the last result as an HTML table."""
        if result is None:
            return notes.good(f"Fuse a {self._kind} first.")
        return filled(lambda tell: self._scores(session(request), result, tell), "Scoring", progress)

    def _address(self, result: Result, example: Example | None) -> str:
        """The query string of the link to a result."""
        return link.query(self._tab, example, result.settings, self._own_model(result), len(result.paths))

    def _own_model(self, result: Result) -> str:
        return self._fusing.models.own(result.settings.task)
