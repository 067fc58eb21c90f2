"""Fuse more than two images of one scene: focus stacks and exposure brackets."""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from PIL.Image import Image

from refusion.images.colour import ChromaMean
from refusion.images.frames import frames_of
from refusion.images.naming import told_apart
from refusion.images.picture import MAX_FRAMES, Picture, PictureError, by
from refusion.images.roles import bracket_notes, exposure_notes
from refusion.images.scans import scan_notes
from refusion.images.sources import PictureSource
from refusion.inference.blank_borders import KeptBorders
from refusion.inference.exposure_blend import exposedness
from refusion.inference.finishing import Fused, fused_picture
from refusion.inference.ghosts import without_ghosts
from refusion.inference.moving import cropped, shown_part
from refusion.inference.network import Network, fuse_luminance
from refusion.inference.options import FinishOptions, Options
from refusion.inference.output_range import bring_to_range, ends_of
from refusion.inference.preparation import over
from refusion.inference.stack_layers import Layer, Loader, blend_pairs, fuse_layers, merge_in_pairs
from refusion.inference.stack_reading import OffsetNotes, StackReader
from refusion.system.advice import Advised
from refusion.system.lists import were_given
from refusion.tasks import TASKS, Anchor, ChromaRule, MeanRule, Task

STACK_TASKS = tuple(task.name for task in TASKS.values() if task.one_camera)
"""Tasks that accept more than two sources."""

STACK_ANCHORS: tuple[Anchor, ...] = ("guided", "choice", "bounds", "none")
"""Anchors for a stack. The others are for images of different kinds: no image of a stack shows heat, and no detail is
brighter than in all of them."""

Progress = Callable[[int, int], None]
"""Called with the number of finished steps and of all steps."""

_ODD_SHOWN = 3
"""Number of images named in a note on odd ones, and of notes of one kind on such images."""


def stack_colours(task: Task) -> tuple[ChromaRule, ...]:
    """The colour rules for a stack of a task: its images have no roles, so none of them gives the colour of all."""
    return (*get_args(MeanRule), *(("choice",) if task.name == "multi-focus" else ()))


def fuse_stack(
    network: Network,
    sources: Sequence[PictureSource] | str | os.PathLike,
    options: Options,
    task: Task,
    progress: Progress | None = None,
) -> Fused:
    """Fuse a stack; see docs/stacks.md.

    The darkest image is fused with the brightest, the second darkest with the second brightest, and so on. The results
    of a focus stack are fused in pairs again; those of a bracket of three or more are blended with all its images by
    exposure (see `refusion.inference.exposure_blend`). The order of the images does not matter, except for alignment,
    which moves the others onto the first.

    Args:
        network: a loaded model.
        sources: two to `MAX_FRAMES` images of one size, any iterable, or a TIFF file that holds all of them. Paths are
            read more than once, so that only a few images are in memory.
        options: options of fusing; `chroma` is one of `refusion.tasks.MeanRule`, for a focus stack also ``choice``, and
            `anchor` one of `STACK_ANCHORS`.
        task: the task, one of `STACK_TASKS`.
        progress: called before the first step and after each.

    Raises:
        PictureError: a source cannot be read, or the sizes differ.
        ValueError: there are too few or too many images, or the task or an option is for pairs only.
    """
    if isinstance(sources, str | os.PathLike):
        sources = frames_of(sources) or [sources]
    sources = list(sources)
    count = len(sources)
    finish = options.for_task(task, count)
    _check_stack(task, count, finish, options)
    exposures = task.name == "multi-exposure"
    blended = exposures and count > 2
    deghosted = blended and options.deghost
    step = _stepper(progress, count, blended=blended, deghosted=deghosted)
    step()
    motion = options.motion(task, count)
    reading = options.reading(task)
    sources = options.plain(sources)
    read = StackReader(sources, options, reading, reading.windows(sources), _names(sources), motion, exposures)
    colour = None if finish.chroma == "choice" else ChromaMean(finish.chroma)
    seen = _survey(read, count, None if deghosted else colour, step)
    frames = sorted(seen.frames, key=lambda frame: frame.place)
    notes = _notes(seen, task)

    def load(frame: _Frame) -> Layer:
        picture = read(frame.index)
        if seen.ground is not None:
            picture = over(picture, seen.ground)
        return Layer(picture.luminance, picture.chroma if colour is None or deghosted else None)

    def settle(index: int, layer: Layer) -> None:
        if colour is not None:
            colour.add(replace(frames[index].facts, luminance=layer.luminance, chroma=layer.chroma))
        step()

    run = partial(fuse_luminance, network, engine=options.engine)
    fuse = partial(fuse_layers, run, finish.anchor, colour is None)
    loaders: list[Loader] = [partial(load, frame) for frame in frames]
    with tempfile.TemporaryDirectory(prefix="refusion-") as folder:
        if deghosted:
            reference = max(range(count), key=lambda index: frames[index].exposed)
            loaders, share = without_ghosts(loaders, reference, Path(folder), settle, read.shown)
            notes += [_ghost_note(share, frames[reference].facts.name)] if share > 0 else []
        merge = blend_pairs if blended else merge_in_pairs
        fused = merge(fuse, loaders, Path(folder), step)
    chosen = fused.chroma if colour is None else colour.chroma(fused.luminance)
    luminance = bring_to_range(fused.luminance, (frame.ends for frame in frames), finish.output_range, chosen)
    picture = fused_picture(luminance, chosen, seen.alpha, [frame.facts for frame in frames], finish.chroma)
    if read.shown is not None and options.align_border == "crop":
        picture = replace(cropped(picture, *shown_part(read.shown)), geo=())
    return Fused(picture, (*reading.notes([frame.facts for frame in frames]), *notes, *read.notes))


def _stepper(progress: Progress | None, count: int, *, blended: bool, deghosted: bool) -> Callable[[], None]:
    """A function to be called before the first step and after each, which reports the progress."""
    fusions = count // 2 if blended else count - 1
    steps = (count + fusions) * (2 if blended else 1) + (count if deghosted else 0)
    done = itertools.count()

    def step() -> None:
        if progress is not None:
            progress(next(done), steps)

    return step


@dataclass(frozen=True)
class _Survey:
    """What is known of a stack after its images were read once.

    Attributes:
        frames: the data kept for each image, in the order given.
        ground: what shows through where an image is transparent; None if none is.
        alpha: alpha of the fused image, or None.
        notes: notes on images that lie off the one before, and on blank borders.
    """

    frames: list["_Frame"]
    ground: Picture | None
    alpha: np.ndarray | None
    notes: list[str]


def _survey(read: StackReader, count: int, colour: ChromaMean | None, step: Callable[[], None]) -> _Survey:
    """Read all images once, in the order given.

    Raises:
        PictureError: an image cannot be read, or the sizes differ.
    """
    frames: list[_Frame] = []
    ground: Picture | None = None
    is_transparent = False
    alpha, offsets, borders = _AlphaUnion(), OffsetNotes(read.motion), KeptBorders()
    for index in range(count):
        picture = read(index)
        _check_size(picture, frames[0].facts if frames else picture)
        offsets.look_at(picture)
        borders.look_at(picture)
        alpha.add(picture.alpha)
        is_transparent |= picture.alpha is not None
        ground = picture if ground is None else over(ground, picture)
        picture = over(picture, ground)
        if colour is not None:
            colour.add(picture)
        frames.append(_Frame.of(index, picture))
        step()
    return _Survey(frames, ground if is_transparent else None, alpha.alpha, [*offsets.notes, *borders.notes])


def _notes(seen: _Survey, task: Task) -> list[str]:
    """Notes on what was seen of the images: offsets, odd ones, scans and exposures."""
    first, *others = (frame.facts for frame in seen.frames)
    scans = [note for other in others for note in scan_notes(first, other)]
    notes = [*seen.notes, *_odd_ones(seen.frames), *scans[:_ODD_SHOWN]]
    if task.name == "multi-focus":
        notes += exposure_notes([(frame.facts.name, frame.place[0]) for frame in seen.frames])[:_ODD_SHOWN]
    if task.name == "multi-exposure":
        notes += bracket_notes([frame.place[0] for frame in seen.frames])
    return notes


def _ghost_note(share: float, name: str) -> str:
    return Advised(
        f"Something moved between the images; it is shown as in {name}, which replaces up to {100 * share:.2g} % of "
        "another image",
        "--no-deghost (deghost=False) keeps the images as they are",
    )


def _names(sources: Sequence[PictureSource]) -> list[str]:
    """Names for messages; those of arrays and Pillow images, which have none, are their places in the stack."""
    named = enumerate(zip(sources, told_apart(sources), strict=True), 1)
    return [f"Image {place}" if isinstance(one, np.ndarray | Image) else name for place, (one, name) in named]


def _odd_ones(frames: "Sequence[_Frame]") -> list[str]:
    """Notes on images that seem to be in the stack by mistake."""
    notes = []
    first: dict[bytes, str] = {}
    for frame in frames:
        content, name = frame.place[1], frame.facts.name
        if content in first:
            notes.append(f"{first[content]} and {name} are the same image; it counts twice.")
        first.setdefault(content, name)
    coloured = [frame.facts.chroma is not None for frame in frames]
    mostly_grey = sum(coloured) * 2 < len(coloured)
    odd = [frame.facts.name for frame, colour in zip(frames, coloured, strict=True) if colour == mostly_grey]
    if odd and len(frames) > 2 and any(coloured):
        kinds = ("in colour", "grey") if mostly_grey else ("grey", "in colour")
        if len(odd) == 1:
            notes.append(f"{odd[0]} is {kinds[0]} and the others are {kinds[1]}; look whether it belongs to the stack.")
        else:
            shown = f"{', '.join(odd[:_ODD_SHOWN])}{', ...' if len(odd) > _ODD_SHOWN else ''}"
            notes.append(
                f"{len(odd)} of the {len(frames)} images are {kinds[0]} ({shown}) and the others are {kinds[1]}; look "
                "whether all belong to the stack."
            )
    return notes


@dataclass(frozen=True)
class _Frame:
    """The data kept for one image of the stack between reads.

    Attributes:
        index: index among the sources.
        place: sort key: the brightness, and for equal ones a hash of the content.
        ends: ends of the range of its luminance.
        exposed: how well its pixels are exposed, see `refusion.inference.exposure_blend.exposedness`; in [0, 1].
        facts: the image without its pixels.
    """

    index: int
    place: tuple[float, bytes]
    ends: tuple[float, float]
    exposed: float
    facts: Picture

    @classmethod
    def of(cls, index: int, picture: Picture) -> "_Frame":
        luminance = picture.luminance
        place = float(luminance.mean(dtype=np.float64)), hashlib.sha256(luminance.tobytes()).digest()
        exposed = float(exposedness(luminance).mean(dtype=np.float64))
        return cls(index, place, ends_of(luminance), exposed, picture.without_pixels())


class _AlphaUnion:
    """Alpha of the fused image: the maximum over all images, if all have alpha."""

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
            Advised(
                f"All images of a stack must show the same scene pixel for pixel, but {first.name} is {by(first.size)} "
                f"and {picture.name} is {by(picture.size)} (width x height)",
                "leave it out, or resize all to the first image (--resize a, resize='a')",
                "leave it out, or scale it to that size",
            )
        )


def _check_stack(task: Task, count: int, finish: FinishOptions, options: Options) -> None:
    if not task.one_camera:
        raise ValueError(
            Advised(
                f"The task {task.name} fuses two images of different kinds, but {were_given(count)}",
                "choose the task of the stack, " + " or ".join(f"--task {one} (task='{one}')" for one in STACK_TASKS),
                f"a stack is for {' or '.join(STACK_TASKS)}",
            )
        )
    if not 2 <= count <= MAX_FRAMES:
        given = f"A stack has 2 to {MAX_FRAMES} images, but {were_given(count)}"
        if count < 2:
            raise ValueError(f"{given}.")
        raise ValueError(
            Advised(
                given,
                f"fuse up to {MAX_FRAMES} neighbours at a time, then the results; ask for the output range network "
                "each time (--output-range network), so that no contrast is added again and again",
                "choose fewer",
            )
        )
    for what, chosen, accepted in (
        ("chroma rule", finish.chroma, stack_colours(task)),
        ("anchor", finish.anchor, STACK_ANCHORS),
    ):
        if chosen not in accepted:
            raise ValueError(f"The {what} {chosen} is not for a {task.name} stack; choose {' or '.join(accepted)}.")
    if options.resize not in (None, "a"):
        raise ValueError(f"A stack is resized to its first image only (a), but {options.resize} was asked for.")
