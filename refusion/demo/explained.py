"""Scores and explanations as a visitor sees them."""

import math

from PIL import Image

from refusion.demo import texts
from refusion.explanation.maps import ErrorFigures, Explanation, error_figures, weight_figures
from refusion.explanation.pictures import Captions, draw_pictures
from refusion.metrics.figures import higher_is_better
from refusion.metrics.reports import NOTHING

PAIR_NOTE = "MI, VIF and SSIM are summed over both sources. Compare results of one pair, not of different pairs."

STACK_NOTE = (
    "CC is the mean over all pictures of the stack; MI, VIF and SSIM are twice that mean, as they are sums for a pair. "
    "SCD, Qabf and MEF-SSIM are defined for two sources only. Compare results of one stack, not of different stacks."
)


def scores_table(scores: dict[str, float | None], note: str = PAIR_NOTE) -> str:
    """Scores as an HTML table that says what is good."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{NOTHING if value is None else f"{value:.3f}"}</td>'
        f"<td>{_better(name)}</td><td>{texts.meaning(name)}</td></tr>"
        for name, value in scores.items()
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("figure", "value", "better", "what it measures"))
    return (
        f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="note good">On 8-bit luminance; MI in nats. {note}</p>'
    )


def _better(figure: str) -> str:
    arrow, word = ("↑", "higher") if higher_is_better(figure) else ("↓", "lower")
    # On a narrow page the word is only for screen readers.
    return f'{arrow} <span class="word">{word}</span>'


def explained_pictures(
    explanation: Explanation, labels: tuple[str, str], names: tuple[str, str], model: str
) -> dict[str, tuple[Image.Image, str]]:
    """w, v and both reconstructions, each with a text for those who do not see it."""
    pictures = draw_pictures(explanation, Captions(labels, names, model))
    w, v = weight_figures(explanation.intensity), weight_figures(explanation.gradient)
    return {
        "w": (pictures["w.png"], f"Map of w: brightness of {labels[0]} counts {w.mean:.0%} on average"),
        "v": (pictures["v.png"], f"Map of v: edges of {labels[0]} count {v.mean:.0%} on average"),
        "reconstruction_a": (pictures["reconstruction_a.png"], f"{labels[0]} as got back out of the fused picture"),
        "reconstruction_b": (pictures["reconstruction_b.png"], f"{labels[1]} as got back out of the fused picture"),
    }


def explained_text(explanation: Explanation, labels: tuple[str, str], shrunk: bool) -> str:
    """The figures of an explanation in sentences."""
    first, second = labels
    w, v = weight_figures(explanation.intensity), weight_figures(explanation.gradient)
    errors = [_decibels(error_figures(error)) for error in (explanation.error_a, explanation.error_b)]
    smaller = " The pair was shrunk for this, as it takes much memory." if shrunk else ""
    return (
        f"Orange: the loss asks for what **{first}** shows there; blue: for what **{second}** shows. "
        f"On average brightness counts {w.mean:.2f} / {1 - w.mean:.2f} and edges count {v.mean:.2f} / "
        f"{1 - v.mean:.2f}. Got back out of the fused picture: {first} at {errors[0]}, {second} at {errors[1]} (PSNR)."
        f"{smaller}"
    )


def _decibels(figures: ErrorFigures) -> str:
    return f"{figures.psnr:.1f} dB" if math.isfinite(figures.psnr) else "no error"
