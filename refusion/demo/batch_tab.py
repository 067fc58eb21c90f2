"""The tab for many pairs at once."""

from typing import Any

import gradio as gr

from refusion.demo import texts
from refusion.demo.batch import MAX_PAIRS
from refusion.demo.batch_events import BatchEvents, list_labels
from refusion.demo.events import PRIVATE, READING, changes, checking, to_result
from refusion.demo.examples import example_pairs, poster
from refusion.demo.inputs import pictures_input
from refusion.demo.result_panel import status_row
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing
from refusion.demo.settings_panel import settings_panel
from refusion.demo.showcase import Showcase
from refusion.demo.thumbnails import move, thumbnails_input
from refusion.demo.viewer import empty_viewer
from refusion.tasks import TASKS


def batch_tab(fusing: Fusing, files: ResultFiles, showcase: Showcase) -> None:
    """Fill the tab for many pairs."""
    ready = [task for task in TASKS.values() if fusing.models.ready(task)]
    gr.Markdown(f"Up to {MAX_PAIRS} pairs of one task at once; the results come as one zip file.", elem_classes="lead")
    if not ready:
        gr.Markdown("This version comes without weights, so nothing can be fused here yet.")
        return
    with gr.Row(elem_classes=["work", "batch"]):
        with gr.Column(scale=5, min_width=300, elem_classes="inputs"):
            task = gr.Radio([(task.title, task.name) for task in ready], value=ready[0].name, label="Task")
            by = gr.Radio(
                [("with the same name", "name"), ("at the same position in both lists", "place")],
                value="name",
                label="A pair is two images",
            )
            lists, thumbnails = [], []
            for label in list_labels(ready[0]):
                lists.append(pictures_input(label=label, height=150))
                thumbnails.append(thumbnails_input())
            note = gr.HTML(elem_classes="note-box")
            with gr.Row(elem_classes="actions"):
                start = gr.Button("Fuse all", variant="primary", scale=3, min_width=120)
                fill = gr.Button("Use example pairs", scale=2, min_width=120)
            settings = settings_panel(None, fusing.models)
            gr.HTML(
                '<p class="credit">File names may end in the kind of image: <code>street_ir.png</code> and '
                "<code>street_vis.png</code>, or <code>street.png</code> twice. A pair that cannot be fused is listed "
                f"with the reason, and the others are fused all the same. Formats: {texts.FORMATS}.</p>",
                elem_classes="advice",
            )
        with gr.Column(scale=7, min_width=300, elem_classes="result", elem_id="result-batch"):
            status, cancel = status_row()
            # It makes room for the gallery; see page.css.
            gr.HTML(
                empty_viewer(poster(example_pairs(ready[0].name)), "The fused images will appear"),
                elem_classes="viewer-box",
            )
            gallery = gr.Gallery(
                label="Fused images",
                show_label=False,
                elem_classes="gallery",
                columns=3,
                object_fit="contain",
                height="auto",
                interactive=False,
                visible=False,
                format="png",
                buttons=["fullscreen"],
            )
            download = gr.DownloadButton("Download all as zip", visible=False, elem_classes="download")
            table = gr.HTML("")
            command = gr.Markdown("")
    done = gr.State(None)
    events = BatchEvents(fusing, files, showcase)

    inputs = [task, by, *lists]
    # Also after a run: inputs may have changed meanwhile.
    gr.on(
        [*changes([*inputs, *settings]), done.change],
        events.check,
        [done, status, *inputs, *settings],
        [note, *thumbnails, status, *lists],
        **checking(note),
    )
    for side, (files_input, row) in enumerate(zip(lists, thumbnails, strict=True)):
        files_input.upload(events.added(side), files_input, files_input, **READING)
        row.move(move, files_input, files_input, **READING)
    fill.click(events.examples, task, [by, *lists], **READING)
    running: Any = start.click(
        events.run,
        [*inputs, *settings],
        [note, status, table, gallery, download, command, done],
        preprocess=False,
        show_progress_on=status,
        concurrency_id="batch",
        concurrency_limit=1,
        js=to_result("batch"),
        **PRIVATE,
    )
    cancel.click(events.cancel, None, status, cancels=[running], queue=False, show_progress="hidden", **PRIVATE)
