"""The steps after the network as an ONNX graph: anchor, output range and colour, selected by its inputs.

The result is that of `refusion.inference.finishing.finish_pair` up to rounding, for programs without NumPy and OpenCV.
A grey source has no chroma here either: red, green and blue are equal, and their differences from luminance are zero.
"""

from collections.abc import Callable, Sequence

import numpy as np
from onnx import ModelProto, TensorProto

from refusion.inference.anchors import (
    CHOICE_DETAIL,
    CHOICE_FLOOR,
    CHOICE_SHARPNESS,
    CHOICE_WINDOWS,
    GUIDED_FLOOR,
    GUIDED_WINDOW,
    HEAT_GIVEN,
    HOT,
    KEPT_EXCESS,
    MIN_VARIANCE,
    SEAM_SHARPNESS,
    SEAM_STEP,
    SEAM_WINDOW,
    SOFT_SEAM,
)
from refusion.inference.engines.onnx_builder import SIDES
from refusion.inference.engines.onnx_colour import (
    chroma_of,
    coloured,
    distance_of_both,
    distance_of_each,
    exposed_chroma,
    from_luminance,
    mean_chroma,
)
from refusion.inference.engines.onnx_finish_graph import FinishGraph
from refusion.inference.output_range import COLOURED, MAX_GAIN, MIDDLE, MIN_SPAN, OUTLIERS, PALER, SHOULDER
from refusion.tasks import CHOICES, CONTRAST, Anchor, ChromaRule, OutputRange


def finish_graph() -> ModelProto:
    """The graph of the steps after the network.

    Its inputs are ``a`` and ``b``, RGB in [0, 1], (1, 3, height, width), the fused luminance ``fused``,
    (1, 1, height, width), and an int64 scalar for each of `refusion.tasks.CHOICES`, the index of the chosen one. Its
    output is ``rgb``, (1, 3, height, width), in [0, 1].
    """
    graph = FinishGraph()
    a, b = (graph.given(name, [1, 3, *SIDES]) for name in "ab")
    return graph.model(_finish(graph, a, b, graph.given("fused", [1, 1, *SIDES])))


def finished_graph(network: ModelProto) -> ModelProto:
    """The network and the steps after it in one graph, like `finish_graph` but without the input ``fused``.

    Args:
        network: the graph of `refusion.inference.engines.onnx_graph.whole`.
    """
    graph = FinishGraph()
    a, b = (graph.given(name, [1, 3, *SIDES]) for name in "ab")
    fused = graph.insert(network, {"a": graph.luminance(a), "b": graph.luminance(b)})
    return graph.model(_finish(graph, a, b, fused))


def _finish(graph: FinishGraph, a: str, b: str, fused: str) -> str:
    for name in CHOICES:
        graph.given(name, [], TensorProto.INT64)
    sources = [graph.luminance(x) for x in (a, b)]
    chooses = graph.op("Or", graph.is_chosen("anchor", "choice"), graph.is_chosen("chroma", "choice"))
    shares = graph.either(chooses, lambda: _choice_shares(graph, fused, *sources), lambda: fused)
    anchors: dict[Anchor, Callable[[], str]] = {
        "guided": lambda: _between(graph, _guided(graph, fused, *sources), *sources),
        "choice": lambda: _between(graph, _mixed(graph, shares, *sources), *sources),
        "bounds": lambda: _between(graph, fused, *sources),
        "none": lambda: fused,
        "detail": lambda: _detailed(graph, "detail", fused, *sources),
        "full-detail": lambda: _detailed(graph, "full-detail", fused, *sources),
        "heat": lambda: _heated(graph, _detailed(graph, "heat", fused, *sources), sources[0]),
    }
    luminance = graph.choose("anchor", anchors)
    of_a, of_b = (chroma_of(graph, *pair) for pair in zip((a, b), sources, strict=True))
    rules: dict[ChromaRule, Callable[[], str]] = {
        "exposure": lambda: exposed_chroma(graph, luminance, (a, b), (of_a, of_b)),
        "release": lambda: mean_chroma(graph, (of_a, of_b), [distance_of_each(graph, x) for x in (of_a, of_b)]),
        "saturation": lambda: mean_chroma(graph, (of_a, of_b), [distance_of_both(graph, x) for x in (of_a, of_b)]),
        "choice": lambda: _mixed(graph, shares, of_a, of_b),
        "a": lambda: of_a,
        "b": lambda: of_b,
    }
    differences = from_luminance(graph, graph.choose("chroma", rules))
    ranges: dict[OutputRange, Callable[[], str]] = {
        "sources": lambda: _as_sources(graph, luminance, sources),
        "contrast": lambda: _bent(graph, luminance),
        "robust": lambda: _robust(graph, luminance, differences),
        "stretch": lambda: _scaled(graph, luminance, _extremes(graph, luminance), (0, 1)),
        "network": lambda: luminance,
    }
    return coloured(graph, graph.choose("output_range", ranges), differences)


def _between(graph: FinishGraph, x: str, a: str, b: str) -> str:
    return graph.op("Min", graph.op("Max", x, graph.op("Min", a, b)), graph.op("Max", a, b))


def _detailed(graph: FinishGraph, anchor: Anchor, fused: str, a: str, b: str) -> str:
    """The anchors ``detail`` and ``full-detail``; see `refusion.inference.anchors.anchor_luminance`."""
    x = _guided(graph, fused, a, b)
    brighter = graph.op("Max", a, b)
    lows, highs = zip(_extremes(graph, a), _extremes(graph, b), strict=True)
    lowest, highest = graph.op("Min", *lows), graph.op("Max", *highs)
    span = graph.op("Max", graph.subtract(highest, lowest), MIN_SPAN)
    height = graph.divide(graph.subtract(brighter, lowest), span)
    share = graph.multiply(graph.multiply(height, KEPT_EXCESS[anchor]), graph.subtract(1, height))
    share = graph.op("Min", share, 1)
    (distance,) = graph.means(GUIDED_WINDOW, graph.op("Abs", graph.subtract(a, b)))
    excess = graph.op("Min", graph.op("Max", graph.subtract(x, brighter), 0), distance)
    return graph.add(_between(graph, x, a, b), graph.multiply(excess, share))


def _heated(graph: FinishGraph, fused: str, a: str) -> str:
    """What the anchor ``heat`` makes brighter; see `refusion.inference.anchors.anchor_luminance`."""
    above = graph.subtract(a, _mean(graph, a))
    deviation = graph.op("Sqrt", _mean(graph, graph.multiply(above, above)))
    hot = graph.clip(graph.subtract(graph.divide(above, graph.op("Max", deviation, MIN_SPAN)), HOT))
    lacking = graph.subtract(above, graph.subtract(fused, _mean(graph, fused)))
    added = graph.multiply(graph.multiply(hot, graph.op("Max", lacking, 0)), HEAT_GIVEN)
    _, highest = _percentiles(graph, fused)
    return graph.op("Max", fused, graph.op("Min", graph.add(fused, added), highest))


def _mixed(graph: FinishGraph, shares: str, a: str, b: str) -> str:
    return graph.add(b, graph.multiply(shares, graph.subtract(a, b)))


def _guided(graph: FinishGraph, fused: str, a: str, b: str) -> str:
    """`refusion.inference.anchors.guided_by_sources`."""
    floor = _floor(graph, GUIDED_FLOOR, a, b)
    centre, *of_sources = (_mean(graph, x) for x in (fused, a, b))
    fused, a, b = (graph.subtract(x, mean) for x, mean in zip((fused, a, b), (centre, *of_sources), strict=True))
    products = (graph.multiply(x, y) for x, y in ((a, a), (b, b), (a, b), (a, fused), (b, fused)))
    mean_fused, mean_a, mean_b, *of_products = graph.means(GUIDED_WINDOW, fused, a, b, *products)
    means = ((mean_a, mean_a), (mean_b, mean_b), (mean_a, mean_b), (mean_a, mean_fused), (mean_b, mean_fused))
    a_a, b_b, a_b, a_fused, b_fused = (
        graph.subtract(product, graph.multiply(x, y)) for product, (x, y) in zip(of_products, means, strict=True)
    )
    a_a, b_b = graph.add(a_a, floor), graph.add(b_b, floor)

    def determinant(x: str, y: str, z: str, w: str) -> str:
        return graph.subtract(graph.multiply(x, y), graph.multiply(z, w))

    whole = determinant(a_a, b_b, a_b, a_b)
    p = graph.divide(determinant(b_b, a_fused, a_b, b_fused), whole)
    q = graph.divide(determinant(a_a, b_fused, a_b, a_fused), whole)
    c = graph.subtract(mean_fused, graph.add(graph.multiply(p, mean_a), graph.multiply(q, mean_b)))
    p, q, c = graph.means(GUIDED_WINDOW, p, q, c)
    return graph.op("Sum", graph.multiply(p, a), graph.multiply(q, b), c, centre)


def _choice_shares(graph: FinishGraph, fused: str, a: str, b: str) -> str:
    """`refusion.inference.anchors.choice_shares`."""
    floor = _floor(graph, CHOICE_FLOOR, a, b)
    (mean_difference,) = graph.means(CHOICE_DETAIL, graph.subtract(a, b))
    maps = fused, a, b
    of_detail = zip(maps, graph.means(CHOICE_DETAIL, *maps), strict=True)
    fused, a, b = (graph.subtract(x, mean) for x, mean in of_detail)
    difference = graph.subtract(a, b)
    squared = graph.multiply(difference, difference)
    along = graph.subtract(graph.multiply(difference, graph.subtract(fused, b)), graph.multiply(squared, 0.5))
    weighted = [
        [graph.multiply(mean, weight) for mean in graph.means(window, along, squared)]
        for window, weight in CHOICE_WINDOWS.items()
    ]
    along, squared = (graph.op("Sum", *means) for means in zip(*weighted, strict=True))
    share = graph.divide(graph.multiply(along, CHOICE_SHARPNESS), graph.add(squared, floor))
    evened, step = graph.means(SEAM_WINDOW, graph.clip(graph.add(share, 0.5)), graph.op("Abs", mean_difference))
    deviation = graph.op("Sqrt", graph.divide(floor, CHOICE_FLOOR))
    softness = graph.clip(graph.divide(step, graph.multiply(deviation, SEAM_STEP)))
    sharpness = graph.add(graph.multiply(softness, SOFT_SEAM - SEAM_SHARPNESS), SEAM_SHARPNESS)
    return graph.clip(graph.add(graph.multiply(graph.subtract(evened, 0.5), sharpness), 0.5))


def _mean(graph: FinishGraph, x: str) -> str:
    return graph.op("ReduceMean", x, keepdims=0)


def _floor(graph: FinishGraph, share: float, a: str, b: str) -> str:
    """A fraction of the variance of the pair."""
    centred = [graph.subtract(x, _mean(graph, x)) for x in (a, b)]
    variances = [_mean(graph, graph.multiply(x, x)) for x in centred]
    return graph.multiply(graph.op("Max", graph.multiply(graph.add(*variances), 0.5), MIN_VARIANCE), share)


def _percentiles(graph: FinishGraph, luminance: str) -> tuple[str, str]:
    """`refusion.inference.output_range.ends_of`, each of shape (1,)."""
    flat = graph.op("Reshape", luminance, graph.constant([-1]))
    last = graph.op("Cast", graph.op("Sub", graph.op("Size", flat), graph.constant(1)), to=TensorProto.FLOAT)
    place = graph.multiply(last, OUTLIERS / 100)
    before = graph.op("Floor", place)
    count = graph.op("Reshape", graph.op("Cast", graph.add(before, 2), to=TensorProto.INT64), graph.constant([1]))
    first = graph.op("Reshape", graph.op("Cast", before, to=TensorProto.INT64), graph.constant([1]))
    ends = []
    for largest in (0, 1):
        values, _ = graph.results(2, "TopK", flat, count, axis=0, largest=largest, sorted=1)
        one = graph.op("Gather", values, first)
        other = graph.op("Gather", values, graph.op("Add", first, graph.constant(1)))
        ends.append(graph.add(one, graph.multiply(graph.subtract(place, before), graph.subtract(other, one))))
    low, high = ends
    return low, high


def _extremes(graph: FinishGraph, luminance: str) -> tuple[str, str]:
    low, high = (graph.op(kind, luminance, keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
    return low, high


def _common(graph: FinishGraph, sources: Sequence[str]) -> tuple[str, str]:
    lows, highs = zip(*(_percentiles(graph, x) for x in sources), strict=True)
    return graph.op("Min", *lows), graph.op("Max", *highs)


def _as_sources(graph: FinishGraph, luminance: str, sources: Sequence[str]) -> str:
    """The output range ``sources``; see `refusion.inference.output_range.find_range`."""
    low, high = _percentiles(graph, luminance)
    lowest, highest = _common(graph, sources)
    widest = graph.multiply(graph.subtract(high, low), MAX_GAIN)
    lowest = graph.op("Max", lowest, graph.subtract(highest, widest))
    return _scaled(graph, luminance, (low, high), (lowest, highest), spares_highlights=True)


def _scaled(
    graph: FinishGraph,
    luminance: str,
    given: tuple[str, str],
    wanted: tuple[str | float, str | float],
    spares_highlights: bool = False,
) -> str:
    """`refusion.inference.output_range.Range.apply`, unless the luminance is constant."""
    (low, high), (lowest, highest) = given, wanted
    span = graph.subtract(high, low)
    share = graph.divide(graph.subtract(luminance, low), graph.op("Max", span, MIN_SPAN))
    if spares_highlights:
        inverse = graph.divide(span, graph.op("Max", graph.subtract(highest, lowest), MIN_SPAN))
        bend = graph.op("Max", graph.subtract(1, inverse), 0)
        inside = graph.clip(share)
        added = graph.multiply(inside, graph.subtract(1, inside))
        added = graph.subtract(added, graph.op("Abs", graph.subtract(share, inside)))
        share = graph.add(share, graph.multiply(bend, added))
    scaled = graph.clip(graph.add(lowest, graph.multiply(graph.subtract(highest, lowest), share)))
    return graph.op("Where", graph.op("Less", span, graph.constant(MIN_SPAN)), luminance, scaled)


def _robust(graph: FinishGraph, luminance: str, differences: str) -> str:
    """The output range ``robust``; see `refusion.inference.output_range.find_range`."""
    low, high = _percentiles(graph, luminance)
    excess = graph.op("ReduceMax", differences, graph.constant([1]))
    coloured = graph.op("Greater", excess, graph.constant(COLOURED))
    brightness = graph.op("Max", graph.subtract(luminance, low), MIN_SPAN)
    gains = graph.op("Where", coloured, graph.divide(graph.subtract(1, excess), brightness), graph.constant(np.inf))
    count = graph.op("ReduceSum", graph.op("Cast", coloured, to=TensorProto.INT64), keepdims=0)
    count = graph.op("Div", graph.op("Add", count, graph.constant(PALER - 1)), graph.constant(PALER))
    count = graph.op("Reshape", graph.op("Max", count, graph.constant(1)), graph.constant([1]))
    flat = graph.op("Reshape", gains, graph.constant([-1]))
    smallest, _ = graph.results(2, "TopK", flat, count, axis=0, largest=0, sorted=1)
    gain = graph.op("Max", graph.op("Gather", smallest, graph.op("Sub", count, graph.constant(1))), 1)
    highest = graph.op("Min", graph.multiply(graph.subtract(high, low), gain), 1)
    return _scaled(graph, luminance, (low, high), (0, highest))


def _bent(graph: FinishGraph, luminance: str) -> str:
    """The output range ``contrast``."""
    difference = graph.subtract(luminance, MIDDLE)
    side = graph.op("Where", graph.op("Less", difference, graph.constant(0.0)), graph.constant(MIDDLE), 1 - MIDDLE)
    share = graph.divide(graph.op("Abs", difference), side)
    added = graph.op("Pow", share, SHOULDER - 1)
    slope = graph.subtract(CONTRAST, graph.multiply(added, CONTRAST - 1))
    return graph.clip(graph.add(graph.multiply(difference, slope), MIDDLE))
