"""`fuse`: pictures in, fused picture out, with everything that can be asked for."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from PIL import Image

from refusion.images.picture import Picture, PictureError
from refusion.images.reading import MAX_PIXELS, PictureSource, Window, read_picture
from refusion.images.writing import as_image, save_picture, to_array
from refusion.inference.alignment import Alignment, Border, Motion, move, sure_alignment
from refusion.inference.finishing import finish, fuse_luminance
from refusion.inference.preparation import Prepared, Resize, prepare_pair, resize_pair
from refusion.inference.stack import fuse_stack
from refusion.models.bundled import BundledModel, is_bundled, load_bundled
from refusion.system.devices import choose_device, runs_on_cpu
from refusion.tasks import Anchor, ChromaRule, Engine, OutputRange, Task, check_choice, get_task

if TYPE_CHECKING:
    from refusion.models.model import ReFusion

Loaded = Union["ReFusion", BundledModel]  # A name within a string has no |.
"""A loaded model."""

Model = Union["ReFusion", BundledModel, str, Path]
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
        """A Pillow image, see `refusion.models.model.ReFusion.fuse`."""
        return as_image(self.picture, bits)

    def to_array(self, bits: int | None = None) -> np.ndarray:
        """Whole levels, uint8 or uint16, (H, W) or channels last; as deep as the deepest source if not told."""
        return to_array(self.picture, bits or self.picture.bits)

    def save(self, path: str | os.PathLike, bits: int | None = None) -> None:
        """Write a file, see `refusion.images.writing.save_picture`."""
        save_picture(self.picture, path, bits)


@dataclass(frozen=True)
class Options:
    """What `fuse` and `refusion.inference.pair.fuse_many` can be asked for, see there.

    Raises:
        ValueError: there is no such choice.
    """

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

    def __post_init__(self) -> None:
        for what, name, choices in (
            ("output range", self.output_range, OutputRange),
            ("anchor", self.anchor, Anchor),
            ("chroma rule", self.chroma, ChromaRule),
            ("engine", self.engine, Engine),
        ):
            if name is not None:
                check_choice(what, name, choices)

    @property
    def motion(self) -> Motion | None:
        """The motion to align by, if any."""
        return "euclidean" if self.align is True else self.align or None


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
    device: str | None = None,
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
        chroma: see `refusion.images.colour.fuse_chroma`.
        window: black and white of sources with more than 8 bits, see `refusion.images.reading.read_picture`.
        resize: which size all get if sizes differ; in a stack only ``a``, that of the first.
        align: the motion to align by, or True for ``euclidean``, see `refusion.inference.alignment.align`.
        align_border: see `refusion.inference.alignment.align`; in a stack only ``fill``.
        max_pixels: most pixels accepted.
        engine: see `ReFusion.fuse`.
        temperatures: of radiometric JPEGs, see `refusion.images.reading.read_picture`.
        device: see `load`.
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
    loaded = load(task, model, device, engine)
    if len(sources) == 2:
        return fuse_prepared(loaded, prepare(sources, options, task or loaded.task.name), options, task)
    return _fuse_stack(loaded, sources, options, task, progress)


def load(task: str | None, model: Model | None, device: str | None = None, engine: Engine | None = None) -> Loaded:
    """The model that is asked for, or the task's own, or that for ir-vis.

    A bundled model that is to run on a CPU is loaded without torch.

    Args:
        task: name of the task.
        model: a loaded model, bare name, folder or OWNER/NAME.
        device: where to, see `refusion.system.devices.choose_device`. If not given, a loaded model stays where it is,
            and others get a GPU if there is one.
        engine: how it is to run, see `refusion.tasks.Engine`.

    Raises:
        ModelError: it cannot be loaded.
        ValueError: there is no such task or device.
    """
    chosen = get_task(task or "ir-vis")
    wanted = chosen.model if model is None else model
    if engine in (None, "onnx") and runs_on_cpu(device):
        if isinstance(wanted, BundledModel):
            return wanted
        if isinstance(wanted, str) and is_bundled(wanted):
            return load_bundled(wanted)
    return load_module(wanted.name if isinstance(wanted, BundledModel) else wanted, device)


def load_module(model: "ReFusion | str | Path", device: str | None = None) -> "ReFusion":
    """The same in torch.

    Args:
        model: a loaded model, bare name, folder or OWNER/NAME.
        device: see `load`.

    Raises:
        ModelError: it cannot be loaded.
        ValueError: there is no such device.
    """
    from refusion.models.model import ReFusion

    if isinstance(model, ReFusion):
        return model if device is None else model.to(choose_device(device))
    return ReFusion.from_pretrained(model, map_location=choose_device(device))


def fuse_prepared(model: Loaded, pair: Prepared, options: Options, task: str | None = None) -> Fused:
    """Fuse two sources that were made ready."""
    luminance = fuse_luminance(model, pair.a.luminance, pair.b.luminance, engine=options.engine)
    return finish_prepared(luminance, pair, options, get_task(task) if task else model.task)


def finish_prepared(luminance: np.ndarray, pair: Prepared, options: Options, task: Task) -> Fused:
    """Make a picture of what the network gave for two sources that were made ready."""
    fused = finish(
        luminance,
        pair.a,
        pair.b,
        output_range=options.output_range or task.output_range,
        anchor=options.anchor or task.anchor,
        chroma=options.chroma or task.chroma,
    )
    return Fused(fused, pair.notes, pair.alignment)


def prepare(pair: Sequence[PictureSource], options: Options, task: str) -> Prepared:
    """Read two sources and make them ready for each other.

    Raises:
        PictureError: a source cannot be read, or they do not match.
        ValueError: they are not two.
    """
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
    model: Loaded,
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
        output_range=options.output_range or chosen.range_of(len(sources)),
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
