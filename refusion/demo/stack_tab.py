"""The tab for stacks: fuses three or more images of one scene into one."""

from typing import Any

import gradio as gr

from refusion.demo.address import OPENED_WITH, keep_address
from refusion.demo.events import (
    FUSE_STACK,
    PRIVATE,
    READING,
    awaiting,
    changes,
    checking,
    computing,
    to_result,
    uploads_stay,
)
from refusion.demo.examples import STRIP_SCRIPT, credit_html, example_stacks, poster, strip_html
from refusion.demo.inputs import pictures_input
from refusion.demo.result_panel import result_panel
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing
from refusion.demo.settings_panel import settings_panel
from refusion.demo.showcase import Showcase
from refusion.demo.stack_events import StackEvents
from refusion.demo.thumbnails import move, thumbnails_input
from refusion.images.failures import READ_LIST
from refusion.images.picture import MAX_FRAMES
from refusion.inference.stack import STACK_TASKS
from refusion.tasks import TASKS


def stack_tab(fusing: Fusing, files: ResultFiles, showcase: Showcase, demo: gr.Blocks, tab: gr.Tab) -> None:
    """Fill the tab for stacks."""
    ready = [TASKS[name] for name in STACK_TASKS if fusing.models.ready(TASKS[name])]
    gr.Markdown(
        f"Three to {MAX_FRAMES} photographs from a tripod: a focus stack of a scene in which nothing moves, or an "
        "exposure bracket, in which most of what moves is shown once.",
        elem_classes="lead",
    )
    if not ready:
        gr.Markdown("This version comes without weights for stacks, so nothing can be fused here yet.")
        return
    examples = example_stacks()
    with gr.Row(elem_classes="work"):
        with gr.Column(scale=5, min_width=300, elem_classes="inputs"):
            task = gr.Radio([(task.title, task.name) for task in ready], value=ready[0].name, label="Task")
            stack = pictures_input(label="All images of the stack", height=150)
            thumbnails = thumbnails_input()
            note = gr.HTML(elem_classes="note-box")
            with gr.Row(elem_classes="actions"):
                fuse = gr.Button(FUSE_STACK, variant="primary", scale=3, min_width=100)
            with gr.Column(elem_classes="examples", visible=bool(examples)):
                strip = gr.HTML(strip_html(examples), js_on_load=STRIP_SCRIPT, elem_id="examples-stack")
                credit = gr.HTML(credit_html(examples[0]) if examples else "")
            settings = settings_panel(None, fusing.models, stack=True)
            gr.HTML(
                '<p class="credit">The result is named after the first image; otherwise the order does not matter. All '
                f"images must match pixel for pixel. Formats: {READ_LIST}.</p>",
                elem_classes="advice",
            )
        with gr.Column(scale=7, min_width=300, elem_classes="result", elem_id="result-stack"):
            shown = result_panel("stack", {"scores": "Scores"}, poster(examples))
    wanted = gr.State("")
    events = StackEvents(fusing, files, showcase, shown)

    inputs = [task, stack, *settings]
    # Also after a fusion, when inputs may have changed meanwhile, and after other tabs, when there may be fewer jobs.
    gr.on(
        [*changes(inputs), shown.result.change, tab.select],
        events.checked,
        [shown.result, *inputs],
        [note, shown.status, thumbnails, credit],
        **checking(note),
    )
    added: Any = stack.upload(events.added, stack, stack, **READING)
    thumbnails.move(move, stack, stack, **READING)
    fusing_event: dict[str, Any] = {
        "outputs": [note, *shown.outputs],
        "js": to_result("stack"),
        "show_progress_on": shown.status,
        **computing(fusing.options),
    }
    asked: Any = fuse.click(events.fuse, [shown.open_tab, *inputs], **fusing_event)
    by_itself: Any = wanted.change(events.fuse_wanted, [wanted, shown.open_tab, *inputs], **fusing_event)
    reading = READING | {"show_progress": "full", "show_progress_on": shown.viewer}
    outputs = [*inputs, note, credit, *shown.outputs]
    chosen: Any = strip.click(
        events.show_example,
        shown.open_tab,
        outputs,
        js=awaiting("stack", f"({to_result('stack')})(...values)"),
        cancels=[asked, by_itself],
        **reading,
    )
    opened: Any = tab.select(
        events.opened,
        [shown.address, shown.result, shown.open_tab, stack],
        outputs,
        js=awaiting("stack", OPENED_WITH),
        **reading,
    )
    arrived: Any = demo.load(events.arrived, [shown.open_tab], [*outputs, wanted], **reading)
    uploads_stay("stack", [stack], [opened, arrived, chosen], [stack.upload, added.then])
    keep_address("stack", tab, shown.address)
    below = shown.fill({"scores": events.scores}, computing(fusing.options))
    shown.cancel.click(
        events.cancel,
        [shown.result, *inputs],
        [note, shown.status],
        cancels=[asked, by_itself, chosen, *below],
        preprocess=False,
        queue=False,
        show_progress="hidden",
        **PRIVATE,
    )
