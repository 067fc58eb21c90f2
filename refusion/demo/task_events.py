"""Event handlers of the tab of one task."""

from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import link, notes, texts
from refusion.demo.events import BEFORE, OTHER_SETTINGS, filled, heading, session
from refusion.demo.examples import Example, example_pairs
from refusion.demo.explained import explained_html, scores_table
from refusion.demo.result_events import ResultEvents
from refusion.demo.result_panel import ResultPanel
from refusion.demo.results import Result, ResultFiles, file_address
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.thumbnails import preview_html
from refusion.demo.uploads import SourceError, check_together, describe, names_of, stored_path
from refusion.images import Picture
from refusion.images.roles import LOOK_SWAPPED
from refusion.tasks import Task

SMALL = 0.5
"""Megapixels up to which a pair is fused automatically when something changes, however slow the machine is."""

QUICK = 2.0
"""Expected seconds up to which a larger pair is, and up to which a pair of any size waits for other jobs."""

SWAP = "Swap"
"""The button that exchanges the sources."""

AGAIN = "Fusing with the images and settings on this page …"


class TaskEvents(ResultEvents):
    """The handlers of the tab of one task."""

    def __init__(self, task: Task, fusing: Fusing, files: ResultFiles, showcase: Showcase, panel: ResultPanel) -> None:
        super().__init__(task.name, "pair", example_pairs(task.name), fusing, files, showcase, panel)
        self._task = task

    # ------------------------------------------------------------------------------------------------ checking

    def check(self, result: Result | None, a: Any, b: Any, *settings: Any) -> list[Any]:
        """Check the inputs, and whether the result on the page still matches them.

        Returns:
            The note, the status, and a key that starts the fusion of a small pair.
        """
        try:
            checked = self._settings(*settings)
        except ValueError as error:
            return [notes.bad(error), self._stale(result, OTHER_SETTINGS), gr.skip()]
        said, found = [], []
        for side, (upload, label) in enumerate(zip((a, b), self._task.labels, strict=True)):
            if not upload:
                continue
            try:
                path = stored_path(upload, label)
                said.append(self._about_one(path, side, checked))
            except SourceError as error:
                said.append(notes.bad(error))
                continue
            found.append((path, self._fusing.uploads.facts(path, checked.window)))
        if len(found) < 2:
            return ["".join(said), self._stale(result, BEFORE), gr.skip()]
        (path_a, facts_a), (path_b, facts_b) = found
        try:
            check_together((path_a, path_b), (facts_a.size, facts_b.size))
        except SourceError as error:
            return ["".join([*said, notes.bad(error)]), self._stale(result, BEFORE), gr.skip()]
        key = ((path_a, path_b), checked.key())
        if result is not None and result.key == key:
            return ["".join(said), self._status(result), gr.skip()]
        expected, wait = self._fusing.expected(facts_a, 2), self._fusing.jobs.wait()
        quick = (facts_a.megapixels <= SMALL or expected < QUICK) and wait < QUICK
        if quick and checked.model.name in self._fusing.models.names:
            token = result.token if result else ""
            return ["".join(said), self._stale(result, AGAIN), f"{hash(key)} {token}"]
        said.append(notes.good(notes.duration(expected, wait)))
        if result is None:
            return ["".join(said), notes.good(f"{notes.NOTHING} Press Fuse."), gr.skip()]
        return ["".join(said), self._stale(result, f"{BEFORE} Press Fuse to bring it up to date."), gr.skip()]

    def _about_one(self, path: Path, side: int, settings: Settings) -> str:
        """The note on an upload as HTML, with a preview if the browser cannot show it."""
        uploads, window = self._fusing.uploads, settings.window
        return notes.good(describe(path, uploads.facts(path, window))) + preview_html(side, path, uploads, window)

    def _stale(self, result: Result | None, why: str) -> str:
        return notes.good(notes.NOTHING) if result is None else notes.stale(why)

    def _about(self, paths: tuple[Path, ...], settings: Settings) -> str:
        return "".join(self._about_one(path, side, settings) for side, path in enumerate(paths))

    def _status(self, result: Result) -> str:
        first, second = names_of(result.paths)
        remarks = [f"{note} Press {SWAP} to exchange them." if LOOK_SWAPPED in note else note for note in result.notes]
        return notes.good(f"Result of {first} and {second}.") + notes.remarks(remarks)

    # ------------------------------------------------------------------------------------------------ fusing

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
            paths, chosen = self._asked(a, b, *settings)
        except ValueError:
            return [gr.skip(), *self._panel.keep()]  # `check` has written the note.
        if result is not None and result.key == (paths, chosen.key()):
            return [gr.skip(), *self._panel.keep()]
        return self.fuse(open_tab, a, b, request, progress, *settings)

    def _asked(self, a: Any, b: Any, *settings: Any) -> tuple[tuple[Path, ...], Settings]:
        first, second = self._task.labels
        paths = stored_path(a, first), stored_path(b, second)
        return paths, self._settings(*settings)

    def _settings(self, *settings: Any) -> Settings:
        """The settings that a client sent, checked.

        Raises:
            ValueError: a value is not among its choices; those of a link may be none of them.
        """
        chosen = Settings.checked(self._fusing.models, self._task, *settings)
        if chosen.anchor and chosen.anchor not in texts.choices_of(self._task)["anchor"]:
            label, said = texts.SETTINGS["anchor"][0], texts.ANCHORS[chosen.anchor]
            raise ValueError(f'"{label}" cannot be "{said}" for two photographs; choose another in the settings.')
        return chosen

    def _uploads(self, a: Any, b: Any) -> list[Any]:
        return [a, b]

    def _labelled(self, paths: tuple[Path, ...], settings: Settings) -> list[tuple[str, Picture]]:
        pictures = map(self._fusing.uploads.read, paths, self._fusing.windows(paths, settings))
        return [(heading(label), picture) for label, picture in zip(self._task.labels, pictures, strict=True)]

    def _example_inputs(self, example: Example, paths: tuple[Path, ...], changed: dict[str, str]) -> list[Any]:
        task = self._task
        values: dict[str, str] = {"output_range": task.output_range, "anchor": task.anchor, "chroma": task.chroma}
        values |= {"model": self._fusing.models.own(task), "revision": "", "input_range": "file", "borders": "auto"}
        return [*map(str, paths), *(values | changed).values()]

    def _details(self, result: Result, size: tuple[int, int], example: Example | None, request: gr.Request) -> str:
        own = self._own_model(result)
        what = "Link to this result" if example else "Link to these settings (your images are not in it)"
        names = (result.paths[0].name, result.paths[1].name)
        root = str(request.headers.get("origin") or "http://127.0.0.1:7860")
        changed = link.changed_settings(result.settings, own)
        settings = texts.in_words(changed, self._task.labels) or "defaults of the task"
        return (
            f"{size[0]} x {size[1]} pixels, model `{result.settings.model.name}`, settings: {settings}. "
            f"[{what}]({self._address(result, example)})\n\n"
            f"The same from a program:\n\n```python\n{link.program(root, names, result.settings, own)}\n```"
        )

    # ------------------------------------------------------------------------------------------------ below

    def _scores(self, visitor: str, result: Result, tell: OnTick) -> str:
        first, second = result.paths
        return scores_table(self._fusing.scores(visitor, result.settings, (first, second), result.fused, tell))

    def explain(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """Return the weights of the learned loss for the last result as HTML."""
        if result is None:
            return notes.good("Fuse a pair first.")

        def compute(tell: OnTick) -> str:
            first, second = result.paths
            explanation, shrunk = self._fusing.explanation(session(request), result.settings, (first, second), tell)
            return explained_html(
                explanation, self._task.labels, shrunk, lambda image, name: file_address(self._files.save(image, name))
            )

        return filled(compute, "Asking the learned loss", progress)
