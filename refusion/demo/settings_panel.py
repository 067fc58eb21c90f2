"""Settings of a tab."""

from dataclasses import dataclass

import gradio as gr

from refusion.demo import texts
from refusion.demo.models import Models
from refusion.demo.service import anchors, chroma_rules, output_ranges
from refusion.tasks import Task


@dataclass(frozen=True)
class SettingsPanel:
    """Inputs for all settings of a fusion."""

    output_range: gr.Dropdown
    anchor: gr.Dropdown
    chroma: gr.Dropdown
    model: gr.Dropdown
    revision: gr.Textbox

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The inputs in the order in which `Settings.checked` takes them."""
        return [self.output_range, self.anchor, self.chroma, self.model, self.revision]


def settings_panel(task: Task | None, models: Models) -> SettingsPanel:
    """Add the settings, folded, with the defaults of the task selected; without a task, each task's own default."""
    rules = texts.colour_rules(task.labels if task else ("first", "second"))
    own = [] if task else [("Default of the task", "")]
    with gr.Accordion("Settings", open=False, elem_classes="settings"):
        output_range = gr.Dropdown(
            own + [(texts.RANGES[name], name) for name in output_ranges()],
            value=task.output_range if task else "",
            label=texts.SETTINGS["output_range"][0],
            info=texts.SETTINGS["output_range"][1],
        )
        anchor = gr.Dropdown(
            own + [(texts.ANCHORS[name], name) for name in anchors()],
            value=task.anchor if task else "",
            label=texts.SETTINGS["anchor"][0],
            info=texts.SETTINGS["anchor"][1],
        )
        chroma = gr.Dropdown(
            own + [(rules[name], name) for name in chroma_rules()],
            value=task.chroma if task else "",
            label=texts.SETTINGS["chroma"][0],
            info=texts.SETTINGS["chroma"][1],
        )
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
    return SettingsPanel(output_range, anchor, chroma, model, revision)
