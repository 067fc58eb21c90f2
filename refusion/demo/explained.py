"""Scores and explanations as HTML."""

import math
from collections.abc import Callable
from html import escape

from PIL import Image

from refusion.demo import texts
from refusion.explanation.maps import ErrorFigures, Explanation, error_figures, weight_figures
from refusion.explanation.pictures import Captions, draw_pictures
from refusion.metrics.figures import higher_is_better
from refusion.metrics.reports import NOTHING

PAIR_NOTE = "MI, VIF and SSIM are summed over both sources. Compare results of one pair, not of different pairs."

STACK_NOTE = (
    "CC is the mean over all images of the stack; MI, VIF and SSIM are twice that mean, as they are sums for a pair. "
    "SCD, Qabf and MEF-SSIM are defined for two sources only. Compare results of one stack, not of different stacks."
)


def scores_table(scores: dict[str, float | None], note: str = PAIR_NOTE) -> str:
    """Scores as an HTML table that says whether higher or lower is better."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{NOTHING if value is None else f"{value:.3f}"}</td>'
        f"<td>{_better(name)}</td><td>{texts.meaning(name)}</td></tr>"
        for name, value in scores.items()
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("metric", "value", "better", "what it measures"))
    return (
        f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="note good">On 8-bit luminance; MI in nats. {note}</p>'
    )


def _better(figure: str) -> str:
    arrow, word = ("↑", "higher") if higher_is_better(figure) else ("↓", "lower")
    # On a narrow page only screen readers get the word.
    return f'{arrow} <span class="word">{word}</span>'


def explained_html(
    explanation: Explanation,
    labels: tuple[str, str],
    names: tuple[str, str],
    model: str,
    shrunk: bool,
    save: Callable[[Image.Image, str], str],
) -> str:
    """The maps w and v and both reconstructions as HTML, with captions.

    Args:
        explanation: weights of the learned loss, and the reconstructions.
        labels: labels of the sources.
        names: their file names.
        model: name of the model.
        shrunk: whether the pair was scaled down for this.
        save: writes an image under a name and returns its address.
    """
    pictures = draw_pictures(explanation, Captions(labels, names, model))
    w, v = weight_figures(explanation.intensity), weight_figures(explanation.gradient)
    errors = [_decibels(error_figures(error)) for error in (explanation.error_a, explanation.error_b)]
    first, second = labels
    figures = (
        ("w.png", f"w: whose brightness counts ({first} {w.mean:.0%})", "Map of w"),
        ("v.png", f"v: whose edges count ({first} {v.mean:.0%})", "Map of v"),
        ("reconstruction_a.png", f"{first}, reconstructed from the fused image ({errors[0]})", "Reconstruction"),
        ("reconstruction_b.png", f"{second}, reconstructed from the fused image ({errors[1]})", "Reconstruction"),
    )
    shown = "".join(
        f'<figure><a href="{escape(address)}" target="_blank"><img src="{escape(address)}" alt="{escape(kind)}"></a>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for name, caption, kind in figures
        for address in [save(pictures[name], name)]
    )
    smaller = " The pair was scaled down for this, because it takes much memory." if shrunk else ""
    return (
        f'<p class="note good">Orange: the loss favours the {escape(first)} image there; blue: it favours the '
        f'{escape(second)} image.{smaller}</p><div class="explained">{shown}</div>'
    )


def _decibels(figures: ErrorFigures) -> str:
    return f"{figures.psnr:.1f} dB" if math.isfinite(figures.psnr) else "no error"
