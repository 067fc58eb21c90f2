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

from refusion.anchors import anchor_luminance
from refusion.colour import ChromaMean
from refusion.pictures import Picture, PictureError, by
from refusion.pipeline import Network, fuse_luminance, fused_picture
from refusion.ranges import bring_to_range, ends_of
from refusion.tasks import Anchor, ChromaRule, Engine, OutputRange, Task, check_choice

MAX_FRAMES = 50
"""Most pictures that a stack may have."""

STACK_TASKS = ("multi-focus", "multi-exposure")
"""Tasks whose sources are of one kind, so that there can be more than two."""

Source = TypeVar("Source")

_Loader = Callable[[], np.ndarray]

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
    """Fuse a stack; see `refusion.model.ReFusion.fuse_stack` and docs/stacks.md.

    The darkest is fused with the brightest, the next with the next, and their results in pairs again, so that the order
    in which the pictures are given does not matter.

    Args:
        module: the fusion module.
        task: the task it is for.
        sources: two to `MAX_FRAMES` pictures of one size, or what they are read from.
        read: reads one; called more than once for each.
        output_range: what the fused luminance is brought to.
        anchor: what ties it to its sources.
        chroma: where the colour comes from, ``release`` or ``saturation``.
        engine: how the network runs, see `refusion.engines`.
        progress: called before the first step and after each.

    Raises:
        PictureError: a source cannot be read, or the sizes differ.
        ValueError: too few or too many pictures, a task or chroma rule that is for two, or no such output range or
            anchor.
    """
    check_choice("output range", output_range, OutputRange)
    check_choice("anchor", anchor, Anchor)
    _check_stack(task, len(sources), chroma)
    steps = 2 * len(sources) - 1
    report = progress or (lambda done, total: None)
    report(0, steps)

    frames: list[_Frame[Source]] = []
    colour, alpha = ChromaMean(chroma), _AlphaUnion()
    for source in sources:
        picture = read(source)
        _check_size(picture, frames[0].facts if frames else picture)
        colour.add(picture.chroma)
        alpha.add(picture.alpha)
        frames.append(_Frame.of(source, picture))
        report(len(frames), steps)
    frames.sort(key=lambda frame: frame.place)

    counter = itertools.count(len(frames) + 1)

    def step() -> None:
        report(next(counter), steps)

    network = partial(fuse_luminance, module, engine=engine)
    loaders: list[_Loader] = [partial(_luminance, read, frame.source) for frame in frames]
    fused = _in_pairs(network, loaders, anchor, step)
    fused = bring_to_range(fused, [frame.ends for frame in frames], output_range)
    return fused_picture(fused, colour.chroma(), alpha.alpha, [frame.facts for frame in frames], chroma)


def _luminance(read: Callable[[Source], Picture], source: Source) -> np.ndarray:
    return read(source).luminance


def _in_pairs(network: _Network, frames: list[_Loader], anchor: Anchor, on_step: Callable[[], None]) -> np.ndarray:
    """The darkest with the brightest, the next with the next, then the results likewise, until one is left.

    Results wait on disk, so that only a few pictures are in memory.
    """
    with tempfile.TemporaryDirectory(prefix="refusion-") as folder:
        for level in itertools.count():
            half = len(frames) // 2
            results: list[tuple[float, _Loader]] = []
            for index in range(half):
                dark, bright = frames[index](), frames[-1 - index]()
                fused = anchor_luminance(network(dark, bright), dark, bright, anchor)
                on_step()
                if len(frames) == 2:
                    return fused
                path = Path(folder, f"{level}-{index}.npy")
                np.save(path, fused)
                results.append((float(fused.mean(dtype=np.float64)), partial(np.load, path)))
            results += [(float(frame().mean(dtype=np.float64)), frame) for frame in frames[half : len(frames) - half]]
            frames = [loader for _, loader in sorted(results, key=lambda result: result[0])]
    raise AssertionError("two pictures or more always end in one")


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
    if chroma in ("a", "b"):
        raise ValueError(
            f"The chroma rule {chroma} takes the colour of one of two sources; for a stack choose release or "
            "saturation."
        )
