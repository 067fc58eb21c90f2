"""More than two pictures of one scene: focus stacks and exposure brackets."""

import hashlib
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from refusion.images.colour import ChromaMean, choose_chroma
from refusion.images.picture import Picture, PictureError, by
from refusion.inference.anchors import anchor_luminance, choice_shares
from refusion.inference.exposure_blend import blend
from refusion.inference.finishing import Network, fuse_luminance, fused_picture
from refusion.inference.output_range import bring_to_range, ends_of
from refusion.tasks import Anchor, ChromaRule, Engine, OutputRange, Task, check_choice

MAX_FRAMES = 50
"""Most pictures that a stack may have."""

STACK_TASKS = ("multi-focus", "multi-exposure")
"""Tasks whose sources are of one kind, so that there can be more than two."""

Source = TypeVar("Source")

FUSED_WEIGHT = 2.0
"""How much a fused pair counts in a bracket's blend, where a frame counts 1: highlights stay as in the pair."""

_Loader = Callable[[], "_Layer"]

_Fuse = Callable[["_Layer", "_Layer"], "_Layer"]

_Network = Callable[[np.ndarray, np.ndarray], np.ndarray]

Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps."""


def fuse_stack(
    module: Network,
    task: Task,
    sources: Sequence[Source],
    *,
    read: Callable[[Source], Picture],
    output_range: OutputRange,
    anchor: Anchor,
    chroma: ChromaRule,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Picture:
    """Fuse a stack; see `refusion.models.model.ReFusion.fuse_stack` and docs/stacks.md.

    The darkest is fused with the brightest, the next with the next. The results of a focus stack are fused in pairs
    again; those of a bracket of three and more are blended with all its pictures by how well each is exposed (see
    `refusion.inference.exposure_blend`). So the order in which the pictures are given does not matter.

    Args:
        module: the fusion module.
        task: the task it is for.
        sources: two to `MAX_FRAMES` pictures of one size, or what they are read from.
        read: reads one; called more than once for each.
        output_range: what the fused luminance is brought to.
        anchor: what ties it to its sources.
        chroma: where the colour comes from, ``release`` or ``saturation``; for a focus stack also ``choice``.
        engine: how the network runs, see `refusion.inference.engines.dispatch`.
        progress: called before the first step and after each.

    Raises:
        PictureError: a source cannot be read, or the sizes differ.
        ValueError: too few or too many pictures, a task or chroma rule that is for two, or no such output range or
            anchor.
    """
    check_choice("output range", output_range, OutputRange)
    check_choice("anchor", anchor, Anchor)
    _check_stack(task, len(sources), chroma)
    count = len(sources)
    blended = task.name == "multi-exposure" and count > 2
    fusions = count // 2 if blended else count - 1
    steps = count + fusions + (count + fusions if blended else 0)
    counter = itertools.count()

    def step() -> None:
        if progress is not None:
            progress(next(counter), steps)

    step()
    frames: list[_Frame[Source]] = []
    colour, alpha = None if chroma == "choice" else ChromaMean(chroma), _AlphaUnion()
    for source in sources:
        picture = read(source)
        _check_size(picture, frames[0].facts if frames else picture)
        if colour is not None:
            colour.add(picture.chroma)
        alpha.add(picture.alpha)
        frames.append(_Frame.of(source, picture))
        step()
    frames.sort(key=lambda frame: frame.place)

    def load(frame: _Frame[Source]) -> _Layer:
        picture = read(frame.source)
        return _Layer(picture.luminance, picture.chroma if colour is None else None)

    fuse = partial(_fuse_layers, partial(fuse_luminance, module, engine=engine), anchor, colour is None)
    loaders: list[_Loader] = [partial(load, frame) for frame in frames]
    with tempfile.TemporaryDirectory(prefix="refusion-") as folder:
        way = _blended if blended else _in_pairs
        fused = way(fuse, loaders, Path(folder), step)
    luminance = bring_to_range(fused.luminance, (frame.ends for frame in frames), output_range)
    chosen = fused.chroma if colour is None else colour.chroma()
    return fused_picture(luminance, chosen, alpha.alpha, [frame.facts for frame in frames], chroma)


@dataclass(frozen=True)
class _Layer:
    """Luminance (H, W), and chroma (2, H, W) where it follows the luminance and there is any."""

    luminance: np.ndarray
    chroma: np.ndarray | None

    @property
    def brightness(self) -> float:
        return float(self.luminance.mean(dtype=np.float64))

    def store(self, path: Path) -> "_Loader":
        """Write it to a file; the result reads it."""
        np.savez(path, *[x for x in (self.luminance, self.chroma) if x is not None])
        return partial(_stored, path)


def _stored(path: Path) -> _Layer:
    with np.load(path) as arrays:
        return _Layer(arrays["arr_0"], arrays.get("arr_1"))


def _fuse_layers(network: _Network, anchor: Anchor, chooses_colour: bool, a: _Layer, b: _Layer) -> _Layer:
    fused = network(a.luminance, b.luminance)
    shares = choice_shares(fused, a.luminance, b.luminance) if chooses_colour or anchor == "choice" else None
    chroma = choose_chroma(a.chroma, b.chroma, shares) if shares is not None else None
    return _Layer(anchor_luminance(fused, a.luminance, b.luminance, anchor, shares), chroma)


def _in_pairs(fuse: _Fuse, frames: list[_Loader], folder: Path, on_step: Callable[[], None]) -> _Layer:
    """The darkest with the brightest, the next with the next, then the results likewise, until one is left.

    Results wait on disk, so that only a few pictures are in memory.
    """
    for level in itertools.count():
        half = len(frames) // 2
        results: list[tuple[float, _Loader]] = []
        for index in range(half):
            fused = fuse(frames[index](), frames[-1 - index]())
            on_step()
            if len(frames) == 2:
                return fused
            results.append((fused.brightness, fused.store(folder / f"{level}-{index}.npz")))
        results += [(frame().brightness, frame) for frame in frames[half : len(frames) - half]]
        frames = [loader for _, loader in sorted(results, key=lambda result: result[0])]
    raise AssertionError("two pictures or more always end in one")


def _blended(fuse: _Fuse, frames: list[_Loader], folder: Path, on_step: Callable[[], None]) -> _Layer:
    """The darkest with the brightest, the next with the next; these results blended with all frames."""
    pairs = []
    for index in range(len(frames) // 2):
        pairs.append(fuse(frames[index](), frames[-1 - index]()).store(folder / f"{index}.npz"))
        on_step()
    luminances = [partial(_luminance, load) for load in (*pairs, *frames)]
    weights = [FUSED_WEIGHT] * len(pairs) + [1.0] * len(frames)
    return _Layer(blend(luminances, weights, on_step), None)


def _luminance(load: _Loader) -> np.ndarray:
    return load().luminance


@dataclass(frozen=True)
class _Frame(Generic[Source]):
    """What is kept of one picture of the stack between the times it is read.

    Attributes:
        source: where it is read from.
        place: where it stands in the stack: by brightness, and for equal ones by content.
        ends: ends of its luminance.
        facts: the picture without its pixels.
    """

    source: Source
    place: tuple[float, bytes]
    ends: tuple[float, float]
    facts: Picture

    @classmethod
    def of(cls, source: Source, picture: Picture) -> "_Frame[Source]":
        luminance = picture.luminance
        place = float(luminance.mean(dtype=np.float64)), hashlib.sha256(luminance.tobytes()).digest()
        nothing = np.broadcast_to(np.float32(0), luminance.shape)
        facts = replace(picture, luminance=nothing, chroma=None if picture.chroma is None else nothing, alpha=None)
        return cls(source, place, ends_of(luminance), facts)


class _AlphaUnion:
    """Alpha of the fused picture: the largest of all, if all pictures have one."""

    def __init__(self) -> None:
        self.alpha: np.ndarray | None = None
        self._missing = False

    def add(self, alpha: np.ndarray | None) -> None:
        self._missing |= alpha is None
        if self._missing or alpha is None:
            self.alpha = None
        else:
            self.alpha = alpha if self.alpha is None else np.maximum(self.alpha, alpha)


def _check_size(picture: Picture, first: Picture) -> None:
    if picture.size != first.size:
        raise PictureError(
            f"All pictures of a stack must show the same scene pixel for pixel, but {first.name} is "
            f"{by(first.size)} and {picture.name} is {by(picture.size)} (width x height)."
        )


def _check_stack(task: Task, count: int, chroma: ChromaRule) -> None:
    if task.name not in STACK_TASKS:
        raise ValueError(
            f"The task {task.name} fuses two pictures of different kinds; a stack is for {' or '.join(STACK_TASKS)}."
        )
    if not 2 <= count <= MAX_FRAMES:
        raise ValueError(f"A stack has 2 to {MAX_FRAMES} pictures, but {count} were given.")
    accepted = ("choice", "release", "saturation") if task.name == "multi-focus" else ("release", "saturation")
    if chroma not in accepted:
        raise ValueError(f"The chroma rule {chroma} is not for a {task.name} stack; choose {' or '.join(accepted)}.")
