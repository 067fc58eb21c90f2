"""Endpoints for programs: one for each task, and one for scores."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from refusion.demo import texts
from refusion.demo.events import computing, heading, session
from refusion.demo.inputs import picture_input
from refusion.demo.link import endpoint
from refusion.demo.queue import CancelledError
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing, Settings
from refusion.demo.uploads import stored_path
from refusion.tasks import TASKS, Task, get_task


def fuse_endpoint(task: Task, inputs: Sequence[gr.components.Component], fusing: Fusing, files: ResultFiles) -> None:
    """Add the endpoint of a task, such as ``/fuse_ir_vis``, with the inputs of its tab: every setting is an option."""
    fused = gr.Image(label="Fused", format="png", type="filepath", visible=False)
    notes = gr.JSON(label="Notes", visible=False)
    gr.Button("Fuse", visible=False).click(
        _fuse(task, fusing, files),
        inputs,
        [fused, notes],
        api_name=endpoint(task),
        **_on_device(fusing),
    )


def evaluate_endpoint(fusing: Fusing, files: ResultFiles) -> None:
    """Add the endpoint ``/evaluate``."""
    a, b, fused = (picture_input(label=label, visible=False) for label in ("A", "B", "Fused"))
    task = gr.Dropdown(list(TASKS), value=next(iter(TASKS)), label="Task", visible=False)
    input_range = gr.Dropdown(list(texts.INPUT_RANGES), value="file", label="Input range", visible=False)
    borders = gr.Dropdown(list(texts.BORDERS), value="auto", label="Blank borders", visible=False)
    gr.Button("Evaluate", visible=False).click(
        _evaluate(fusing, files),
        [a, b, fused, task, input_range, borders],
        gr.JSON(label="Scores", visible=False),
        api_name="evaluate",
        **_on_device(fusing),
    )


def _fuse(task: Task, fusing: Fusing, files: ResultFiles) -> Callable[..., Any]:
    first, second = task.labels

    def fuse(
        a: Any,
        b: Any,
        output_range: Any = None,
        anchor: Any = None,
        chroma: Any = None,
        model: Any = None,
        revision: Any = None,
        input_range: Any = None,
        borders: Any = None,
        request: gr.Request | None = None,
    ) -> tuple[str, list[str]]:
        try:
            paths = stored_path(a, first), stored_path(b, second)
            asked = output_range, anchor, chroma, model, revision, input_range, borders
            settings = Settings.checked(fusing.models, task, *asked)
            result = fusing.fuse(session(request), paths, settings, lambda *_: None)
        except (ValueError, CancelledError) as error:
            raise refusal(error) from error
        return str(files.save_fused(result, f"{paths[0].stem}_fused.png")), list(result.notes)

    fuse.__name__ = endpoint(task)  # The name of the tool of the Model Context Protocol.
    fuse.__doc__ = f"""Fuse two registered images of one scene ({first} and {second}) into one, pixel for pixel as
    `refusion fuse --task {task.name}` does.

    Args:
        a: {heading(first)} image; formats: {texts.FORMATS}.
        b: {heading(second)} image of the same width and height.
        output_range: Range of the fused grey levels: sources, contrast, robust, stretch or network.
        anchor: How the fused grey levels are kept consistent with the sources: guided, detail, full-detail, heat,
            choice, bounds or none.
        chroma: Source of the colour: a, b, both by the rule exposure, release or saturation, or choice (as the
            luminance).
        model: Name of a bundled model, or OWNER/NAME of a public one on the Hub.
        revision: Branch, tag or commit of a model on the Hub.
        input_range: Black and white of sources of more than 8 bits: file, or own for the range of their values.
        borders: Blank borders of one source, as registration leaves them: auto fills them from the other source, but
            keeps white ones of infrared and medical pairs; fill fills all; keep fills none.

    Returns:
        The fused image as a PNG file, and notes on the sources and the result, a list of sentences.
    """
    return fuse


def _evaluate(fusing: Fusing, files: ResultFiles) -> Callable[..., Any]:
    def evaluate(
        a: Any,
        b: Any,
        fused: Any = None,
        task: Any = "ir-vis",
        input_range: Any = None,
        borders: Any = None,
        request: gr.Request | None = None,
    ) -> dict[str, float | None]:
        """Score a fused image against its two sources with the metrics of image fusion.

        Args:
            a: First source: infrared, CT, PET or SPECT, near focus, or under-exposed.
            b: Second source: visible, MRI, far focus, or over-exposed; of the same width and height.
            fused: The fused image; without one, the pair is fused first with the model of the task.
            task: ir-vis, medical, multi-focus or multi-exposure.
            input_range: Black and white of sources of more than 8 bits: file, or own for the range of their values.
            borders: Blank borders if the pair is fused first: auto, fill or keep.
            request: The request; filled in by gradio.

        Returns:
            One number for each metric, by name: EN, SD, SF, AG, MI, CC, SCD, VIF, Qabf, SSIM and others of the task;
            null where a metric is undefined for the pair.
        """
        own = None
        try:
            chosen = get_task(task if isinstance(task, str) else "")
            settings = Settings.checked(fusing.models, chosen, input_range=input_range, borders=borders)
            sources = stored_path(a, "first"), stored_path(b, "second")
            if fused:
                result = stored_path(fused, "fused")
            else:
                made = fusing.fuse(session(request), sources, settings, lambda *_: None)
                result = own = files.save_fused(made, "fused.png")
            return fusing.scores(session(request), settings, sources, result)
        except (ValueError, CancelledError) as error:
            raise refusal(error) from error
        finally:
            if own is not None:
                files.remove(own)

    return evaluate


def _on_device(fusing: Fusing) -> dict[str, Any]:
    return computing(fusing.options) | {"api_visibility": "public"}


def refusal(error: Exception) -> gr.Error:
    """Return the error for a program: the sentence, without a stack trace in the log."""
    return gr.Error(str(error) or "Cancelled.", duration=None, print_exception=False)
