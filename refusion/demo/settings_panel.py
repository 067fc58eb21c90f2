"""Settings of a tab."""

import gradio as gr

from refusion.demo import texts
from refusion.demo.models import Models
from refusion.tasks import CHOICES, Task


def settings_panel(task: Task | None, models: Models, *, stack: bool = False) -> list[gr.components.Component]:
    """Add the settings, folded, with the defaults of the task selected; without a task, each task's own default.

    Args:
        task: the task of the tab, or None.
        models: the models to choose from.
        stack: whether the choices are those for stacks, whose borders are kept.

    Returns:
        The inputs in the order in which `Settings.checked` takes them.
    """
    words = texts.choices_of(task) if task else texts.choices(None if stack else ("first", "second"))
    own = [] if task else [("Default of the task", "")]
    with gr.Accordion("Settings", open=False, elem_classes="settings"):
        label, info = texts.SETTINGS["input_range"]
        input_range = gr.Dropdown(
            [(said, choice) for choice, said in texts.INPUT_RANGES.items()], value="file", label=label, info=info
        )
        choices = [
            gr.Dropdown(
                own + [(said, choice) for choice, said in words[name].items()],
                value=getattr(task, name) if task else "",
                label=texts.SETTINGS[name][0],
                info=texts.SETTINGS[name][1],
            )
            for name in CHOICES
        ]
        with gr.Row():
            model = gr.Dropdown(
                own + [(name, name) for name in models.names],
                value=models.own(task) if task else "",
                label="Model",
                info="A bundled model, or OWNER/NAME on the Hub." if models.hub_models else "A bundled model.",
                allow_custom_value=models.hub_models,
                min_width=160,
            )
            revision = gr.Textbox(
                value="", label="Revision", info="Branch, tag or commit on the Hub.", max_lines=1, min_width=120
            )
        label, info = texts.SETTINGS["borders"]
        borders = gr.Dropdown(
            [(said, choice) for choice, said in texts.BORDERS.items()],
            value="auto",
            label=label,
            info=info,
            visible=not stack,
        )
    return [*choices, model, revision, input_range, borders]
