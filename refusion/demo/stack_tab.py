"""The tab for stacks: three or more pictures of one scene in, one out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import notes
from refusion.demo.examples import example_stack
from refusion.demo.explained import STACK_NOTE, scores_table
from refusion.demo.inputs import SUFFIXES, pictures_input
from refusion.demo.queue import CancelledError
from refusion.demo.results import ResultFiles, comparison, update_image
from refusion.demo.service import Fusing, Settings
from refusion.demo.task_tab import CANCELLED, PRIVATE, expired, session, tell_progress, toast
from refusion.demo.uploads import SourceError, stored_path
from refusion.hub.errors import ModelError
from refusion.inference.stack import MAX_FRAMES, STACK_TASKS
from refusion.tasks import TASKS, get_task

SHOWN = 6
"""How many of the sources the result can be compared with."""


@dataclass(frozen=True)
class StackResult:
    """What the last fusion of a visitor came from and went to."""

    paths: tuple[Path, ...]
    fused: Path


def stack_tab(fusing: Fusing, files: ResultFiles) -> None:
    """Fill the tab for stacks."""
    ready = [TASKS[name] for name in STACK_TASKS if fusing.models.ready(TASKS[name])]
    gr.Markdown(
        f"Three to {MAX_FRAMES} pictures of one scene from a tripod: a focus stack, or an exposure bracket. The order "
        "does not matter; all must match pixel for pixel."
    )
    if not ready:
        gr.Markdown("This version comes without the weights for that, so nothing can be fused here yet.")
        return
    task = gr.Radio([(task.title, task.name) for task in ready], value=ready[0].name, label="What differs")
    stack = pictures_input(label="All pictures of the stack", file_types=SUFFIXES, height=220)
    note = gr.HTML(elem_classes="note-box")
    with gr.Row(elem_classes="actions"):
        fuse = gr.Button("Fuse the stack", variant="primary", scale=3, min_width=100)
        cancel = gr.Button("Cancel", scale=1, min_width=90)
    found = example_stack()
    examples = found and gr.Examples(
        [[found.task, [str(path) for path in found.paths]]],
        [task, stack],
        example_labels=[found.title],
        label="Example: one click fuses",
        api_visibility="private",
        elem_id="examples-stack",
    )
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

    def run(name: Any, uploads: Any, request: gr.Request, progress: gr.Progress = gr.Progress()) -> list[Any]:
        """Fuse the stack and show the result."""
        unchanged = [gr.skip()] * 6
        try:
            chosen = get_task(name if isinstance(name, str) else "")
            paths = _stored(uploads)
            settings = Settings.checked(fusing.models, chosen, None, None, None, None, None)
            progress(0, desc="Reading the pictures")
            made = fusing.fuse(session(request), paths, settings, tell_progress(progress, "Fusing"))
        except CancelledError:
            return [notes.good(CANCELLED), *unchanged]
        except (SourceError, ModelError, ValueError) as error:
            toast(str(error))
            return [notes.bad(str(error)), *unchanged]
        progress(1, desc="Saving")
        full = files.save_fused(made, f"{paths[0].stem}_fused.png")
        labelled = [(path.name, path) for path in paths[:SHOWN]]
        return [
            notes.good(" ".join(made.notes)),
            gr.Column(visible=True),
            comparison("compare-stack", labelled, made, files, fusing.options),
            update_image(full, f"Fused picture of {len(paths)} pictures"),
            gr.DownloadButton(value=str(full)),
            StackResult(paths, full),
            gr.Accordion(open=False),
        ]

    def score(last: StackResult | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> str:
        """The scores of the last result, as a table."""
        if last is None:
            return "Fuse a stack first."
        progress(0, desc="Scoring")
        try:
            return scores_table(fusing.stack_scores(session(request), last.paths, last.fused), STACK_NOTE)
        except CancelledError:
            return "Cancelled."
        except (SourceError, ValueError, FileNotFoundError) as error:
            return expired(error)

    def stop(request: gr.Request) -> str:
        """Stop what this visitor has running."""
        fusing.jobs.cancel(session(request))
        return notes.good(CANCELLED)

    work: dict[str, Any] = {
        "fn": run,
        "inputs": [task, stack],
        "outputs": [note, result_column, compared, fused, download, result, scores_fold],
        "preprocess": False,
        "show_progress_on": note,
        "concurrency_id": "fusion",
        "concurrency_limit": 1,
        **PRIVATE,
    }
    running: list[dict[str, Any]] = [fuse.click(**work)]
    if examples:
        running.append(examples.load_input_event.then(**work))
    fusion: dict[str, Any] = {"concurrency_id": "fusion", "concurrency_limit": 1, **PRIVATE}
    running.append(scores_fold.expand(score, result, scores, **fusion))
    cancel.click(stop, None, note, cancels=running, queue=False, show_progress="hidden", **PRIVATE)


def _stored(uploads: Any) -> tuple[Path, ...]:
    if not isinstance(uploads, list) or len(uploads) < 3:
        raise SourceError("A stack has three pictures or more; add them here, or use the tab of the task for two.")
    if len(uploads) > MAX_FRAMES:
        raise SourceError(f"These are {len(uploads)} pictures, but a stack has at most {MAX_FRAMES}; choose fewer.")
    paths = tuple(stored_path(upload, "uploaded") for upload in uploads)
    if len(set(paths)) < len(paths):
        raise SourceError("The same file is in the stack twice; remove one of the two.")
    return paths
