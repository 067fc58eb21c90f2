"""The tab of one task: two pictures in, the fused one out, compared, scored and explained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import notes, texts
from refusion.demo.examples import example_pairs
from refusion.demo.explained import explained_pictures, explained_text, scores_table
from refusion.demo.inputs import picture_input
from refusion.demo.models import ModelChoice
from refusion.demo.queue import CancelledError
from refusion.demo.results import ResultFiles, comparison, update_image
from refusion.demo.service import Fusing, Settings
from refusion.demo.settings_panel import SettingsPanel, settings_panel
from refusion.demo.uploads import SourceError, check_together, describe_upload, stored_path
from refusion.hub.errors import ModelError
from refusion.tasks import Task

LONG = 5.0
"""Seconds from which on the time is told before a visitor starts."""

CANCELLED = "Cancelled; nothing was fused."

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Events of the page that programs need not see; they have endpoints of their own."""


@dataclass(frozen=True)
class Result:
    """What the last fusion of a visitor came from and went to."""

    paths: tuple[Path, Path]
    fused: Path
    model: ModelChoice


@dataclass(frozen=True)
class TaskInputs:
    """Inputs of a tab that an endpoint takes too."""

    a: gr.Image
    b: gr.Image
    settings: SettingsPanel


def task_tab(task: Task, fusing: Fusing, files: ResultFiles) -> TaskInputs | None:
    """Fill the tab of a task.

    Returns:
        The inputs, or None where there are no weights for the task.
    """
    gr.Markdown(texts.describe_task(task))
    if not fusing.models.ready(task):
        gr.Markdown(f"This version comes without the weights `{task.model}`, so nothing can be fused here yet.")
        return None
    handlers = _Handlers(task, fusing, files)

    with gr.Row(elem_classes="sources"):
        images, side_notes = [], []
        for label in task.labels:
            with gr.Column(min_width=260):
                images.append(picture_input(label=heading(label), height=300, alt_text=f"{heading(label)} source"))
                side_notes.append(gr.HTML(elem_classes="note-box"))
    pair_note = gr.HTML(elem_classes="note-box")
    with gr.Row(elem_classes="actions"):
        fuse = gr.Button("Fuse", variant="primary", scale=3, min_width=100)
        swap = gr.Button("Swap", scale=1, min_width=70)
        cancel = gr.Button("Cancel", scale=1, min_width=90)
    examples = _examples(task, images)

    result = gr.State(None)
    with gr.Column(visible=False, elem_classes="result") as result_column:
        gr.Markdown("## Result")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                compared = gr.HTML(label="Comparison")
            with gr.Column(scale=2, min_width=260):
                fused = gr.Image(
                    label="Fused", format="png", interactive=False, type="filepath", buttons=["fullscreen"]
                )
                download = gr.DownloadButton("Download in full quality", variant="primary")
        scores_fold = gr.Accordion("Scores", open=False)
        with scores_fold:
            scores = gr.HTML("…")
        loss_fold = gr.Accordion("Where the learned loss looked", open=False)
        with loss_fold:
            loss_text = gr.Markdown("…")
            with gr.Row():
                loss_images = [
                    gr.Image(label=label, format="png", interactive=False, type="filepath", buttons=["fullscreen"])
                    for label in ("w: whose brightness counts", "v: whose edges count")
                ]
            with gr.Row():
                loss_images += [
                    gr.Image(
                        label=f"{heading(label)}, got back out of the fused picture",
                        format="png",
                        interactive=False,
                        type="filepath",
                        buttons=["fullscreen"],
                    )
                    for label in task.labels
                ]
    panel = settings_panel(task, fusing.models)

    for image in images:
        image.change(
            handlers.check,
            images,
            [*side_notes, pair_note],
            preprocess=False,
            show_progress="hidden",
            concurrency_id="reading",
            concurrency_limit=2,
            trigger_mode="always_last",
            **PRIVATE,
        )
    swap.click(None, images, images, js="(a, b) => [b, a]")
    work: dict[str, Any] = {
        "fn": handlers.fuse,
        "inputs": [*images, *panel.inputs],
        "outputs": [*side_notes, pair_note, result_column, compared, fused, download, result, scores_fold, loss_fold],
        "preprocess": False,
        "show_progress_on": pair_note,
        "concurrency_id": "fusion",
        "concurrency_limit": 1,
        **PRIVATE,
    }
    running: list[dict[str, Any]] = [fuse.click(**work)]
    if examples is not None:
        running.append(examples.load_input_event.then(**work))
    folded: dict[str, Any] = {"concurrency_id": "fusion", "concurrency_limit": 1, **PRIVATE}
    running.append(scores_fold.expand(handlers.scores, result, scores, **folded))
    running.append(loss_fold.expand(handlers.explain, result, [loss_text, *loss_images], **folded))
    cancel.click(handlers.cancel, None, pair_note, cancels=running, queue=False, show_progress="hidden", **PRIVATE)
    return TaskInputs(images[0], images[1], panel)


def heading(label: str) -> str:
    """A label as it stands above something."""
    return label[0].upper() + label[1:]


def _examples(task: Task, images: list[gr.Image]) -> gr.helpers.Examples | None:
    pairs = example_pairs(task)
    if not pairs:
        return None
    return gr.Examples(
        [[str(path) for path in pair.paths] for pair in pairs],
        images,
        example_labels=[pair.title for pair in pairs],
        label="Examples: one click fuses",
        api_visibility="private",
        elem_id=f"examples-{task.name}",
    )


class _Handlers:
    """What happens in the tab of one task."""

    def __init__(self, task: Task, fusing: Fusing, files: ResultFiles) -> None:
        self._task, self._fusing, self._files = task, fusing, files

    def check(self, a: Any, b: Any) -> list[str]:
        """Say what is known of the inputs: a note for each, and one for the pair."""
        said, found = ["", ""], []
        for side, (upload, label) in enumerate(zip((a, b), self._task.labels, strict=True)):
            if not upload:
                continue
            try:
                path = stored_path(upload, label, side)
                facts, text = describe_upload(path, self._fusing.options)
            except SourceError as error:
                said[side] = notes.bad(str(error))
                continue
            said[side] = notes.good(text)
            found.append((path, facts))
        if len(found) < 2:
            return [*said, ""]
        (path_a, facts_a), (path_b, facts_b) = found
        try:
            check_together((path_a, path_b), (facts_a.size, facts_b.size))
        except SourceError as error:
            return [*said, notes.bad(str(error))]
        expected = self._fusing.jobs.estimate(facts_a.megapixels)
        return [*said, notes.good(f"Fusing takes {notes.seconds(expected)}.") if expected >= LONG else ""]

    def fuse(
        self,
        a: Any,
        b: Any,
        output_range: Any,
        anchor: Any,
        chroma: Any,
        model: Any,
        revision: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> list[Any]:
        """Fuse and show."""
        unchanged = [gr.skip()] * 7
        try:
            first, second = self._task.labels
            paths = stored_path(a, first, 0), stored_path(b, second, 1)
            settings = Settings.checked(self._fusing.models, self._task, output_range, anchor, chroma, model, revision)
            progress(0, desc="Reading the pictures")
            fused = self._fusing.fuse(session(request), paths, settings, tell_progress(progress, "Fusing"))
        except CancelledError:
            return [gr.skip(), gr.skip(), notes.good(CANCELLED), *unchanged]
        except (SourceError, ModelError, ValueError) as error:
            toast(str(error))
            return [*self._place(error), *unchanged]
        progress(1, desc="Saving")
        full = self._files.save_fused(fused, f"{paths[0].stem}_fused.png")
        labelled = [(heading(label), path) for label, path in zip(self._task.labels, paths, strict=True)]
        group = f"compare-{self._task.name}"
        return [
            gr.skip(),
            gr.skip(),
            notes.good(" ".join(fused.notes)),
            gr.Column(visible=True),
            comparison(group, labelled, fused, self._files, self._fusing.options),
            update_image(full, f"Fused picture of {paths[0].name} and {paths[1].name}"),
            gr.DownloadButton(value=str(full)),
            Result(paths, full, settings.model),
            gr.Accordion(open=False),
            gr.Accordion(open=False),
        ]

    def scores(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """The scores of the last result, as a table."""
        if result is None:
            return "Fuse a pair first."
        progress(0, desc="Scoring")
        try:
            return scores_table(self._fusing.scores(session(request), self._task, result.paths, result.fused))
        except CancelledError:
            return "Cancelled."
        except (SourceError, ValueError, FileNotFoundError) as error:
            return expired(error)

    def explain(self, result: Result | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> list[Any]:
        """Where the learned loss looked, of the last result."""
        nothing = [None] * 4
        if result is None:
            return ["Fuse a pair first.", *nothing]
        progress(0, desc="Asking the learned loss")
        try:
            explanation, shrunk = self._fusing.explanation(session(request), result.model, result.paths)
        except CancelledError:
            return ["Cancelled.", *nothing]
        except (SourceError, ModelError, ValueError, FileNotFoundError) as error:
            return [expired(error), *nothing]
        names = (result.paths[0].name, result.paths[1].name)
        pictures = explained_pictures(explanation, self._task.labels, names, result.model.name)
        images = [
            update_image(self._files.save(picture, f"{name}.png"), alt) for name, (picture, alt) in pictures.items()
        ]
        return [explained_text(explanation, self._task.labels, shrunk), *images]

    def cancel(self, request: gr.Request) -> str:
        """Stop what this visitor has running."""
        self._fusing.jobs.cancel(session(request))
        return notes.good(CANCELLED)

    def _place(self, error: ValueError) -> list[Any]:
        side = error.side if isinstance(error, SourceError) else None
        return [*(notes.bad(str(error)) if side == i else gr.skip() for i in range(2)), _pair_note(error, side)]


def session(request: gr.Request | None) -> str:
    """Whose request it is."""
    return (request.session_hash if request else None) or "nobody"


def toast(message: str) -> None:
    """Show an error over the page."""
    gr.Warning(notes.escape(message), duration=10, title="This cannot be fused")


def tell_progress(progress: gr.Progress, what: str) -> Callable[[float, float], None]:
    """Turn seconds since the beginning into a progress bar."""

    def tell(elapsed: float, expected: float) -> None:
        left = expected - elapsed
        rest = f"{notes.seconds(left)} left" if left > 1 else "almost done"
        progress(min(0.97, elapsed / max(expected, 0.1)), desc=f"{what}, {rest}")

    return tell


def _pair_note(error: ValueError, side: int | None) -> str:
    return notes.bad(str(error)) if side is None else ""


def expired(error: Exception) -> str:
    """What is said where the files of a result are gone, or of another error."""
    if isinstance(error, FileNotFoundError):
        return "This result is more than an hour old and was removed; fuse again."
    return str(error)
