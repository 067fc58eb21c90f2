"""Colours, fonts and spacing of the page."""

import gradio as gr

from refusion.demo import compare, notes

# Fonts of the reader's own system, so that no page asks a font server for one.
THEME = gr.themes.Soft(
    primary_hue=gr.themes.colors.orange,
    secondary_hue=gr.themes.colors.blue,
    neutral_hue=gr.themes.colors.slate,
    radius_size=gr.themes.sizes.radius_md,
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
)

_PAGE = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.top h1 { margin-bottom: 0.25rem; }
.note-box { padding: 0 !important; min-height: 0 !important; }
.block.note-box:not(:has(.note)):not(:has(.progress-text)) { display: none; }
.actions { align-items: stretch; }
table.pairs { width: 100%; border-collapse: collapse; font-size: var(--text-sm); }
table.pairs th, table.pairs td { text-align: left; padding: 0.375rem 0.75rem; vertical-align: top;
  border-bottom: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
table.pairs tbody th { font-weight: 500; width: 30%; }
table.pairs tr.bad td { color: var(--error-text-color); }
figure.method { margin: 0.5rem 0 1rem; overflow-x: auto; color: var(--body-text-color); }
figure.method svg { width: 100%; max-width: 760px; min-width: 520px; height: auto; display: block; }
figure.method figcaption { font-size: var(--text-sm); color: var(--body-text-color-subdued); }
"""

CSS = _PAGE + compare.STYLE + notes.STYLE
