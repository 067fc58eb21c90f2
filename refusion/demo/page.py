"""The page: a tab for each task, and tabs for stacks, batches and the About text."""

from collections.abc import Iterable
from typing import Any

import gradio as gr

from refusion.demo import texts
from refusion.demo.address import ARRIVED, keep_address
from refusion.demo.batch_tab import batch_tab
from refusion.demo.endpoints import evaluate_endpoint, fuse_endpoint
from refusion.demo.events import PRIVATE, READING, session
from refusion.demo.link import read_query
from refusion.demo.options import DemoOptions
from refusion.demo.results import BrokenOffUploads, CopiedNames, ResultFiles
from refusion.demo.service import Fusing
from refusion.demo.showcase import Showcase
from refusion.demo.stack_tab import stack_tab
from refusion.demo.task_tab import task_tab
from refusion.tasks import TASKS, Task

SECONDS_KEPT = 3600
"""Seconds that uploads and results stay in the temporary folder; stopping the demo removes them at once."""


def build_demo(options: DemoOptions = DemoOptions(), tasks: Iterable[Task] = TASKS.values()) -> gr.Blocks:
    """Build the page; unless the options say otherwise, no weights are loaded before the first fusion.

    Each task with weights has an endpoint named after it, such as ``/fuse_ir_vis``; ``/evaluate`` scores.

    Args:
        options: limits, models and device.
        tasks: tasks that get a tab.

    Raises:
        ModelError: a model named in the options cannot be loaded.
    """
    fusing, files = Fusing(options), ResultFiles()
    showcase = Showcase(fusing)
    if options.load_at_start:
        showcase.prepare()
    with gr.Blocks(title="ReFusion", analytics_enabled=False, delete_cache=(SECONDS_KEPT // 6, SECONDS_KEPT)) as demo:
        gr.Markdown(f"# ReFusion\n{texts.INTRODUCTION}", elem_classes="top")
        with gr.Tabs(overflow_behavior="wrap", elem_classes="tasks") as tabs:
            for task in tasks:
                with gr.Tab(task.title, id=task.name) as tab:
                    inputs = task_tab(task, fusing, files, showcase, demo, tab)
                    if inputs is not None:
                        fuse_endpoint(task, inputs, fusing, files)
            with gr.Tab("Stack", id="stack") as tab:
                stack_tab(fusing, files, showcase, demo, tab)
            with gr.Tab("Batch", id="batch") as tab:
                keep_address("batch", tab)
                batch_tab(fusing, files, showcase)
            with gr.Tab("About", id="about") as tab:
                keep_address("about", tab)
                gr.Markdown(texts.METHOD, elem_classes="about")
                gr.HTML(texts.METHOD_FIGURE)
                gr.Markdown(texts.about(), elem_classes="about")
        evaluate_endpoint(fusing, files)

        def arrive(request: gr.Request) -> Any:
            wanted = dict(request.query_params)
            return gr.Tabs(selected=read_query(wanted).tab) if wanted else gr.skip()

        demo.load(arrive, None, tabs, **READING).then(None, None, None, js=ARRIVED, **PRIVATE)

        def leave(request: gr.Request) -> None:
            fusing.jobs.cancel(session(request))

        demo.unload(leave)
    own: list[Any] = [CopiedNames(names) for names in demo.temp_file_sets]
    demo.temp_file_sets = [*own, files.written, showcase.files.written, BrokenOffUploads(SECONDS_KEPT)]
    return demo.queue(max_size=options.queue_size - options.queue_size // 2)
