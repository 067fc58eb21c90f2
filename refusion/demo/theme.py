"""Colours, fonts and spacing of the page."""

import gradio as gr

from refusion.demo import compare, notes

# Fonts of the reader's own system, so that no page asks a font server for one.
THEME = gr.themes.Soft(
    primary_hue=gr.themes.colors.blue,
    secondary_hue=gr.themes.colors.orange,
    neutral_hue=gr.themes.colors.slate,
    radius_size=gr.themes.sizes.radius_md,
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
).set(
    # A shade darker than the theme has them, so that the text on and in them can be read by everybody.
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_hover_dark="*primary_700",
    block_label_text_color="*primary_700",
    block_label_text_color_dark="white",
    block_title_text_color="*primary_700",
    block_title_text_color_dark="white",
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
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
)

_PAGE = """
.gradio-container { width: 100% !important; max-width: 1240px !important; min-width: 0 !important;
  margin: 0 auto !important; }
.gradio-container :is(main, .main, main > .column, .tabs, .tabitem, .tabitem > .column) { min-width: 0 !important;
  max-width: 100% !important; }
.tabs button[role="tab"].selected { color: var(--primary-700); }
.dark .tabs button[role="tab"].selected { color: var(--primary-400); }
.gradio-container :is(a, button, input, textarea):focus-visible { outline: 2px solid var(--color-accent) !important;
  outline-offset: 2px; }
.top h1 { margin-bottom: 0.25rem; }
.note-box { padding: 0 !important; min-height: 0 !important; }
.block.note-box:not(:has(.note)):not(:has(> .wrap:not(.hide))) { display: none; }
.block.note-box:has(> .wrap:not(.hide)) { min-height: 7rem !important; }
.block:has(> .html-container) > .html-container, .html-container { padding: 0 !important; }
.prose pre, .prose pre code { white-space: pre-wrap; overflow-wrap: anywhere; }
.prose table { display: block; overflow-x: auto; max-width: 100%; }
.actions { align-items: stretch; }
.prose table.pairs, .prose table.figures { display: table; width: 100%; border: 0; border-collapse: collapse;
  font-size: var(--text-sm); }
.prose :is(table.pairs, table.figures) :is(thead, tbody, tr) { border: 0; }
.prose table.pairs :is(th, td), .prose table.figures :is(th, td) { text-align: left; padding: 0.375rem 0.75rem;
  vertical-align: top; border: 0; border-bottom: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
.prose table.figures :is(th, td:nth-child(-n+3)) { white-space: nowrap; overflow-wrap: normal; width: 1%; }
.prose table.figures :is(th, td):last-child { width: auto; white-space: normal; }
@media (max-width: 600px) {
  .prose table.figures :is(th, td) { padding: 0.375rem; }
  .file-preview td.download { display: none; }
  .prose table.figures .word { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
}
.prose table.pairs tbody th { font-weight: 500; width: 30%; }
.prose table.pairs tr.bad td { color: var(--error-text-color); }
figure.method { margin: 0.5rem 0 1rem; overflow-x: auto; color: var(--body-text-color); }
figure.method svg { width: 100%; max-width: 760px; min-width: 520px; height: auto; display: block; }
figure.method figcaption { font-size: var(--text-sm); color: var(--body-text-color-subdued); }
"""

CSS = _PAGE + compare.STYLE + notes.STYLE

# The inputs' buttons do not say whose they are; as a group, a block is announced with its label.
HEAD = """
<script>
let waiting = false;
function nameBlocks() {
  waiting = false;
  document.querySelectorAll('[data-testid="block-label"]').forEach((label) => {
    const block = label.closest('.block');
    const name = label.textContent.trim();
    if (block && block.getAttribute('aria-label') !== name) {
      block.setAttribute('role', 'group');
      block.setAttribute('aria-label', name);
    }
  });
}
new MutationObserver(() => {
  if (!waiting) { waiting = true; requestAnimationFrame(nameBlocks); }
}).observe(document, { childList: true, subtree: true });
</script>
"""
