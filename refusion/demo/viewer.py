"""The viewer: a fused image over one of its sources, with a divider between them.

Gradio's ImageSlider works with a pointer only and shows one source. Here keys move the divider too, the source can be
chosen, and both images zoom in step. Its script is assets/viewer.js.
"""

from html import escape

WIDEST, TALLEST = 5.0, 1 / 3
"""Ratios of width to height of the viewer for images that are even wider or taller, such as a line scan."""

LARGEST = 16.0
"""Largest zoom; the script has the same."""


def empty_viewer(poster: str, what: str = "The fused image will appear") -> str:
    """Placeholder of the viewer until there is a result: a small image, if given, and a sentence."""
    image = f'<img src="{escape(poster)}" alt="">' if poster else ""
    return (
        f'<div class="viewer empty">{image}<p><span class="idle">{what} here.</span>'
        '<span class="busy">Fusing the example …</span></p></div>'
    )


def viewer_html(group: str, sources: list[tuple[str, str]], fused: str, size: tuple[int, int]) -> str:
    """The viewer as HTML.

    Args:
        group: name of the radio group that selects the source, unique on the page.
        sources: label and address of each source.
        fused: address of the fused image.
        size: width and height in pixels, so that the layout does not shift while the images load.
    """
    width, height = size
    ratio, zoom = opening(size)
    moved = f"{50 * (1 - zoom):g}%"
    images = "".join(
        f'<img class="{"shown" if side == 0 else ""}" src="{escape(address)}" alt="{escape(label)} source" '
        f'width="{width}" height="{height}" draggable="false">'
        for side, (label, address) in enumerate(sources)
    )
    choices = "".join(
        f'<label><input type="radio" name="{escape(group)}" value="{side}" data-label="{escape(label)}"'
        f"{' checked' if side == 0 else ''}>{escape(label)}</label>"
        for side, (label, _) in enumerate(sources)
    )
    return (
        f'<div class="viewer"><div class="stage{" zoomed" if zoom > 1 else ""}" '
        f'style="--ratio: {ratio:.8g}; --at: 50%; --zoom: {zoom:g}; --x: {moved}; --y: {moved}">'
        f'<div class="layer"><img src="{escape(fused)}" alt="Fused image" width="{width}" height="{height}" '
        f'draggable="false"></div><div class="layer source-layer">{images}</div>'
        f'<span class="tag source">{escape(sources[0][0])}</span><span class="tag fused">Fused</span>'
        '<div class="divider"></div><input type="range" min="0" max="100" step="1" value="50" '
        'aria-label="Divider between source and fused image, in per cent from the left"></div>'
        f'<div class="tools"><div class="choices" role="radiogroup" aria-label="Source to compare with">'
        f"<span>Compare with</span>{choices}</div>"
        '<div class="buttons"><button type="button" data-do="swap">Swap sides</button>'
        '<button type="button" data-do="further" aria-label="Zoom out">&minus;</button>'
        f'<output aria-label="Zoom">{100 * zoom:.0f} %</output>'
        '<button type="button" data-do="closer" aria-label="Zoom in">+</button>'
        '<button type="button" data-do="full" aria-label="Full screen">'
        '<svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.8">'
        '<path d="M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4"/></svg></button></div></div></div>'
    )


def opening(size: tuple[int, int]) -> tuple[float, float]:
    """Ratio of the viewer for an image of this size, and the zoom that it opens with: a thin image fills the viewer."""
    ratio = size[0] / size[1]
    shown = min(max(ratio, TALLEST), WIDEST)
    return shown, min(max(ratio / shown, shown / ratio), LARGEST)
