"""The tab of one task: two images on the left, the fused image on the right."""

from typing import Any

import gradio as gr

from refusion.demo import texts
from refusion.demo.address import OPENED_WITH, keep_address
from refusion.demo.events import (
    PRIVATE,
    READING,
    awaiting,
    changes,
    checking,
    computing,
    heading,
    to_result,
    uploads_stay,
)
from refusion.demo.examples import STRIP_SCRIPT, credit_html, example_pairs, poster, strip_html
from refusion.demo.inputs import picture_input
from refusion.demo.result_panel import result_panel
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing
from refusion.demo.settings_panel import settings_panel
from refusion.demo.showcase import Showcase
from refusion.demo.task_events import SWAP, TaskEvents
from refusion.tasks import Task

ORDER = ("First", "Second")


def task_tab(
    task: Task, fusing: Fusing, files: ResultFiles, showcase: Showcase, demo: gr.Blocks, tab: gr.Tab
) -> list[gr.components.Component] | None:
    """Fill the tab of a task.

    Returns:
        Both images and the settings, or None if there are no weights for the task.
    """
    gr.Markdown(texts.lead(task), elem_classes="lead")
    if not fusing.models.ready(task):
        gr.Markdown(f"This version comes without the weights `{task.model}`, so nothing can be fused here yet.")
        return None
    examples = example_pairs(task.name)
    with gr.Row(elem_classes="work"):
        with gr.Column(scale=5, min_width=300, elem_classes="inputs"):
            with gr.Row(elem_classes="sources"):
                images = [
                    picture_input(
                        label=f"{order}: {label}", height=200, min_width=120, alt_text=f"{heading(label)} source"
                    )
                    for order, label in zip(ORDER, task.labels, strict=True)
                ]
            note = gr.HTML(elem_classes="note-box")
            with gr.Row(elem_classes="actions"):
                fuse = gr.Button("Fuse", variant="primary", scale=3, min_width=100)
                swap = gr.Button(SWAP, scale=1, min_width=80)
            with gr.Column(elem_classes="examples", visible=bool(examples)):
                strip = gr.HTML(strip_html(examples), js_on_load=STRIP_SCRIPT, elem_id=f"examples-{task.name}")
                credit = gr.HTML(credit_html(examples[0]) if examples else "")
            settings = settings_panel(task, fusing.models)
            gr.HTML(texts.advice(task), elem_classes="advice")
        with gr.Column(scale=7, min_width=300, elem_classes="result", elem_id=f"result-{task.name}"):
            shown = result_panel(task.name, {"scores": "Scores", "loss": "Learned loss"}, poster(examples))
    wanted = gr.State("")
    events = TaskEvents(task, fusing, files, showcase, shown)

    inputs = [*images, *settings]
    # Also after a fusion, when inputs may have changed meanwhile, and after other tabs, when there may be fewer jobs.
    gr.on(
        [*changes(inputs), shown.result.change, tab.select],
        events.checked,
        [shown.result, *inputs],
        [note, shown.status, wanted, credit],
        **checking(note),
    )
    swap.click(None, images, images, js="(a, b) => [b, a]", **PRIVATE)

    fusing_event: dict[str, Any] = {
        "outputs": [note, *shown.outputs],
        "show_progress_on": shown.status,
        **computing(fusing.options),
    }
    asked = fuse.click(events.fuse, [shown.open_tab, *inputs], js=to_result(task.name), **fusing_event)
    by_itself = wanted.change(
        events.fuse_wanted, [shown.result, shown.open_tab, *inputs], js=to_result(task.name), **fusing_event
    )

    example_outputs = [*images, *settings, note, credit, *shown.outputs]
    reading = READING | {"show_progress": "full", "show_progress_on": shown.viewer}
    chosen = strip.click(
        events.show_example,
        shown.open_tab,
        example_outputs,
        js=awaiting(task.name, f"({to_result(task.name)})(...values)"),
        cancels=[asked, by_itself],
        **reading,
    )
    opened: Any = tab.select(
        events.opened,
        [shown.address, shown.result, shown.open_tab, *images],
        example_outputs,
        js=awaiting(task.name, OPENED_WITH),
        **reading,
    )
    keep_address(task.name, tab, shown.address)
    arrived: Any = demo.load(events.arrived, [shown.open_tab], [*example_outputs, wanted], **reading)
    uploads_stay(task.name, images, [opened, arrived, chosen], [image.upload for image in images])
    below = shown.fill({"scores": events.scores, "loss": events.explain}, computing(fusing.options))
    running: list[Any] = [asked, by_itself, chosen, *below]
    shown.cancel.click(
        events.cancel,
        [shown.result, *inputs],
        [note, shown.status],
        cancels=running,
        preprocess=False,
        queue=False,
        show_progress="hidden",
        **PRIVATE,
    )
    return inputs
