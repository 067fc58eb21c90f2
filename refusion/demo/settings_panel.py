"""The folded settings of a tab."""

from dataclasses import dataclass

import gradio as gr

from refusion.demo import texts
from refusion.demo.models import Models
from refusion.demo.service import anchors, chroma_rules, output_ranges
from refusion.tasks import Task


@dataclass(frozen=True)
class SettingsPanel:
    """Inputs for everything about a fusion but the pictures."""

    output_range: gr.Dropdown
    anchor: gr.Dropdown
    chroma: gr.Dropdown
    model: gr.Dropdown
    revision: gr.Textbox

    @property
    def inputs(self) -> list[gr.components.Component]:
        """In the order in which `Settings.checked` takes them."""
        return [self.output_range, self.anchor, self.chroma, self.model, self.revision]


def settings_panel(task: Task, models: Models) -> SettingsPanel:
    """Add the settings, folded, with what suits the task chosen."""
    rules = texts.colour_rules(task)
    with gr.Accordion("Settings", open=False):
        with gr.Row():
            output_range = gr.Dropdown(
                [(f"{name}: {texts.RANGES.get(name, '')}", name) for name in output_ranges()],
                value=task.output_range,
                label=texts.SETTINGS["output_range"][0],
                info=texts.SETTINGS["output_range"][1],
            )
            anchor = gr.Dropdown(
                [(f"{name}: {texts.ANCHORS.get(name, '')}", name) for name in anchors()],
                value=task.anchor,
                label=texts.SETTINGS["anchor"][0],
                info=texts.SETTINGS["anchor"][1],
            )
            chroma = gr.Dropdown(
                [(rules.get(name, name), name) for name in chroma_rules()],
                value=task.chroma,
                label=texts.SETTINGS["chroma"][0],
                info=texts.SETTINGS["chroma"][1],
            )
        with gr.Row():
            model = gr.Dropdown(
                models.names,
                value=models.own(task),
                label="Model",
                info="A bundled model, or OWNER/NAME of a public one on the Hub."
                if models.hub_models
                else "A bundled model.",
                allow_custom_value=models.hub_models,
            )
            revision = gr.Textbox(
                value="", label="Revision", info="Branch, tag or commit of a model on the Hub.", max_lines=1
            )
    return SettingsPanel(output_range, anchor, chroma, model, revision)
