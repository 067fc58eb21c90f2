"""Scores and explanations as HTML."""

import math
from collections.abc import Callable
from html import escape

from PIL import Image

from refusion.demo import texts
from refusion.explanation.maps import ErrorFigures, Explanation, error_figures, weight_figures
from refusion.explanation.pictures import BOTH_COLOUR, FIRST_COLOUR, SECOND_COLOUR, colour_span, overlay
from refusion.images import to_image
from refusion.metrics.scoring import higher_is_better
from refusion.system.markdown import NOTHING

PAIR_NOTE = "MI, VIF and SSIM are summed over both sources. Compare results of one pair, not of different pairs."

STACK_NOTE = (
    "CC is the mean over all images of the stack; MI, VIF and SSIM are twice that mean, as they are sums for a pair. "
    "SCD, Qabf and MEF-SSIM are defined for two sources only. Compare results of one stack, not of different stacks."
)


_AGAIN = "reconstructed from the fused image"


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


def _better(metric: str) -> str:
    arrow, word = ("↑", "higher") if higher_is_better(metric) else ("↓", "lower")
    # On a narrow page only screen readers get the word.
    return f'{arrow} <span class="word">{word}</span>'


def explained_html(
    explanation: Explanation,
    labels: tuple[str, str],
    shrunk: bool,
    save: Callable[[Image.Image, str], str],
) -> str:
    """The maps w and v and both reconstructions as HTML, with captions.

    Args:
        explanation: weights of the learned loss, and the reconstructions.
        labels: labels of the sources.
        shrunk: whether the pair was scaled down for this.
        save: writes an image under a name and returns its address.
    """
    weights = explanation.intensity, explanation.gradient
    w, v = map(weight_figures, weights)
    maps = [overlay(explanation.fused, weight[0]) for weight in weights]
    scales = [_scale(colour_span(weight[0]), labels) for weight in weights]
    again = [to_image(image, None) for image in (explanation.reconstruction_a, explanation.reconstruction_b)]
    errors = [_decibels(error_figures(error)) for error in (explanation.error_a, explanation.error_b)]
    first, second = labels
    figures = (
        ("w.png", maps[0], f"w: whose brightness counts ({first} {w.mean:.0%})", "Map of w", scales[0]),
        ("v.png", maps[1], f"v: whose edges count ({first} {v.mean:.0%})", "Map of v", scales[1]),
        ("reconstruction_a.png", again[0], f"{first}, {_AGAIN} ({errors[0]})", f"{first}, reconstructed", ""),
        ("reconstruction_b.png", again[1], f"{second}, {_AGAIN} ({errors[1]})", f"{second}, reconstructed", ""),
    )
    shown = "".join(
        f'<figure><a href="{escape(address)}" target="_blank"><img src="{escape(address)}" alt="{escape(kind)}"></a>'
        f"{scale}<figcaption>{escape(caption)}</figcaption></figure>"
        for name, image, caption, kind, scale in figures
        for address in [save(image, name)]
    )
    smaller = " The pair was scaled down for this, because it takes much memory." if shrunk else ""
    return (
        f'<p class="note good">Orange: the loss favours the {escape(first)} image there; blue: it favours the '
        f'{escape(second)} image.{smaller}</p><div class="explained">{shown}</div>'
    )


def _scale(span: float, labels: tuple[str, str]) -> str:
    """The colours of a map, in the colours of the page."""
    colours = ", ".join(f"rgb{colour}" for colour in (FIRST_COLOUR, BOTH_COLOUR, SECOND_COLOUR))
    first, second = (f"<span>{escape(label)} {0.5 + span:.2f}</span>" for label in labels)
    return (
        f'<div class="scale"><i style="background: linear-gradient(to right, {colours})"></i>'
        f"{first}<span>equal</span>{second}</div>"
    )


def _decibels(figures: ErrorFigures) -> str:
    return f"{figures.psnr:.1f} dB" if math.isfinite(figures.psnr) else "no error"
