"""Save an explanation: maps, overlays, one contact sheet, and the figures as JSON."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from refusion.explanation.maps import ErrorFigures, Explanation, WeightFigures, error_figures, weight_figures
from refusion.images import save_image, to_image
from refusion.system.files import write_text

OVERVIEW = "overview.png"
FIGURES = "explain.json"
FILES = (
    OVERVIEW,
    "w.png",
    "v.png",
    "w_map.png",
    "v_map.png",
    "fused.png",
    "reconstruction_a.png",
    "reconstruction_b.png",
    "error_a.png",
    "error_b.png",
    FIGURES,
)
"""Names of the files written by `save_explanation`."""

ERROR_SCALE = 2
"""Factor of the absolute error in error images: white is an error of half the full range or more."""

SPANS = (0.05, 0.1, 0.25, 0.5)
"""Possible ends of the colour scale, as distance of a weight from 1/2; see `colour_span`."""

FIRST_COLOUR, BOTH_COLOUR, SECOND_COLOUR = (240, 120, 10), (150, 150, 150), (25, 100, 225)
OPACITY = 0.6

CELL = 400
MARGIN = 12
CAPTION = 26
STRIP = 52
PAPER, INK, FAINT = (255, 255, 255), (25, 25, 25), (95, 95, 95)


@dataclass(frozen=True)
class Captions:
    """Names used in the captions of an explanation.

    Attributes:
        labels: display names of the two sources, as in `refusion.tasks.Task.labels`.
        names: file names of the two sources.
        model: name of the model.
    """

    labels: tuple[str, str]
    names: tuple[str, str]
    model: str


def save_explanation(folder: Path, explanation: Explanation, captions: Captions) -> None:
    """Write `FILES` into an existing folder, each atomically; existing files are replaced.

    Raises:
        PictureError: an image cannot be written.
        OSError: the figures cannot be written.
    """
    pictures = draw_pictures(explanation, captions)
    for name, picture in pictures.items():
        save_image(picture, folder / name)
    write_text(folder / FIGURES, json.dumps(figures(explanation, captions), indent=2) + "\n")


def figures(explanation: Explanation, captions: Captions) -> dict[str, object]:
    """All figures of an explanation, the content of explain.json (an infinite PSNR is null)."""
    height, width = explanation.fused.shape

    def weight(weights: np.ndarray) -> dict[str, float]:
        summed = weight_figures(weights)
        return {
            "mean_a": summed.mean,
            "mean_b": 1 - summed.mean,
            "spread": summed.spread,
            "share_of_pixels_led_by_a": summed.leads,
        }

    def error(absolute: np.ndarray) -> dict[str, float | None]:
        summed = error_figures(absolute)
        return {
            "mean_absolute_error": summed.mean,
            "psnr_db": summed.psnr if math.isfinite(summed.psnr) else None,
        }

    return {
        "model": captions.model,
        "a": {"label": captions.labels[0], "file": captions.names[0]},
        "b": {"label": captions.labels[1], "file": captions.names[1]},
        "width": width,
        "height": height,
        "w": weight(explanation.intensity),
        "v": weight(explanation.gradient),
        "reconstruction_a": error(explanation.error_a),
        "reconstruction_b": error(explanation.error_b),
        "error_pictures_scale": ERROR_SCALE,
    }


def draw_pictures(explanation: Explanation, captions: Captions) -> dict[str, Image.Image]:
    """Draw all images of an explanation, by file name: the images in `FILES`."""
    overlays = {name: overlay(explanation.fused, _weights(explanation)[name][0]) for name in "wv"}
    plain = {
        "w_map.png": to_image(explanation.intensity[0], None),
        "v_map.png": to_image(explanation.gradient[0], None),
        "fused.png": to_image(explanation.fused, None),
        "reconstruction_a.png": to_image(explanation.reconstruction_a, None),
        "reconstruction_b.png": to_image(explanation.reconstruction_b, None),
        "error_a.png": to_image(explanation.error_a * ERROR_SCALE, None),
        "error_b.png": to_image(explanation.error_b * ERROR_SCALE, None),
    }
    legends = {name: legend(weights[0], captions.labels) for name, weights in _weights(explanation).items()}
    return {
        OVERVIEW: _overview(explanation, captions, plain, overlays, legends),
        "w.png": _above(overlays["w"], legends["w"]),
        "v.png": _above(overlays["v"], legends["v"]),
        **plain,
    }


def colour_span(weight: np.ndarray) -> float:
    """Choose the ends of the colour scale: the smallest of `SPANS` that covers 99 % of the pixels.

    Args:
        weight: weights of the first source, (H, W), in [0, 1].

    Returns:
        Distance from 1/2, in (0, 1/2].
    """
    reached = np.percentile(np.abs(weight - 0.5), 99)
    return next((span for span in SPANS if reached <= span), SPANS[-1])


def colours(weight: np.ndarray, span: float) -> np.ndarray:
    """Colours of weights of the first source: orange at 1/2 + span, grey at 1/2, blue at 1/2 - span.

    Args:
        weight: any shape, in [0, 1].
        span: distance from 1/2 at which the colour is saturated.

    Returns:
        The same shape with three channels at the end, in [0, 255].
    """
    scale = (0.5 - span, 0.5, 0.5 + span)
    ends = zip(SECOND_COLOUR, BOTH_COLOUR, FIRST_COLOUR, strict=True)
    return np.stack([np.interp(weight, scale, channel) for channel in ends], axis=-1)


def overlay(fused: np.ndarray, weight: np.ndarray) -> Image.Image:
    """Overlay the colours of a weight map on the fused image.

    Args:
        fused: fused luminance, (H, W), in [0, 1].
        weight: weights of the first source, the same shape.
    """
    blended = OPACITY * colours(weight, colour_span(weight)) + (1 - OPACITY) * 255 * fused[..., None]
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def legend(weight: np.ndarray, labels: tuple[str, str]) -> Image.Image:
    """Draw the colour scale of `overlay`, with the names of the sources and their weights at its ends."""
    span = colour_span(weight)
    strip = Image.new("RGB", (CELL, STRIP), PAPER)
    row = colours(np.linspace(0.5 + span, 0.5 - span, CELL), span)
    strip.paste(Image.fromarray(np.rint(np.tile(row, (16, 1, 1))).astype(np.uint8)), (0, 6))
    draw = ImageDraw.Draw(strip)
    for x, anchor, text in (
        (0, "lt", f"{labels[0]} {0.5 + span:.2f}"),
        (CELL // 2, "mt", "equal"),
        (CELL, "rt", f"{labels[1]} {0.5 + span:.2f}"),
    ):
        draw.text((x, 29), text, INK, font=_font(), anchor=anchor)
    return strip


def _weights(explanation: Explanation) -> dict[str, np.ndarray]:
    return {"w": explanation.intensity, "v": explanation.gradient}


def _above(picture: Image.Image, strip: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (max(picture.width, strip.width + 2 * MARGIN), picture.height + strip.height), PAPER)
    sheet.paste(picture, ((sheet.width - picture.width) // 2, 0))
    sheet.paste(strip, ((sheet.width - strip.width) // 2, picture.height))
    return sheet


def _overview(
    explanation: Explanation,
    captions: Captions,
    plain: dict[str, Image.Image],
    overlays: dict[str, Image.Image],
    legends: dict[str, Image.Image],
) -> Image.Image:
    (first, second), (name_a, name_b) = captions.labels, captions.names
    w, v = (weight_figures(weights) for weights in _weights(explanation).values())
    errors = [error_figures(error) for error in (explanation.error_a, explanation.error_b)]
    rows = [
        [
            _cell(first, to_image(explanation.a, None), name_a),
            _cell(second, to_image(explanation.b, None), name_b),
            _cell("fused", plain["fused.png"], "luminance of the network output"),
        ],
        [
            _cell(f"{first}, reconstructed from fused", plain["reconstruction_a.png"], _psnr(errors[0])),
            _cell(f"{second}, reconstructed from fused", plain["reconstruction_b.png"], _psnr(errors[1])),
            _cell(_weight_caption("w, brightness", w), overlays["w"], legends["w"]),
        ],
        [
            _cell(f"error of {first}", plain["error_a.png"], _error_caption(errors[0])),
            _cell(f"error of {second}", plain["error_b.png"], _error_caption(errors[1])),
            _cell(_weight_caption("v, edges", v), overlays["v"], legends["v"]),
        ],
    ]
    width, height = 3 * CELL + 4 * MARGIN, rows[0][0].height
    top, bottom = 66, 58
    sheet = Image.new("RGB", (width, top + 3 * height + bottom), PAPER)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            sheet.paste(cell, (MARGIN + column * (CELL + MARGIN), top + row * height))
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 12), f"Weights of the learned loss: {first} + {second}", INK, font=_font(22))
    draw.text((MARGIN, 42), _fit(f"model {captions.model}", width - 2 * MARGIN), FAINT, font=_font())
    notes = (
        f"Orange: the loss favours {first} there; blue: it favours {second}. The colour scales of w and v may differ; "
        "their ends are labelled.",
        "Black error: the source can be reconstructed there from the fused image; white: an error of half the full "
        "range or more.",
    )
    for line, note in enumerate(notes):
        draw.text((MARGIN, sheet.height - bottom + 6 + 22 * line), _fit(note, width - 2 * MARGIN), FAINT, font=_font())
    return sheet


def _weight_caption(name: str, summed: WeightFigures) -> str:
    return f"{name}: mean {summed.mean:.2f} / {1 - summed.mean:.2f}, spread {summed.spread:.2f}"


def _psnr(summed: ErrorFigures) -> str:
    return f"PSNR {summed.psnr:.1f} dB"


def _error_caption(summed: ErrorFigures) -> str:
    return f"mean {summed.mean:.3f}; shown x {ERROR_SCALE}"


def _cell(caption: str, picture: Image.Image, below: str | Image.Image) -> Image.Image:
    shrink = CELL / max(picture.size)
    size = max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))
    cell = Image.new("RGB", (CELL, CAPTION + size[1] + STRIP), PAPER)
    draw = ImageDraw.Draw(cell)
    draw.text((0, 3), _fit(caption, CELL, 16), INK, font=_font(16))
    resampling = Image.Resampling.LANCZOS if shrink < 1 else Image.Resampling.BICUBIC
    cell.paste(picture.resize(size, resampling), ((CELL - size[0]) // 2, CAPTION))
    if isinstance(below, str):
        draw.text((0, CAPTION + size[1] + 5), _fit(below, CELL), FAINT, font=_font())
    else:
        cell.paste(below, (0, CAPTION + size[1]))
    return cell


def _fit(text: str, width: int, size: int = 15) -> str:
    """Shorten a line of text to fit a width in pixels."""
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _font(size: int = 15) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
