"""The options of fusing, and the defaults of a task."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypedDict

import numpy as np

from refusion.images.reading import MAX_PIXELS, Reading
from refusion.images.sources import PictureSource, plain_source
from refusion.images.windows import Windows
from refusion.inference.alignment import Border
from refusion.tasks import Anchor, ChromaRule, Engine, Motion, OutputRange, Resize, Task, check_choice


class OptionValues(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments."""

    output_range: OutputRange | None
    anchor: Anchor | None
    chroma: ChromaRule | None
    window: Windows | None
    resize: Resize | None
    align: Motion | bool
    align_border: Border
    fill_borders: bool | None
    deghost: bool
    max_pixels: int
    engine: Engine | None
    temperatures: bool
    channels_first: bool
    urls: bool
    nodata: float | None


@dataclass(frozen=True)
class Options:
    """Options of fusing. None is the default of the task or the machine.

    Attributes:
        output_range: ``sources`` scales the fused luminance to the range that both sources span together, ``contrast``
            multiplies differences from a mid grey by `refusion.tasks.CONTRAST`, ``robust`` scales to the full range
            with 0.5 % of the pixels clipped at each end, ``stretch`` from the minimum to the maximum (as the authors'
            release does), ``network`` changes nothing. The default of a stack of three or more is ``network``.
        anchor: keeps the fused luminance consistent with its sources, before the output range: ``guided``, ``detail``,
            ``full-detail``, ``heat``, ``choice``, ``bounds`` or ``none``, see
            `refusion.inference.anchors.anchor_luminance`.
        chroma: where the colour comes from, see `refusion.images.colour.fuse_chroma`.
        window: black and white of sources with more than 8 bits, see `refusion.images.read_picture`: one for all, or
            a sequence with one for each source. In a stack and for sources of one camera (multi-focus,
            multi-exposure), ``own`` is the common range of all.
        resize: the source whose size both get if their sizes differ; in a stack only ``a``, the first image.
        align: the motion to align by, see `refusion.inference.alignment.align`; or True for ``similarity`` in a focus
            stack of three or more, where focusing changes the scale of the image, and otherwise ``euclidean``, or
            ``translation`` if that is uncertain.
        align_border: ``fill`` or ``crop``, see `refusion.inference.alignment.align`.
        fill_borders: in a pair or video, fill a blank border of one source, as registration leaves it, from the other.
            By default black ones are filled, and in multi-focus and multi-exposure white ones.
        deghost: in an exposure bracket of three or more, show what moves as the best exposed image does, see
            `refusion.inference.ghosts`; no effect otherwise.
        max_pixels: maximum number of pixels of a source.
        engine: how the network runs, see `refusion.tasks.Engine`.
        temperatures: read the temperatures of radiometric JPEGs, see `refusion.images.read_picture`.
        channels_first: arrays are (C, H, W) or (1, C, H, W), as tensors always are.
        urls: download sources whose names begin with http:// or https://.
        nodata: no-data value, see `refusion.images.read_picture`.

    Raises:
        ValueError: an option has an unknown value.
    """

    output_range: OutputRange | None = None
    anchor: Anchor | None = None
    chroma: ChromaRule | None = None
    window: Windows | None = None
    resize: Resize | None = None
    align: Motion | bool = False
    align_border: Border = "fill"
    fill_borders: bool | None = None
    deghost: bool = True
    max_pixels: int = MAX_PIXELS
    engine: Engine | None = None
    temperatures: bool = False
    channels_first: bool = False
    urls: bool = False
    nodata: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.window, np.ndarray):
            object.__setattr__(self, "window", self.window.tolist())
        if isinstance(self.max_pixels, bool) or not isinstance(self.max_pixels, int | np.integer):
            raise ValueError(f"The maximum number of pixels is {self.max_pixels!r}; it must be a whole number.")
        for what, name, choices in (
            ("output range", self.output_range, OutputRange),
            ("anchor", self.anchor, Anchor),
            ("chroma rule", self.chroma, ChromaRule),
            ("resize rule", self.resize, Resize),
            ("motion", None if isinstance(self.align, bool) else self.align, Motion),
            ("border", self.align_border, Border),
            ("engine", self.engine, Engine),
        ):
            if name is not None:
                check_choice(what, name, choices)

    def motion(self, task: Task, count: int = 2) -> Motion | None:
        """The motion model to align `count` sources by, or None."""
        if self.align is True:
            return "similarity" if task.name == "multi-focus" and count > 2 else "euclidean"
        return self.align or None

    def plain(self, sources: Sequence[PictureSource]) -> list[PictureSource]:
        """Convert the sources to types that `refusion.images.read_picture` accepts, downloading URLs if `urls` is set.

        Raises:
            PictureError: a source cannot be converted or downloaded.
        """
        return [plain_source(source, channels_first=self.channels_first, urls=self.urls) for source in sources]

    def reading(self, task: Task) -> Reading:
        """The options for reading the sources."""
        return Reading(self.window, self.temperatures, self.nodata, self.max_pixels, alike=task.one_camera)

    def notes(self, task: Task) -> list[str]:
        """Notes on options that do not suit the task, as sentences."""
        if self.anchor != "heat" or not task.one_camera:
            return []
        return [
            f"The anchor heat is for infrared; in {task.name} pairs, it brightens what is bright in the "
            f"{task.labels[0]} image. Leave the anchor out for that of the task."
        ]

    def for_task(self, task: Task, count: int = 2) -> "FinishOptions":
        """The options of the steps after the network, with the defaults of a task filled in.

        Args:
            task: the task.
            count: number of sources.
        """
        return FinishOptions(
            self.output_range or task.range_of(count), self.anchor or task.anchor, self.chroma or task.chroma
        )


def options_of(values: OptionValues) -> Options:
    """The options given as keyword arguments.

    Raises:
        TypeError: there is no such option.
        ValueError: an option has an unknown value.
    """
    known = [one.name for one in fields(Options)]
    if unknown := [name for name in values if name not in known]:
        raise TypeError(f"There is no option {' or '.join(unknown)}; the options of fusing are {', '.join(known)}.")
    return Options(**values)


@dataclass(frozen=True)
class FinishOptions:
    """Options of the steps after the network, without open defaults.

    Attributes:
        output_range: see `Options`.
        anchor: see `Options`.
        chroma: see `Options`.
    """

    output_range: OutputRange
    anchor: Anchor
    chroma: ChromaRule
