"""Event handlers of the tab for many pairs."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from refusion.demo import link, notes
from refusion.demo.batch import MAX_PAIRS, Batch, finish, fuse_batch, match
from refusion.demo.events import session, tell_progress
from refusion.demo.examples import example_pairs
from refusion.demo.queue import CancelledError
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.thumbnails import thumbnails_html, without_example
from refusion.demo.uploads import SourceError, stored_path
from refusion.tasks import TASKS, Task, get_task

_CANCELLED = "Cancelled before all pairs were fused."

_STALE = "These results are from before your last change. Press Fuse all for new ones."


@dataclass(frozen=True)
class Done:
    """A batch that is on the page.

    Attributes:
        inputs: what it was fused from, as text.
        note: the note on the pairs, as HTML.
        status: its status, likewise.
    """

    inputs: str
    note: str
    status: str


class BatchEvents:
    """The handlers of the tab for many pairs."""

    def __init__(self, fusing: Fusing, files: ResultFiles, showcase: Showcase) -> None:
        self._fusing, self._files, self._showcase = fusing, files, showcase

    def check(self, done: Done | None, told: Any, task: Any, by: Any, a: Any, b: Any, *settings: Any) -> list[Any]:
        """Return the note on the pairs, the thumbnails of both lists, the status, and the labels of both lists.

        `told` is the status until now: an error ends with what caused it, but a batch may also be running.
        """
        try:
            chosen = get_task(str(task))
            window = Settings.checked(self._fusing.models, chosen, *settings).window
        except ValueError as error:
            return [notes.bad(error), *[gr.skip()] * 5]
        labels = [gr.File(label=label) for label in list_labels(chosen)]
        status: Any = notes.good(notes.NOTHING) if notes.is_bad(told) else gr.skip()
        if done is not None:
            status = notes.stale(_STALE)
        try:
            firsts, seconds = (
                [stored_path(upload, label) for upload in uploads or []]
                for uploads, label in zip((a, b), chosen.labels, strict=True)
            )
            shown = [thumbnails_html(paths, self._fusing.uploads, window) for paths in (firsts, seconds)]
            if not (firsts and seconds):
                return ["", *shown, status, *labels]
            if done is not None and done.inputs == _inputs(chosen, by, firsts, seconds, settings):
                return [done.note, *shown, done.status, *labels]
            return [self._said(match(firsts, seconds, chosen, by_place=by == "place")), *shown, status, *labels]
        except SourceError as error:
            return [notes.bad(error), "", "", status, *labels]

    def examples(self, task: Any) -> list[Any]:
        """Return the example pairs of a task: how they are matched, and both lists."""
        return ["place", *[list(map(str, self._example_files(str(task), side))) for side in range(2)]]

    def added(self, side: int) -> Callable[[Any], Any]:
        """Return the handler of an upload: it returns the list of this side without the example pairs in it."""

        def add(uploads: Any) -> Any:
            return without_example(uploads, [self._example_files(task, side) for task in TASKS])

        return add

    def _example_files(self, task: str, side: int) -> list[Path]:
        return [self._showcase.paths(example)[side] for example in example_pairs(task)]

    def run(
        self,
        task: Any,
        by: Any,
        a: Any,
        b: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
        *settings: Any,
    ) -> Iterator[list[Any]]:
        """Fuse all pairs; after each, yield note, status, table, gallery, archive, command and whether it is done."""
        batch, archive = None, None
        try:
            chosen = get_task(str(task))
            first, second = chosen.labels
            firsts, seconds = _stored(a, first), _stored(b, second)
            batch = match(firsts, seconds, chosen, by_place=by == "place")
            checked = Settings.checked(self._fusing.models, chosen, *settings)
            count = len(batch.pairs)

            def tell(index: int) -> Any:
                return tell_progress(progress, f"Pair {index + 1} of {count}", index=index, count=count)

            yield [gr.skip(), notes.good(f"{_counted(count)}."), table(batch), _no_gallery(), _no_file(), "", None]
            states = fuse_batch(batch, session(request), checked, self._fusing, self._files, tell)
            for number, state in enumerate(states, 1):
                said = notes.good(f"{number} of {_counted(count)} done.")
                yield [self._said(state), said, table(state), _gallery(state), *[gr.skip()] * 3]
            archive = finish(batch)
        except CancelledError:
            yield [gr.skip(), notes.stale(_CANCELLED), *[gr.skip()] * 5]
            return
        except ValueError as error:
            yield [notes.bad(error), notes.refused(error), *[gr.skip()] * 5]
            return
        except (OSError, zipfile.BadZipFile) as error:
            why = (isinstance(error, OSError) and error.strerror) or "the archive is damaged"
            said = f"A file of this batch cannot be read or written ({why}); try fewer pairs, or try again later."
            yield [gr.skip(), notes.bad(said), *[gr.skip()] * 5]
            return
        if archive is None:
            yield [
                gr.skip(),
                notes.stale("No pair could be fused; the list says why."),
                table(batch),
                *[gr.skip()] * 4,
            ]
            return
        status = _ended(batch)
        yield [
            gr.skip(),
            status,
            table(batch),
            _gallery(batch),
            gr.DownloadButton(value=str(archive), visible=True),
            _command(batch, checked),
            Done(_inputs(chosen, by, firsts, seconds, settings), self._said(batch), status),
        ]

    def cancel(self, request: gr.Request) -> str:
        """Cancel the jobs of this visitor; returns the status."""
        self._fusing.jobs.cancel(session(request))
        return notes.stale(_CANCELLED)

    def _said(self, batch: Batch) -> str:
        """The number of pairs, and the first that cannot be fused, as HTML."""
        said = [notes.good(f"{_counted(len(batch.pairs))}.")]
        if batch.failed:
            name, why = batch.failed[0]
            others = f" (and {len(batch.failed) - 1} more)" if len(batch.failed) > 1 else ""
            said.append(notes.bad(f"{name}: {why}{others}"))
        return "".join(said)


def list_labels(task: Task) -> tuple[str, str]:
    """Labels of the two lists of files."""
    first, second = task.labels
    return f"First of each pair: {first}", f"Second of each pair: {second}"


def _counted(pairs: int) -> str:
    return "1 pair" if pairs == 1 else f"{pairs} pairs"


def _inputs(task: Task, by: Any, firsts: list[Path], seconds: list[Path], settings: tuple[Any, ...]) -> str:
    return repr((task.name, by, firsts, seconds, settings))


def _stored(uploads: Any, label: str) -> list[Path]:
    if not isinstance(uploads, list) or not uploads:
        raise SourceError(f"There are no {label} images yet; add both kinds, then fuse all.")
    if len(uploads) > 2 * MAX_PAIRS:
        raise SourceError(f"There are {len(uploads)} {label} images, but a batch has at most {MAX_PAIRS} pairs.")
    return [stored_path(upload, label) for upload in uploads]


def table(batch: Batch) -> str:
    """The pairs of a batch and what became of them, with the notes on them, as HTML."""
    failed = dict(batch.failed)
    done = {name: " ".join(["fused.", *said]) if said else "fused" for name, said in batch.done.items()}

    def look(name: str) -> str:
        return "bad" if name in failed else "remark" if batch.done.get(name) else ""

    rows = [
        *((name, failed.get(name) or done.get(name, "waiting"), look(name)) for name, _ in batch.pairs),
        *((name, why, "bad") for name, why in batch.failed if name not in dict(batch.pairs)),
    ]
    body = "".join(
        f'<tr class="{looks}"><th scope="row">{escape(name)}</th><td>{escape(said)}</td></tr>'
        for name, said, looks in rows
    )
    return (
        '<table class="pairs"><thead><tr><th scope="col">pair</th><th scope="col">state</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _ended(batch: Batch) -> str:
    """The status of a finished batch, as HTML."""
    said = f"{len(batch.done)} fused" + (f", {len(batch.failed)} not; the list says why." if batch.failed else ".")
    noted = sum(bool(remarks) for remarks in batch.done.values())
    remark = f"There {'are remarks on' if noted > 1 else 'is a remark on'} {noted} of the pairs; see the list."
    return notes.good(said) + notes.remarks([remark] if noted else [])


def _gallery(batch: Batch) -> gr.Gallery:
    return gr.Gallery(value=[(str(path), name) for name, path in batch.previews], visible=bool(batch.previews))


def _command(batch: Batch, settings: Settings) -> str:
    first, second = settings.task.folders
    return (
        f"The same on a machine of your own, with the first image of each pair in the folder `{first}` and the second "
        f"in `{second}`:\n\n```sh\n{link.batch_command(batch.pairs, settings, gaps=batch.gaps)}\n```"
    )


def _no_gallery() -> gr.Gallery:
    return gr.Gallery(value=[], visible=False)


def _no_file() -> gr.DownloadButton:
    return gr.DownloadButton(value=None, visible=False)
