"""Event handlers of the tab for stacks."""

from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import link, notes, texts
from refusion.demo.events import BEFORE, FUSE_STACK, OTHER_SETTINGS
from refusion.demo.examples import Example, example_stacks
from refusion.demo.explained import STACK_NOTE, scores_table
from refusion.demo.result_events import ResultEvents
from refusion.demo.result_panel import ResultPanel
from refusion.demo.results import SHOWN, Result, ResultFiles
from refusion.demo.service import Fusing, OnTick, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.thumbnails import thumbnails_html, without_example
from refusion.demo.uploads import SourceError, names_of, stored_path
from refusion.images import Picture
from refusion.images.picture import MAX_FRAMES
from refusion.inference.stack import STACK_ANCHORS, stack_colours
from refusion.tasks import get_task


class StackEvents(ResultEvents):
    """The handlers of the tab for stacks."""

    def __init__(self, fusing: Fusing, files: ResultFiles, showcase: Showcase, panel: ResultPanel) -> None:
        super().__init__("stack", "stack", example_stacks(), fusing, files, showcase, panel)

    def check(self, result: Result | None, task: Any, stack: Any, *settings: Any) -> list[Any]:
        """Check the stack, and whether the result still matches it; returns the note, status and thumbnails."""
        status = notes.stale(BEFORE) if result is not None else notes.good(notes.NOTHING)
        try:
            paths = tuple(stored_path(upload, "uploaded") for upload in stack or [])
        except SourceError as error:
            return [notes.bad(error), status, ""]
        try:
            chosen = self._settings(task, *settings)
        except ValueError as error:
            status = status if result is None else notes.stale(OTHER_SETTINGS)
            return [notes.bad(error), status, thumbnails_html(list(paths), self._fusing.uploads, None)]
        shown = thumbnails_html(list(paths), self._fusing.uploads, chosen.window)
        if not paths:
            return ["", status, shown]
        try:
            _check_count(paths)
            facts = self._fusing.uploads.check_stack(paths, chosen.window)
            _check_for_stack(chosen)
        except ValueError as error:
            return [notes.bad(error), status, shown]
        if result is not None and result.key == (paths, chosen.key(len(paths))):
            return [self._about(paths, chosen), self._status(result), shown]
        duration = notes.duration(self._fusing.expected(facts, len(paths)), self._fusing.jobs.wait())
        press = f"Press {FUSE_STACK}"
        status = notes.good(f"{notes.NOTHING} {press}.")
        if result is not None:
            status = notes.stale(f"{BEFORE} {press} to bring it up to date.")
        return [self._about(paths, chosen, f" {duration}"), status, shown]

    def added(self, stack: Any) -> Any:
        """Return the stack after an upload, without the example that was in it."""
        return without_example(stack, [self._showcase.paths(example) for example in self._examples.values()])

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

    def _asked(self, task: Any, stack: Any, *settings: Any) -> tuple[tuple[Path, ...], Settings]:
        paths = tuple(stored_path(upload, "uploaded") for upload in stack or [])
        _check_count(paths)
        chosen = self._settings(task, *settings)
        _check_for_stack(chosen)
        return paths, chosen

    def _uploads(self, task: Any, stack: Any) -> list[Any]:
        return stack or []

    def _settings(self, task: Any, *settings: Any) -> Settings:
        return Settings.checked(self._fusing.models, get_task(task if isinstance(task, str) else ""), *settings)

    def _labelled(self, paths: tuple[Path, ...], settings: Settings) -> list[tuple[str, Picture]]:
        shown = zip(names_of(paths), paths[:SHOWN], self._fusing.windows(paths, settings), strict=False)
        return [(name, self._fusing.uploads.read(path, window)) for name, path, window in shown]

    def _about(self, paths: tuple[Path, ...], settings: Settings, more: str = "") -> str:
        width, height = self._fusing.uploads.facts(paths[0], settings.window).size
        return notes.good(f"{len(paths)} images of {width} x {height} pixels.{more}")

    def _status(self, result: Result) -> str:
        said = f"Result of {len(result.paths)} images, {result.paths[0].name} first."
        return notes.good(said) + notes.remarks(result.notes)

    def _example_inputs(self, example: Example, paths: tuple[Path, ...], changed: dict[str, str]) -> list[Any]:
        values = dict.fromkeys(link.SETTINGS.values(), "") | {"input_range": "file", "borders": "auto"}
        return [example.task, list(map(str, paths)), *(values | changed).values()]

    def _address(self, result: Result, example: Example | None) -> str:
        """Address of the result of an example; that of a stack of the visitor's only names the tab."""
        return "?task=stack" if example is None else super()._address(result, example)

    def _details(self, result: Result, size: tuple[int, int], example: Example | None, request: gr.Request) -> str:
        changed = link.changed_settings(result.settings, self._own_model(result), len(result.paths))
        settings = texts.in_words(changed, None) or "defaults for stacks"
        gaps = bool(self._fusing.with_gaps(result.paths, result.settings))
        there = f" [Link to this result]({self._address(result, example)})" if example else ""
        return (
            f"{size[0]} x {size[1]} pixels from {len(result.paths)} images, model `{result.settings.model.name}`, "
            f"settings: {settings}.{there}\n\n"
            "The same on the command line:\n\n"
            f"```sh\n{link.command([path.name for path in result.paths], result.settings, gaps=gaps)}\n```"
        )

    def _scores(self, visitor: str, result: Result, tell: OnTick) -> str:
        return scores_table(
            self._fusing.stack_scores(visitor, result.settings, result.paths, result.fused, tell), STACK_NOTE
        )


def _check_for_stack(settings: Settings) -> None:
    chosen = {"anchor": settings.anchor, "chroma": settings.chroma}
    offered = {"anchor": STACK_ANCHORS, "chroma": stack_colours(settings.task)}
    for name, choice in chosen.items():
        if choice is not None and choice not in offered[name]:
            label, said = texts.SETTINGS[name][0], texts.in_words({name: choice}, ("first", "second"))
            raise ValueError(
                f'"{label}" cannot be {said} for a {settings.task.name} stack; choose another in the settings.'
            )


def _check_count(paths: tuple[Path, ...]) -> None:
    if len(paths) < 3:
        raise SourceError("A stack has at least three images; add more, or use the tab of the task for two.")
    if len(paths) > MAX_FRAMES:
        raise SourceError(f"There are {len(paths)} images, but a stack has at most {MAX_FRAMES}; choose fewer.")
    if len(set(paths)) < len(paths):
        raise SourceError("The same file is in the stack twice; remove one of the two.")
