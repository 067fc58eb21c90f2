"""`fuse` and `fuse_many`: pictures in, fused picture out, with everything that can be asked for."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from refusion.alignment import Alignment, Border, Motion, move, sure_alignment
from refusion.decoding import MAX_PIXELS, PictureSource, Window, read_picture
from refusion.encoding import save_picture, to_array
from refusion.engines import Engine
from refusion.model import ReFusion, as_image
from refusion.pictures import Picture, PictureError
from refusion.pipeline import fuse_pictures
from refusion.preparation import Prepared, Resize, prepare_pair, resize_pair
from refusion.stacks import fuse_stack
from refusion.tasks import Anchor, ChromaRule, OutputRange, get_task

AHEAD = 2
"""Pairs that `fuse_many` reads while one is fused."""

Model = ReFusion | str | Path
"""A loaded model, or what `ReFusion.from_pretrained` takes."""


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused picture.

    Attributes:
        picture: luminance and chroma, with alpha, profile and EXIF data.
        notes: what a person should know, as sentences: sources that look misaligned, how one was moved, and so on.
        alignment: how the second source was moved, if it was.
    """

    picture: Picture
    notes: tuple[str, ...] = ()
    alignment: Alignment | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.size

    def to_image(self, bits: int | None = None) -> Image.Image:
        """A Pillow image, see `refusion.model.ReFusion.fuse`."""
        return as_image(self.picture, bits)

    def to_array(self, bits: int | None = None) -> np.ndarray:
        """Whole levels, uint8 or uint16, (H, W) or channels last; as deep as the deepest source if not told."""
        return to_array(self.picture, bits or self.picture.bits)

    def save(self, path: str | os.PathLike, bits: int | None = None) -> None:
        """Write a file, see `refusion.encoding.save_picture`."""
        save_picture(self.picture, path, bits)


@dataclass(frozen=True)
class Options:
    """What `fuse` and `fuse_many` can be asked for, see there."""

    output_range: OutputRange | None = None
    anchor: Anchor | None = None
    chroma: ChromaRule | None = None
    window: Window | None = None
    resize: Resize | None = None
    align: Motion | bool = False
    align_border: Border = "fill"
    max_pixels: int = MAX_PIXELS
    engine: Engine | None = None
    temperatures: bool = False

    @property
    def motion(self) -> Motion | None:
        """The motion to align by, if any."""
        return "euclidean" if self.align is True else self.align or None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one pair of many.

    Attributes:
        index: its place, from 0.
        fused: the fused picture, or None if it failed.
        error: why it failed, or None.
    """

    index: int
    fused: Fused | None = None
    error: ValueError | OSError | None = None


def fuse(
    sources: Sequence[PictureSource],
    *,
    task: str | None = None,
    model: Model | None = None,
    output_range: OutputRange | None = None,
    anchor: Anchor | None = None,
    chroma: ChromaRule | None = None,
    window: Window | None = None,
    resize: Resize | None = None,
    align: Motion | bool = False,
    align_border: Border = "fill",
    max_pixels: int = MAX_PIXELS,
    engine: Engine | None = None,
    temperatures: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Fused:
    """Fuse a pair, or a stack of up to fifty pictures.

    Args:
        sources: two pictures in the order of the task, or a stack in any order (with aligning, the others are moved
            onto the first). Each is a path, an open file, a Pillow image, an array, or a `Picture`.
        task: name of the task; the model's if not given, or ir-vis.
        model: a loaded model, bare name, folder or OWNER/NAME; the task's own if not given.
        output_range: see `ReFusion.fuse`.
        anchor: see `ReFusion.fuse`.
        chroma: see `refusion.colour.fuse_chroma`.
        window: black and white of sources with more than 8 bits, see `refusion.decoding.read_picture`.
        resize: which size all get if sizes differ; in a stack only ``a``, that of the first.
        align: the motion to align by, or True for ``euclidean``, see `refusion.alignment.align`.
        align_border: see `refusion.alignment.align`; in a stack only ``fill``.
        max_pixels: most pixels accepted.
        engine: see `ReFusion.fuse`.
        temperatures: of radiometric JPEGs, see `refusion.decoding.read_picture`.
        progress: for stacks, see `ReFusion.fuse_stack`.

    Raises:
        PictureError: a source cannot be read, or they do not match.
        ModelError: the model cannot be loaded.
        ValueError: there is no such choice.
    """
    options = Options(
        output_range, anchor, chroma, window, resize, align, align_border, max_pixels, engine, temperatures
    )
    if not len(sources) >= 2:
        raise ValueError(f"Fusion needs two pictures or more, but {len(sources)} were given.")
    loaded = load(task, model)
    if len(sources) == 2:
        return fuse_prepared(loaded, _prepare(sources, options, task or loaded.task.name), options, task)
    return _fuse_stack(loaded, sources, options, task, progress)


def fuse_many(
    pairs: Iterable[Sequence[PictureSource]],
    *,
    task: str | None = None,
    model: Model | None = None,
    output_range: OutputRange | None = None,
    anchor: Anchor | None = None,
    chroma: ChromaRule | None = None,
    window: Window | None = None,
    resize: Resize | None = None,
    align: Motion | bool = False,
    align_border: Border = "fill",
    max_pixels: int = MAX_PIXELS,
    engine: Engine | None = None,
    temperatures: bool = False,
) -> Iterator[Outcome]:
    """Fuse pairs one after the other; the next ones are read meanwhile.

    Args:
        pairs: two sources each, as in `fuse`; taken one by one as they are needed.
        task: see `fuse`, as the other arguments.
        model: see `fuse`.
        output_range: see `fuse`.
        anchor: see `fuse`.
        chroma: see `fuse`.
        window: see `fuse`.
        resize: see `fuse`.
        align: see `fuse`.
        align_border: see `fuse`.
        max_pixels: see `fuse`.
        engine: see `fuse`.
        temperatures: see `fuse`.

    Yields:
        What became of each pair, in their order; a pair that cannot be fused does not stop the others.

    Raises:
        ModelError: the model cannot be loaded.
        ValueError: there is no such task.
    """
    options = Options(
        output_range, anchor, chroma, window, resize, align, align_border, max_pixels, engine, temperatures
    )
    loaded = load(task, model)
    prepare = partial(_prepare, options=options, task=task or loaded.task.name)
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="refusion-read") as pool:
        waiting: deque[tuple[int, Future[Prepared]]] = deque()
        numbered = enumerate(pairs)
        try:
            while True:
                while len(waiting) < AHEAD and (coming := next(numbered, None)) is not None:
                    waiting.append((coming[0], pool.submit(prepare, coming[1])))
                if not waiting:
                    return
                index, future = waiting.popleft()
                try:
                    outcome = Outcome(index, fuse_prepared(loaded, future.result(), options, task))
                except (ValueError, OSError) as error:
                    outcome = Outcome(index, error=error)
                yield outcome
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def load(task: str | None, model: Model | None) -> ReFusion:
    """The model that is asked for, or the task's own, or that for ir-vis.

    Raises:
        ModelError: it cannot be loaded.
        ValueError: there is no such task.
    """
    chosen = get_task(task or "ir-vis")
    if isinstance(model, ReFusion):
        return model
    return ReFusion.from_pretrained(chosen.model if model is None else model)


def fuse_prepared(model: ReFusion, pair: Prepared, options: Options, task: str | None = None) -> Fused:
    """Fuse two sources that were made ready."""
    chosen = get_task(task) if task else model.task
    fused = fuse_pictures(
        model,
        pair.a,
        pair.b,
        output_range=options.output_range or chosen.output_range,
        anchor=options.anchor or chosen.anchor,
        chroma=options.chroma or chosen.chroma,
        engine=options.engine,
    )
    return Fused(fused, pair.notes, pair.alignment)


def _prepare(pair: Sequence[PictureSource], options: Options, task: str) -> Prepared:
    if len(pair) != 2:
        raise ValueError(f"A pair is two pictures, but {len(pair)} were given.")
    a, b = (_read(source, options) for source in pair)
    if options.motion and task == "medical" and a.chroma is not None:
        raise PictureError(
            f"{a.name} is coloured, as PET and SPECT are: where metabolism is high there need not be an edge in the "
            "MRI, so it cannot be aligned; register the scans with a medical tool, or fuse them without aligning."
        )
    return prepare_pair(
        a,
        b,
        resize=options.resize,
        motion=options.motion,
        border=options.align_border,
        # Where metabolism is high there need not be an edge in the MRI.
        check_offset=task != "medical",
    )


def _read(source: PictureSource, options: Options) -> Picture:
    return read_picture(source, max_pixels=options.max_pixels, window=options.window, temperatures=options.temperatures)


def _fuse_stack(
    model: ReFusion,
    sources: Sequence[PictureSource],
    options: Options,
    task: str | None,
    progress: Callable[[int, int], None] | None,
) -> Fused:
    chosen = get_task(task) if task else model.task
    if options.resize not in (None, "a"):
        raise ValueError(f"A stack is resized to its first picture only (a), but {options.resize} was asked for.")
    if options.motion and options.align_border != "fill":
        raise ValueError("In a stack, what a moved picture does not show is filled; cropping is for pairs.")
    read = _StackReader(sources, options)
    fused = fuse_stack(
        model,
        chosen,
        range(len(sources)),
        read=read,
        output_range=options.output_range or chosen.output_range,
        anchor=options.anchor or chosen.anchor,
        chroma=options.chroma or chosen.chroma,
        engine=options.engine,
        progress=progress,
    )
    return Fused(fused, tuple(read.notes))


@dataclass
class _StackReader:
    """Reads a picture of a stack by its index, resized and moved onto the first as asked for."""

    sources: Sequence[PictureSource]
    options: Options
    notes: list[str] = field(default_factory=list)
    _first: Picture | None = None
    _moves: dict[int, Alignment] = field(default_factory=dict)

    def __call__(self, index: int) -> Picture:
        picture = _read(self.sources[index], self.options)
        if index == 0 or self._first is None:
            self._first = picture
            return picture
        if self.options.resize and picture.size != self._first.size:
            picture = resize_pair(self._first, picture, self.options.resize)[1]
        if self.options.motion is None or picture.size != self._first.size:
            return picture
        if index not in self._moves:
            self._moves[index] = sure_alignment(self._first, picture, self.options.motion)
            self.notes.append(f"{picture.name} was moved onto {self._first.name}: {self._moves[index]}.")
        return move(picture, self._moves[index], self._first)[0]
