"""Event handlers of the tab for stacks."""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import link, notes, texts
from refusion.demo.events import BEFORE, CANCELLED, STALE, filled, session, tell_progress, told
from refusion.demo.examples import Example, credit_html, example_stacks
from refusion.demo.explained import STACK_NOTE, scores_table
from refusion.demo.queue import CancelledError
from refusion.demo.result_panel import ResultPanel, Shown
from refusion.demo.results import SHOWN, Result, ResultFiles, comparison
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.thumbnails import thumbnails_html
from refusion.demo.uploads import Facts, SourceError, stored_path
from refusion.hub.errors import ModelError
from refusion.inference.stack import MAX_FRAMES
from refusion.tasks import get_task


class StackEvents:
    """The handlers of the tab for stacks."""

    def __init__(self, fusing: Fusing, files: ResultFiles, showcase: Showcase, panel: ResultPanel) -> None:
        self._fusing, self._files, self._showcase, self._panel = fusing, files, showcase, panel
        self._examples = {example.name: example for example in example_stacks()}

    def check(self, result: Result | None, task: Any, stack: Any, *settings: Any) -> list[Any]:
        """Check the stack, and whether the result still matches it; returns the note, thumbnails and status."""
        try:
            paths = [stored_path(upload, "uploaded") for upload in stack or []]
        except SourceError as error:
            return [notes.bad(str(error)), "", gr.skip()]
        shown = thumbnails_html(paths, self._fusing.uploads)
        status = notes.stale(BEFORE) if result is not None else gr.skip()
        if not paths:
            return ["", shown, status]
        try:
            frames = _checked(tuple(paths))
            facts = self._fusing.uploads.check_stack(frames)
            chosen = self._settings(task, *settings)
        except (SourceError, ValueError) as error:
            return [notes.bad(str(error)), shown, status]
        if result is not None and result.key == (frames, chosen.key(len(frames))):
            return [_about(frames, facts), shown, _status(result)]
        expected = self._fusing.jobs.estimate_with_line(facts.megapixels * (len(frames) - 1))
        status = notes.stale(STALE) if result is not None else gr.skip()
        return [_about(frames, facts, f" Fusing takes {notes.seconds(expected)}."), shown, status]

    def fuse(
        self,
        open_tab: str,
        task: Any,
        stack: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
        *settings: Any,
    ) -> list[Any]:
        """Fuse the stack and show it; returns the note and the panel."""
        try:
            paths = _checked(tuple(stored_path(upload, "uploaded") for upload in stack or []))
            chosen = self._settings(task, *settings)
            progress(0, desc="Reading the images")
            fused = self._fusing.fuse(session(request), paths, chosen, tell_progress(progress, "Fusing"))
        except CancelledError:
            return [gr.skip(), *self._panel.keep(notes.stale(CANCELLED))]
        except (SourceError, ModelError, ValueError) as error:
            return [notes.bad(str(error)), *self._panel.keep(notes.refused(str(error)))]
        progress(0.98, desc="Saving")
        saved = self._files.save_fused(fused, f"{paths[0].stem}_fused.png")
        labelled = [(path.name, self._fusing.uploads.read(path)) for path in paths[:SHOWN]]
        viewer = comparison("compare-stack", labelled, fused, saved, self._files)
        result = Result(paths, saved, chosen, secrets.token_hex(8), fused.notes)
        example = self._showcase.example_of(paths)
        details = self._details(result, fused.size, example)
        shown = Shown(_status(result), viewer, saved, details, result, self._address(result, example))
        return [_about(paths, self._fusing.uploads.facts(paths[0])), *self._panel.show(shown, open_tab)]

    def fuse_wanted(
        self,
        wanted: str,
        open_tab: str,
        task: Any,
        stack: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
        *settings: Any,
    ) -> list[Any]:
        """Fuse automatically, if the address of the page asks for it; returns the note and the panel.

        Of several events that run at the same time, gradio takes each to have changed `wanted`.
        """
        if not wanted:
            return [gr.skip(), *self._panel.keep()]
        return self.fuse(open_tab, task, stack, request, progress, *settings)

    def cancel(self, result: Result | None, task: Any, stack: Any, request: gr.Request, *settings: Any) -> str:
        """Cancel the jobs of this visitor; returns the status."""
        self._fusing.jobs.cancel(session(request))
        status = self.check(result, task, stack, *settings)[2]
        return status if result is not None and status == _status(result) else notes.stale(CANCELLED)

    def show_example(self, open_tab: str, event: gr.EventData) -> list[Any]:
        """Show the selected example with its result."""
        return self._example(self._examples.get(str(told(event, "name"))), {}, open_tab)[0]

    def opened(self, result: Result | None, open_tab: str, address: str) -> list[Any]:
        """Show the first example when the tab is opened, unless there is a result or `arrived` handles it.

        `address` is the query string that the page was opened with.
        """
        first = link.example_on_opening("stack", self._examples, address) if result is None else None
        return self._example(first, {}, open_tab)[0]

    def arrived(self, open_tab: str, request: gr.Request) -> list[Any]:
        """Show what the address of the page asks for, or the first example, if the page opens with this tab.

        The last value is a key that starts the fusion if the address asks for other settings.
        """
        example, changed = link.example_on_arrival("stack", self._examples, dict(request.query_params))
        shown, key = self._example(example, changed, open_tab)
        return [*shown, key]

    def scores(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Return the scores of the last result as an HTML table."""
        if result is None:
            return notes.good("Fuse a stack first.")

        def compute(tell: OnTick) -> str:
            scores = self._fusing.stack_scores(session(request), result.paths, result.fused, tell)
            return scores_table(scores, STACK_NOTE)

        return filled(compute, "Scoring", progress)

    def _example(self, example: Example | None, changed: dict[str, str], open_tab: str) -> tuple[list[Any], Any]:
        """Inputs, note, credit and panel for an example, and the key to fuse; no change if it is None."""
        if example is None:
            return [gr.skip()] * (9 + len(self._panel.outputs)), gr.skip()
        try:
            finished = self._showcase.finished(example)
            settings = self._settings(example.task)
        except (ModelError, ValueError) as error:
            return [*[gr.skip()] * 7, notes.bad(str(error)), credit_html(example), *self._panel.keep()], gr.skip()
        result = Result(finished.paths, finished.fused, settings, secrets.token_hex(8))
        shown = Shown(
            _status(result),
            finished.viewer,
            finished.fused,
            self._details(result, finished.size, example),
            result,
            self._address(result, example) if not changed else "",
        )
        values = [
            example.task,
            list(map(str, finished.paths)),
            *[changed.get(name, "") for name in link.SETTINGS.values()],
            gr.skip(),
            credit_html(example),
            *self._panel.show(shown, open_tab),
        ]
        return values, f"link {result.token}" if changed else gr.skip()

    def _settings(self, task: Any, *settings: Any) -> Settings:
        return Settings.checked(self._fusing.models, get_task(task if isinstance(task, str) else ""), *settings)

    def _address(self, result: Result, example: Example | None) -> str:
        """Address of the result of an example; that of a stack of the visitor's only names the tab."""
        if example is None:
            return "?task=stack"
        own = self._fusing.models.own(result.settings.task)
        return link.query("stack", example, result.settings, own, len(result.paths))

    def _details(self, result: Result, size: tuple[int, int], example: Example | None) -> str:
        own = self._fusing.models.own(result.settings.task)
        changed = link.changed_settings(result.settings, own, len(result.paths))
        settings = texts.in_words(changed, ("first", "second")) or "defaults for stacks"
        there = f" [Link to this result]({self._address(result, example)})" if example else ""
        return (
            f"{size[0]} x {size[1]} pixels from {len(result.paths)} images, model `{result.settings.model.name}`, "
            f"settings: {settings}.{there}\n\n"
            "The same on the command line:\n\n"
            f"```sh\n{link.command([path.name for path in result.paths], result.settings)}\n```"
        )


def _checked(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    if len(paths) < 3:
        raise SourceError("A stack has at least three images; add more, or use the tab of the task for two.")
    if len(paths) > MAX_FRAMES:
        raise SourceError(f"There are {len(paths)} images, but a stack has at most {MAX_FRAMES}; choose fewer.")
    if len(set(paths)) < len(paths):
        raise SourceError("The same file is in the stack twice; remove one of the two.")
    return paths


def _about(frames: tuple[Path, ...], facts: Facts, more: str = "") -> str:
    width, height = facts.size
    return notes.good(f"{len(frames)} images of {width} x {height} pixels.{more}")


def _status(result: Result) -> str:
    return notes.good(" ".join([f"Result of {len(result.paths)} images, {result.paths[0].name} first.", *result.notes]))
