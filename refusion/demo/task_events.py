"""Event handlers of the tab of one task."""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import link, notes, texts
from refusion.demo.events import BEFORE, CANCELLED, STALE, filled, heading, session, tell_progress, told
from refusion.demo.examples import Example, credit_html, example_pairs
from refusion.demo.explained import explained_html, scores_table
from refusion.demo.queue import CancelledError
from refusion.demo.result_panel import ResultPanel, Shown
from refusion.demo.results import Result, ResultFiles, comparison, file_address
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.thumbnails import preview_html
from refusion.demo.uploads import SourceError, check_together, describe, stored_path
from refusion.hub.errors import ModelError
from refusion.tasks import Task

QUICK = 2.0
"""Expected seconds up to which a pair is fused again automatically when something changes."""

AGAIN = "Fusing again, because the inputs have changed …"

LONG = 5.0
"""Expected seconds from which the time is shown before fusing."""


class TaskEvents:
    """The handlers of the tab of one task."""

    def __init__(self, task: Task, fusing: Fusing, files: ResultFiles, showcase: Showcase, panel: ResultPanel) -> None:
        self._task, self._fusing, self._files = task, fusing, files
        self._showcase, self._panel = showcase, panel
        self._examples = {example.name: example for example in example_pairs(task.name)}

    # ------------------------------------------------------------------------------------------------ checking

    def check(self, result: Result | None, a: Any, b: Any, *settings: Any) -> list[Any]:
        """Check the inputs, and whether the result on the page still matches them.

        Returns:
            The note, the status, and a key that starts the fusion of a small pair.
        """
        said, found = [], []
        for side, (upload, label) in enumerate(zip((a, b), self._task.labels, strict=True)):
            if not upload:
                continue
            try:
                path = stored_path(upload, label)
                said.append(self._about(path, side))
            except SourceError as error:
                said.append(notes.bad(str(error)))
                continue
            found.append((path, self._fusing.uploads.facts(path)))
        if len(found) < 2:
            return ["".join(said), self._stale(result, BEFORE), gr.skip()]
        (path_a, facts_a), (path_b, facts_b) = found
        try:
            check_together((path_a, path_b), (facts_a.size, facts_b.size))
            checked = Settings.checked(self._fusing.models, self._task, *settings)
        except (SourceError, ValueError) as error:
            return ["".join([*said, notes.bad(str(error))]), self._stale(result, BEFORE), gr.skip()]
        key = ((path_a, path_b), checked.key())
        if result is not None and result.key == key:
            return ["".join(said), _status(result), gr.skip()]
        expected = self._fusing.jobs.estimate_with_line(facts_a.megapixels)
        if expected < QUICK and checked.model.name in self._fusing.models.names:
            token = result.token if result else ""
            return ["".join(said), self._stale(result, AGAIN), f"{hash(key)} {token}"]
        if expected >= LONG:
            said.append(notes.good(f"Fusing takes {notes.seconds(expected)}."))
        return ["".join(said), self._stale(result, STALE), gr.skip()]

    def _about(self, path: Path, side: int) -> str:
        """The note on an upload as HTML, with a preview if the browser cannot show it."""
        uploads = self._fusing.uploads
        return notes.good(describe(path, uploads.facts(path))) + preview_html(side, path, uploads)

    def _stale(self, result: Result | None, why: str) -> str:
        return notes.good("Nothing is fused yet.") if result is None else notes.stale(why)

    # ------------------------------------------------------------------------------------------------ fusing

    def fuse(
        self,
        open_tab: str,
        a: Any,
        b: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
        *settings: Any,
    ) -> list[Any]:
        """Fuse the pair and show it; returns the note and the panel."""
        try:
            first, second = self._task.labels
            paths = stored_path(a, first), stored_path(b, second)
            checked = Settings.checked(self._fusing.models, self._task, *settings)
            progress(0, desc="Reading the images")
            fused = self._fusing.fuse(session(request), paths, checked, tell_progress(progress, "Fusing"))
            pictures = self._fusing.uploads.read_pair(paths)
        except CancelledError:
            return [gr.skip(), *self._panel.keep(notes.stale(CANCELLED))]
        except (SourceError, ModelError, ValueError) as error:
            return [notes.bad(str(error)), *self._panel.keep(notes.refused(str(error)))]
        progress(0.98, desc="Saving")
        saved = self._files.save_fused(fused, f"{paths[0].stem}_fused.png")
        labelled = [(heading(label), picture) for label, picture in zip(self._task.labels, pictures, strict=True)]
        viewer = comparison(f"compare-{self._task.name}", labelled, fused, saved, self._files)
        result = Result(paths, saved, checked, secrets.token_hex(8), fused.notes)
        example = self._showcase.example_of(paths)
        shown = Shown(
            _status(result),
            viewer,
            saved,
            self._details(result, fused.size, example, request),
            result,
            link.query(self._task.name, example, checked, self._own),
        )
        about = "".join(self._about(path, side) for side, path in enumerate(paths))
        return [about, *self._panel.show(shown, open_tab)]

    def fuse_wanted(
        self,
        result: Result | None,
        open_tab: str,
        a: Any,
        b: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
        *settings: Any,
    ) -> list[Any]:
        """Fuse automatically, unless the result already matches the inputs; returns the note and the panel."""
        try:
            paths = stored_path(a, self._task.labels[0]), stored_path(b, self._task.labels[1])
            key = (paths, Settings.checked(self._fusing.models, self._task, *settings).key())
        except (SourceError, ValueError):
            return [gr.skip(), *self._panel.keep()]  # `check` has written the note.
        if result is not None and result.key == key:
            return [gr.skip(), *self._panel.keep()]
        return self.fuse(open_tab, a, b, request, progress, *settings)

    def cancel(self, result: Result | None, a: Any, b: Any, request: gr.Request, *settings: Any) -> str:
        """Cancel the jobs of this visitor; returns the status."""
        self._fusing.jobs.cancel(session(request))
        status = self.check(result, a, b, *settings)[1]
        return status if result is not None and status == _status(result) else notes.stale(CANCELLED)

    # ------------------------------------------------------------------------------------------------ examples

    def show_example(self, open_tab: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Show the selected example with its result."""
        example = self._examples.get(str(told(event, "name")))
        return self._example(example, {}, open_tab, request)[0]

    def opened(self, result: Result | None, open_tab: str, address: str, request: gr.Request) -> list[Any]:
        """Show the first example when the tab is opened, unless there is a result or `arrived` handles it.

        `address` is the query string that the page was opened with.
        """
        first = link.example_on_opening(self._task.name, self._examples, address) if result is None else None
        return self._example(first, {}, open_tab, request)[0]

    def arrived(self, open_tab: str, request: gr.Request) -> list[Any]:
        """Show what the address of the page asks for, or the first example, if the page opens with this tab.

        The last value is a key that starts the fusion if the address asks for other settings.
        """
        example, changed = link.example_on_arrival(self._task.name, self._examples, dict(request.query_params))
        shown, key = self._example(example, changed, open_tab, request)
        return [*shown, key]

    def _example(
        self, example: Example | None, changed: dict[str, str], open_tab: str, request: gr.Request
    ) -> tuple[list[Any], Any]:
        """Sources, settings, note, credit and panel for an example, and the key to fuse; no change if it is None."""
        if example is None:
            return [gr.skip()] * (9 + len(self._panel.outputs)), gr.skip()
        task = self._task
        values: dict[str, str] = {"output_range": task.output_range, "anchor": task.anchor, "chroma": task.chroma}
        values |= {"model": self._own, "revision": ""}
        try:
            finished = self._showcase.finished(example)
            settings = Settings.checked(self._fusing.models, task, *values.values())
            said = [self._about(path, side) for side, path in enumerate(finished.paths)]
        except (ModelError, ValueError) as error:
            return [*[gr.skip()] * 7, notes.bad(str(error)), credit_html(example), *self._panel.keep()], gr.skip()
        result = Result(finished.paths, finished.fused, settings, secrets.token_hex(8))
        shown = Shown(
            _status(result),
            finished.viewer,
            finished.fused,
            self._details(result, finished.size, example, request),
            result,
            link.query(task.name, example, settings, self._own) if not changed else "",
        )
        outputs = [
            *map(str, finished.paths),
            *(values | changed).values(),
            "".join(said),
            credit_html(example),
            *self._panel.show(shown, open_tab),
        ]
        return outputs, f"link {result.token}" if changed else gr.skip()

    @property
    def _own(self) -> str:
        return self._fusing.models.own(self._task)

    def _details(self, result: Result, size: tuple[int, int], example: Example | None, request: gr.Request) -> str:
        """Description of the result, a link to it and the code for it, as Markdown."""
        address = link.query(self._task.name, example, result.settings, self._own)
        what = "Link to this result" if example else "Link to these settings (your images are not in it)"
        names = (result.paths[0].name, result.paths[1].name)
        root = str(request.headers.get("origin") or "http://127.0.0.1:7860")
        changed = link.changed_settings(result.settings, self._own)
        settings = texts.in_words(changed, self._task.labels) or "defaults of the task"
        return (
            f"{size[0]} x {size[1]} pixels, model `{result.settings.model.name}`, settings: {settings}. "
            f"[{what}]({address})\n\n"
            f"The same from a program:\n\n```python\n{link.program(root, names, result.settings, self._own)}\n```"
        )

    # ------------------------------------------------------------------------------------------------ below

    def scores(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Return the scores of the last result as an HTML table."""
        if result is None:
            return notes.good("Fuse a pair first.")

        def compute(tell: OnTick) -> str:
            first, second = result.paths
            scores = self._fusing.scores(session(request), self._task, (first, second), result.fused, tell)
            return scores_table(scores)

        return filled(compute, "Scoring", progress)

    def explain(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Return the weights of the learned loss for the last result as HTML."""
        if result is None:
            return notes.good("Fuse a pair first.")

        def compute(tell: OnTick) -> str:
            first, second = result.paths
            model = result.settings.model
            explanation, shrunk = self._fusing.explanation(session(request), model, (first, second), tell)
            return explained_html(
                explanation, self._task.labels, shrunk, lambda image, name: file_address(self._files.save(image, name))
            )

        return filled(compute, "Asking the learned loss", progress)


def _status(result: Result) -> str:
    first, second = result.paths
    return notes.good(" ".join([f"Result of {first.name} and {second.name}.", *result.notes]))
