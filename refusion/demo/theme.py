"""Colours, fonts and spacing of the page."""

from pathlib import Path

import gradio as gr

# System fonts, so that the page needs no font server.
THEME = gr.themes.Soft(
    primary_hue=gr.themes.colors.blue,
    secondary_hue=gr.themes.colors.orange,
    neutral_hue=gr.themes.colors.slate,
    radius_size=gr.themes.sizes.radius_md,
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
).set(
    # A shade darker than in the theme, for enough contrast between text and background.
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_hover_dark="*primary_700",
    # Blue marks what can be pressed; titles are plain text, and labels a quiet bar.
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    block_label_background_fill="*neutral_50",
    block_label_background_fill_dark="*neutral_700",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_title_background_fill="none",
    block_title_background_fill_dark="none",
    block_title_padding="0",
    input_border_width="1px",
    input_border_color="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
    link_text_color_hover="*primary_800",
    link_text_color_hover_dark="*primary_200",
    code_background_fill="white",
    # White blocks on a white page have no edges.
    body_background_fill="*neutral_100",
    block_border_width="1px",
    block_border_width_dark="1px",
    checkbox_label_background_fill_selected="*primary_600",
    checkbox_label_background_fill_selected_dark="*primary_600",
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
)


def asset(name: str) -> str:
    """A style sheet or script of the page."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


CSS = asset("page.css") + asset("viewer.css")

_SCRIPTS = ("language.js", "address.js", "names.js", "presses.js", "previews.js", "uploads.js", "viewer.js")

HEAD = f"<script>{''.join(map(asset, _SCRIPTS))}</script>"
"""Scripts of the page."""
