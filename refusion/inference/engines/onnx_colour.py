"""The colour of the fused image in an ONNX graph: `refusion.images.colour` for RGB sources (1, 3, H, W)."""

from collections.abc import Sequence

import numpy as np

from refusion.images.colour import (
    BLUE_DIFFERENCE,
    CHROMA_EPSILON,
    CLIPPED_WEIGHT,
    DARK,
    HEADROOM,
    LUMINANCE,
    RECORDED,
    RED_DIFFERENCE,
)
from refusion.images.exposure_colour import (
    BLACK,
    BLACKEST,
    BLOTCH,
    BRIGHTENED,
    CLIPPED,
    DARK_NOISE,
    EPSILON,
    EVENED_BELOW,
    EVENING,
    KEPT_FROM,
    LIT,
    MOST,
    NEARLY_CLIPPED,
    READABLE,
    SURFACE,
    USUAL_POWER,
    USUAL_WEIGHT,
    WHITE,
    WINDOW,
)
from refusion.inference.engines.onnx_finish_graph import FinishGraph


def chroma_of(graph: FinishGraph, rgb: str, luminance: str) -> str:
    """Cb and Cr minus their neutral value, (1, 2, H, W)."""
    blue_and_red = graph.op("Gather", rgb, graph.constant([2, 0]), axis=1)
    scales = graph.constant(np.array([BLUE_DIFFERENCE, RED_DIFFERENCE]).reshape(1, 2, 1, 1))
    return graph.divide(graph.subtract(blue_and_red, luminance), scales)


def distance_of_each(graph: FinishGraph, chroma: str) -> str:
    """Distance of Cb and of Cr from neutral."""
    return graph.op("Abs", chroma)


def distance_of_both(graph: FinishGraph, chroma: str) -> str:
    """Distance of the colour from neutral."""
    return graph.op("ReduceL2", chroma, graph.constant([1]))


def exposed_chroma(graph: FinishGraph, luminance: str, sources: Sequence[str], of_sources: Sequence[str]) -> str:
    """The chroma rule ``exposure`` for the fused luminance, of RGB sources and their chroma."""
    of_sources = [_evened(graph, graph.luminance(rgb), chroma) for rgb, chroma in zip(sources, of_sources, strict=True)]
    sources = [
        graph.add(graph.luminance(rgb), from_luminance(graph, chroma))
        for rgb, chroma in zip(sources, of_sources, strict=True)
    ]
    weights, relative = [], []
    for rgb, other, chroma in zip(sources, reversed(sources), of_sources, strict=True):
        exposed = graph.divide(graph.luminance(rgb), graph.add(graph.luminance(rgb), DARK))
        headroom = graph.divide(graph.subtract(1, graph.op("ReduceMax", rgb, graph.constant([1]))), HEADROOM)
        weight = graph.multiply(distance_of_both(graph, chroma), graph.op("Clip", headroom, CLIPPED_WEIGHT, 1))
        weights.append(graph.multiply(weight, graph.multiply(exposed, exposed)))
        relative.append(_relative_chroma(graph, _unclipped(graph, rgb, other), luminance))
    return _recorded(
        graph, luminance, graph.multiply(graph.add(luminance, DARK), mean_chroma(graph, relative, weights))
    )


def _evened(graph: FinishGraph, luminance: str, chroma: str) -> str:
    """`refusion.images.exposure_colour.evened`."""
    level, of_squares = graph.means(EVENING, luminance, graph.multiply(luminance, luminance))
    mean, of_products = graph.means(EVENING, chroma, graph.multiply(chroma, luminance))
    variance = graph.add(graph.subtract(of_squares, graph.multiply(level, level)), SURFACE**2)
    slope = graph.divide(graph.subtract(of_products, graph.multiply(mean, level)), variance)
    usual = graph.add(mean, graph.multiply(slope, graph.subtract(luminance, level)))
    excess = graph.subtract(chroma, usual)
    squared = graph.op("ReduceSumSquare", excess, graph.constant([1]))
    shares = graph.clip(graph.divide(graph.subtract(KEPT_FROM, luminance), KEPT_FROM - EVENED_BELOW))
    shares = graph.multiply(shares, graph.divide(BLOTCH**2, graph.add(squared, BLOTCH**2)))
    return graph.subtract(chroma, graph.multiply(shares, excess))


def _unclipped(graph: FinishGraph, rgb: str, other: str) -> str:
    """`refusion.images.exposure_colour.unclipped`."""
    axis = graph.constant([1])
    (other,) = graph.means(WINDOW, other)
    clipped = graph.clip(graph.divide(graph.subtract(rgb, NEARLY_CLIPPED), CLIPPED - NEARLY_CLIPPED))
    lit = graph.clip(graph.divide(graph.op("ReduceMean", other, axis), LIT))
    readable = graph.clip(graph.divide(graph.subtract(NEARLY_CLIPPED, graph.op("ReduceMin", rgb, axis)), READABLE))
    recorded = graph.subtract(1, clipped)

    def total(x: str) -> str:
        return graph.op("ReduceSum", graph.multiply(recorded, x), axis)

    levels, ratios = (graph.op("Log", graph.add(x, DARK_NOISE)) for x in (rgb, other))
    count = graph.add(graph.op("ReduceSum", recorded, axis), EPSILON)
    ratios = graph.subtract(ratios, graph.divide(total(ratios), count))
    agreeing, squared = (total(graph.multiply(ratios, x)) for x in (levels, ratios))
    power = graph.divide(graph.add(agreeing, USUAL_WEIGHT * USUAL_POWER), graph.add(squared, USUAL_WEIGHT))
    raised = graph.add(graph.divide(total(levels), count), graph.multiply(graph.clip(power), ratios))
    longer = graph.subtract(graph.op("Exp", raised), DARK_NOISE)
    highest = graph.op("Max", graph.op("ReduceMax", longer, axis), DARK_NOISE)
    longer = graph.multiply(longer, graph.op("Min", graph.divide(MOST, highest), 1))
    weight = graph.multiply(clipped, graph.multiply(lit, readable))
    return graph.add(rgb, graph.multiply(weight, graph.op("Max", graph.subtract(longer, rgb), 0)))


def _relative_chroma(graph: FinishGraph, rgb: str, luminance: str) -> str:
    """Chroma relative to luminance, half the way to that at the fused luminance."""
    own = graph.luminance(rgb)
    relative = _relative(graph, rgb, own)
    level, wanted = (graph.add(graph.op("Clip", x, 0, BRIGHTENED), BLACK) for x in (own, luminance))
    power = graph.divide(graph.op("Log", graph.op("Max", level, wanted)), graph.op("Log", level))
    bright = graph.op("Pow", graph.add(graph.op("Max", rgb, 0), BLACK), power)
    hue = graph.add(_unit(graph, relative), _unit(graph, chroma_of(graph, bright, graph.luminance(bright))))
    turned = graph.multiply(distance_of_both(graph, relative), _unit(graph, hue))
    shown = graph.clip(rgb)
    of_shown = graph.luminance(shown)
    dark = _darkened(graph, shown, of_shown, luminance)
    gained = graph.subtract(_relative(graph, dark, graph.luminance(dark)), _relative(graph, shown, of_shown))
    return graph.add(turned, graph.divide(gained, 2))


def _relative(graph: FinishGraph, rgb: str, luminance: str) -> str:
    return graph.divide(chroma_of(graph, rgb, luminance), graph.add(luminance, DARK))


def _darkened(graph: FinishGraph, rgb: str, luminance: str, wanted: str) -> str:
    """`refusion.images.exposure_colour.darkened`."""
    white = 1 + WHITE
    of_rgb, gap, wanted_gap = (graph.divide(graph.subtract(white, x), white) for x in (rgb, luminance, wanted))
    gap, wanted_gap = (graph.op("Min", x, BLACKEST) for x in (gap, wanted_gap))
    power = graph.divide(graph.op("Log", graph.op("Max", gap, wanted_gap)), graph.op("Log", gap))
    return graph.subtract(white, graph.multiply(white, graph.op("Pow", of_rgb, power)))


def _unit(graph: FinishGraph, vector: str) -> str:
    return graph.divide(vector, graph.op("Max", distance_of_both(graph, vector), CHROMA_EPSILON))


def _recorded(graph: FinishGraph, luminance: str, chroma: str) -> str:
    """`refusion.images.colour.recorded_chroma`, of chroma minus its neutral value."""

    def spread(over: str, luminance_of_rgb: str) -> str:
        missing = graph.subtract(luminance, luminance_of_rgb)
        return graph.multiply(over, graph.divide(missing, graph.op("Max", graph.luminance(over), CHROMA_EPSILON)))

    luminance = graph.clip(luminance)
    differences = from_luminance(graph, chroma)
    rgb = graph.op("Max", graph.add(luminance, differences), 0)
    scale = graph.divide(luminance, graph.op("Max", graph.luminance(rgb), CHROMA_EPSILON))
    rgb = graph.multiply(rgb, scale)
    for _ in range(2):
        rgb = graph.clip(rgb)
        unclipped = graph.op("Where", graph.op("Less", rgb, graph.constant(1.0)), rgb, graph.constant(0.0))
        rgb = graph.add(rgb, spread(unclipped, graph.luminance(rgb)))
    rgb = graph.clip(rgb)
    rgb = graph.add(rgb, spread(graph.subtract(1, rgb), graph.luminance(rgb)))
    fitted = chroma_of(graph, coloured(graph, luminance, differences), luminance)
    mixed = graph.add(graph.multiply(chroma_of(graph, rgb, luminance), RECORDED), graph.multiply(fitted, 1 - RECORDED))
    highest = graph.add(luminance, graph.op("ReduceMax", differences, graph.constant([1])))
    return graph.op("Where", graph.op("Greater", highest, graph.constant(1.0)), mixed, chroma)


def mean_chroma(graph: FinishGraph, maps: Sequence[str], weights: Sequence[str]) -> str:
    """The weighted mean of two maps, as in `refusion.images.colour.ChromaMean`."""
    weighted = (graph.multiply(x, weight) for x, weight in zip(maps, weights, strict=True))
    return graph.divide(graph.add(*weighted), graph.add(graph.add(*weights), CHROMA_EPSILON))


def from_luminance(graph: FinishGraph, chroma: str) -> str:
    """Red, green and blue minus luminance, (1, 3, H, W)."""
    of_red, of_green, of_blue = LUMINANCE
    from_chroma = np.zeros((3, 2, 1, 1))
    from_chroma[:, 0, 0, 0] = 0, -of_blue * BLUE_DIFFERENCE / of_green, BLUE_DIFFERENCE
    from_chroma[:, 1, 0, 0] = RED_DIFFERENCE, -of_red * RED_DIFFERENCE / of_green, 0
    return graph.op("Conv", chroma, graph.constant(from_chroma), kernel_shape=[1, 1])


def coloured(graph: FinishGraph, luminance: str, differences: str) -> str:
    """RGB of clipped luminance with the saturation reduced to fit, as in `refusion.images.colour.fit_chroma`."""
    luminance = graph.clip(luminance)
    above = graph.op("Greater", differences, graph.constant(0.0))
    room = graph.op("Where", above, graph.subtract(1, luminance), luminance)
    share = graph.divide(room, graph.op("Max", graph.op("Abs", differences), CHROMA_EPSILON))
    share = graph.op("Min", graph.op("ReduceMin", share, graph.constant([1])), 1)
    return graph.clip(graph.add(luminance, graph.multiply(share, differences)))
