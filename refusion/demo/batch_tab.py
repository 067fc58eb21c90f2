"""The tab for many pairs at once."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import notes
from refusion.demo.batch import MAX_PAIRS, Batch, archive, fuse_batch, match
from refusion.demo.inputs import SUFFIXES, pictures_input
from refusion.demo.queue import CancelledError
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing, Settings
from refusion.demo.task_tab import PRIVATE, session, tell_progress, toast
from refusion.demo.uploads import SourceError, stored_path
from refusion.hub.errors import ModelError
from refusion.tasks import TASKS, get_task


def batch_tab(fusing: Fusing, files: ResultFiles) -> None:
    """Fill the tab for many pairs."""
    ready = [task for task in TASKS.values() if fusing.models.ready(task)]
    gr.Markdown(
        f"Up to {MAX_PAIRS} pairs of one task at once; the results come as one zip file. The two pictures of a pair "
        "have the same name: `street.png` and `street.jpg`, or `street_ir.png` and `street_vis.png`. A pair that "
        "cannot be fused is listed with the reason, and the others go on."
    )
    if not ready:
        gr.Markdown("This version comes without weights, so nothing can be fused here yet.")
        return
    kinds = [", ".join(dict.fromkeys(task.labels[side] for task in ready)) for side in range(2)]
    task = gr.Radio([(task.title, task.name) for task in ready], value=ready[0].name, label="Task")
    gr.Markdown(f"First: {kinds[0]}. Second: {kinds[1]}.")
    with gr.Row():
        firsts, seconds = (
            pictures_input(label=f"{ordinal} of each pair", file_types=SUFFIXES, height=200)
            for ordinal in ("First", "Second")
        )
    note = gr.HTML(elem_classes="note-box")
    with gr.Row(elem_classes="actions"):
        start = gr.Button("Fuse all", variant="primary", scale=3, min_width=120)
        cancel = gr.Button("Cancel", scale=1, min_width=90)
    with gr.Column(visible=False) as result:
        table = gr.HTML(label="Pairs")
        download = gr.DownloadButton("Download all as zip", variant="primary", interactive=False)

    def run(
        name: Any, a: Any, b: Any, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Iterator[list[Any]]:
        """Fuse all pairs, and show how far it is after each."""
        try:
            chosen = get_task(str(name))
            first, second = chosen.labels
            batch = match(_stored(a, first), _stored(b, second), chosen)
            settings = Settings.checked(fusing.models, chosen, None, None, None, None, None)
            count = len(batch.pairs)

            def tell(index: int) -> Any:
                return tell_progress(_part(progress, index, count), f"Pair {index + 1} of {count}")

            yield [notes.good(f"{count} pairs."), gr.Column(visible=True), _table(batch), _no_file()]
            for state in fuse_batch(batch, session(request), settings, fusing, files, tell):
                yield [gr.skip(), gr.skip(), _table(state), gr.skip()]
        except CancelledError:
            yield [notes.good("Cancelled."), gr.skip(), gr.skip(), gr.skip()]
            return
        except (SourceError, ModelError, ValueError) as error:
            toast(str(error))
            yield [notes.bad(str(error)), gr.skip(), gr.skip(), gr.skip()]
            return
        if not batch.done:
            message = "No pair could be fused; the list says why."
            yield [notes.bad(message), gr.skip(), _table(batch), _no_file()]
            return
        said = f"{len(batch.done)} fused" + (f", {len(batch.failed)} not; the list says why." if batch.failed else ".")
        path = archive(batch, files)
        yield [notes.good(said), gr.skip(), _table(batch), gr.DownloadButton(value=str(path), interactive=True)]

    def stop(request: gr.Request) -> str:
        """Stop what this visitor has running."""
        fusing.jobs.cancel(session(request))
        return notes.good("Cancelled.")

    running = start.click(
        run,
        [task, firsts, seconds],
        [note, result, table, download],
        preprocess=False,
        show_progress_on=note,
        concurrency_id="batch",
        concurrency_limit=1,
        **PRIVATE,
    )
    cancel.click(stop, None, note, cancels=[running], queue=False, show_progress="hidden", **PRIVATE)


def _stored(uploads: Any, label: str) -> list[Path]:
    if not isinstance(uploads, list) or not uploads:
        raise SourceError(f"There are no {label} pictures yet; add both kinds, then fuse all.")
    if len(uploads) > 2 * MAX_PAIRS:
        raise SourceError(f"These are {len(uploads)} {label} pictures; at most {MAX_PAIRS} pairs are taken at once.")
    return [stored_path(upload, label) for upload in uploads]


def _part(progress: gr.Progress, index: int, count: int) -> Any:
    def part(fraction: float, desc: str) -> None:
        progress((index + fraction) / count, desc=desc)

    return part


def _table(batch: Batch) -> str:
    failed, done = dict(batch.failed), {name for name, _ in batch.done}
    rows = [
        *(
            (name, failed.get(name) or ("fused" if name in done else "waiting"), name in failed)
            for name, _ in batch.pairs
        ),
        *((name, why, True) for name, why in batch.failed if name not in dict(batch.pairs)),
    ]
    body = "".join(
        f'<tr class="{"bad" if bad else ""}"><th scope="row">{escape(name)}</th><td>{escape(said)}</td></tr>'
        for name, said, bad in rows
    )
    return f'<table class="pairs"><thead><tr><th>pair</th><th>state</th></tr></thead><tbody>{body}</tbody></table>'


def _no_file() -> gr.DownloadButton:
    return gr.DownloadButton(value=None, interactive=False)
