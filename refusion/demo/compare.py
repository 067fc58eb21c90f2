"""A comparison of the fused picture with its sources: two pictures one over the other, and where the upper one ends.

Gradio's ImageSlider can be moved with a pointer only; this is a range input, for keys and screen readers too.
"""

from html import escape

STYLE = """
.compare { --at: 50%; margin: 0; }
.compare .over { position: relative; line-height: 0; border-radius: var(--radius-lg); overflow: hidden;
  background: var(--background-fill-secondary); }
.compare .over img { width: 100%; height: auto; display: block; margin: 0; }
.compare .over img.source { position: absolute; inset: 0; height: 100%; clip-path: inset(0 calc(100% - var(--at)) 0 0);
  display: none; }
.compare:has(input[value="0"]:checked) img.source.side0, .compare:has(input[value="1"]:checked) img.source.side1 {
  display: block; }
.compare .over::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
  margin-left: -1px; background: white; box-shadow: 0 0 3px black; pointer-events: none; }
.compare .over input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; touch-action: pan-y; }
.compare .over:has(input:focus-visible) { outline: 3px solid var(--color-accent); outline-offset: 2px; }
.compare .ends { display: flex; justify-content: space-between; flex-wrap: wrap; gap: 0.25rem 1rem;
  padding: 0.5rem 0 0; color: var(--body-text-color); }
.compare fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; }
.compare legend { float: left; margin: 0 0.75rem 0 0; padding: 0; font-size: inherit; }
.compare label { display: inline-flex; align-items: center; gap: 0.375rem; cursor: pointer; }
.compare input[type="radio"] { accent-color: var(--color-accent); margin: 0;
  border: 1px solid var(--body-text-color-subdued) !important; }
"""


def compare_html(group: str, sources: list[tuple[str, str]], fused: str, size: tuple[int, int]) -> str:
    """The comparison as HTML.

    Args:
        group: name of the choice between the sources, unique on the page.
        sources: label and address of each source.
        fused: address of the fused picture.
        size: width and height in pixels, so that nothing jumps when the pictures arrive.
    """
    width, height = size
    shown = f'width="{width}" height="{height}"'
    images = "".join(
        f'<img class="source side{side}" src="{escape(address)}" alt="{escape(label)} source" {shown}>'
        for side, (label, address) in enumerate(sources)
    )
    choices = "".join(
        f'<label><input type="radio" name="{escape(group)}" value="{side}"{" checked" if side == 0 else ""}>'
        f"{escape(label)}</label>"
        for side, (label, _) in enumerate(sources)
    )
    return (
        '<div class="compare"><div class="over">'
        f'<img src="{escape(fused)}" alt="Fused picture" {shown}>{images}'
        '<input type="range" min="0" max="100" step="1" value="50" '
        'aria-label="How much of the source is shown from the left, in per cent" '
        "oninput=\"this.closest('.compare').style.setProperty('--at', this.value + '%')\"></div>"
        f'<div class="ends"><fieldset><legend>Left:</legend>{choices}</fieldset><span>Right: fused</span></div></div>'
    )
