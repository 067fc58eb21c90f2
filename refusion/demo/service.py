"""Fuse two uploads, score the result, and show the weights of the learned loss."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from refusion import api
from refusion.demo import texts
from refusion.demo.models import ModelChoice, Models
from refusion.demo.options import DemoOptions
from refusion.demo.queue import JobQueue, Kind, Tick
from refusion.demo.uploads import KEPT_MEGAPIXELS, Facts, SourceError, Uploads, facts_of, names_of
from refusion.explanation.maps import Explanation, explain
from refusion.images import Picture, PictureError, PictureSource, to_image
from refusion.images.windows import Window, common_window
from refusion.metrics.scoring import large_enough, levels, score_fused, scored_metrics
from refusion.metrics.stack import score_stack
from refusion.system.advice import Advised, in_demo
from refusion.tasks import Anchor, ChromaRule, OutputRange, Task

MAX_EXPLAINED_MEGAPIXELS = 0.2
"""Larger pairs are scaled down before they are explained, which takes about 15 CPU seconds per megapixel."""

MAX_SCORED_MEGAPIXELS = 8.0
"""Larger results are not scored here; the metrics take about 0.3 GB per megapixel."""

InputRange: TypeAlias = Literal["file", "own"]
"""Black and white of sources of more than 8 bits: those of the file, or the range of its values."""

Borders: TypeAlias = Literal["auto", "fill", "keep"]
"""What happens to blank borders; ``auto`` is the default of the task."""

_FILLED: dict[Borders, bool | None] = {"auto": None, "fill": True, "keep": False}

_CHOICES: dict[str, tuple[str, Any]] = {
    "output_range": ("output range", OutputRange),
    "anchor": ("anchor", Anchor),
    "chroma": ("colour rule", ChromaRule),
    "input_range": ("input range", InputRange),
    "borders": ("rule for borders", Borders),
}
"""What each setting is called in messages, and its choices."""

OnTick = Callable[[Tick], None]
"""Called with the progress of a job, a few times a second."""


@dataclass(frozen=True)
class Settings:
    """How to fuse.

    Attributes:
        task: the task, which has defaults for the rest.
        model: the model.
        output_range: see `refusion.inference.options.Options`; None for the default of the task, which differs for
            pairs and stacks.
        anchor: likewise.
        chroma: likewise.
        input_range: ``own`` reads sources of more than 8 bits with the window ``own``, see `refusion.images.Reading`;
            values that are not finite are then missing.
        borders: whether blank borders are filled; those of a stack are kept.
    """

    task: Task
    model: ModelChoice
    output_range: OutputRange | None
    anchor: Anchor | None
    chroma: ChromaRule | None
    input_range: InputRange = "file"
    borders: Borders = "auto"

    @property
    def window(self) -> Window | None:
        """The window to read single sources with."""
        return "own" if self.input_range == "own" else None

    def key(self, count: int = 2) -> tuple[Any, ...]:
        """Equal for settings that fuse this number of images the same way."""
        task = self.task
        own = (self.output_range or task.range_of(count), self.anchor or task.anchor, self.chroma or task.chroma)
        return (task.name, self.model, *own, self.input_range, self.borders)

    @classmethod
    def checked(
        cls,
        models: Models,
        task: Task,
        output_range: Any = None,
        anchor: Any = None,
        chroma: Any = None,
        model: Any = None,
        revision: Any = None,
        input_range: Any = None,
        borders: Any = None,
    ) -> "Settings":
        """Check the settings that a client sent; empty ones become the defaults of the task.

        Raises:
            ValueError: a value is not among its choices; the message lists them, and on the page names the setting.
            ModelError: a model is named that cannot be here, or that has no revisions.
        """
        wanted = (output_range or None, anchor or None, chroma or None)
        own: tuple[Any, Any] = (input_range or "file", borders or "auto")
        for given, (name, (what, choices)) in zip((*wanted, *own), _CHOICES.items(), strict=True):
            if given is not None and given not in get_args(choices):
                shown = given if isinstance(given, str) else repr(given)[:100]
                raise ValueError(
                    Advised(
                        f"There is no {what} {shown!r}",
                        f"choose {', '.join(get_args(choices))}",
                        demo=f'choose another "{texts.SETTINGS[name][0]}" in the settings',
                    )
                )
        for what, given in (("model", model), ("revision", revision)):
            if given is not None and not isinstance(given, str):
                raise ValueError(f"The {what} must be a name, but {repr(given)[:100]} was given.")
        name = model.strip() if isinstance(model, str) else ""
        version = revision.strip() if isinstance(revision, str) else ""
        chosen = ModelChoice(name or models.own(task), version or None)
        # That of a task may come without its weights, which its tab says.
        if name or version:
            models.check(chosen)
        return cls(task, chosen, *wanted, *own)


class Fusing:
    """Computations of the demo, one job at a time.

    Args:
        options: limits and device.

    Raises:
        ModelError: a model that the demo was started with cannot be loaded.
    """

    def __init__(self, options: DemoOptions) -> None:
        self.options = options
        self.uploads = Uploads(options)
        self.models = Models(options)
        self.jobs = JobQueue(options.device)
        self._examples = threading.Lock()
        # Decorated functions may run in another process: they take and return only what can be sent there.
        self._fuse = options.on_device(self._fuse_here)

    def fuse(self, session: str, paths: tuple[Path, ...], settings: Settings, on_tick: OnTick) -> api.Fused:
        """Fuse uploads, exactly as `refusion fuse` does: a pair in the task's order, or a stack.

        Raises:
            SourceError: an image cannot be used, or the images do not belong together.
            ModelError: the model cannot be loaded.
            ValueError: the task or a setting does not apply to stacks.
            CancelledError: the visitor cancelled.
        """
        sources = self._sources(paths, settings)
        self.models.fusion(settings.model)
        megapixels, kind = _work(self.uploads.facts(paths[0], settings.window), len(paths))
        gaps = self.with_gaps(paths, settings)
        try:
            fused = self.jobs.run(
                session, self._fuse, sources, settings, bool(gaps), megapixels=megapixels, kind=kind, on_tick=on_tick
            )
        except PictureError as error:
            raise SourceError(in_demo(error)) from error
        return replace(fused, notes=(*map(in_demo, fused.notes), *_gap_notes(gaps)))

    def expected(self, facts: Facts, count: int) -> float:
        """Estimated seconds for fusing this number of images like this one."""
        return self.jobs.estimate(*_work(facts, count))

    def with_gaps(self, paths: tuple[Path, ...], settings: Settings) -> list[str]:
        """Names of the sources whose values that are not finite are taken as missing.

        Raises:
            SourceError: an image cannot be read.
        """
        named = zip(paths, names_of(paths), strict=True)
        return [name for path, name in named if self.uploads.facts(path, settings.window).gaps]

    def windows(self, paths: Sequence[Path], settings: Settings) -> list[Window | None]:
        """The window to read each source of one fused image with.

        Raises:
            SourceError: an image cannot be read.
        """
        window = settings.window
        if window is not None and settings.task.one_camera:
            window = common_window(self.uploads.facts(path, window).levels for path in paths)
        return [window] * len(paths)

    def fuse_on_cpu(self, paths: tuple[Path, ...], task: Task) -> api.Fused:
        """Fuse an example with the defaults of its task, bypassing the queue: it takes less than a second.

        Raises:
            ModelError: the model cannot be loaded.
        """
        with self._examples:
            fused = api.fuse(paths, task=task.name, model=self.models.own(task), device="cpu")
        return replace(fused, notes=tuple(map(in_demo, fused.notes)))

    def _sources(self, paths: tuple[Path, ...], settings: Settings) -> tuple[PictureSource, ...]:
        """Decoded images, or the paths of a stack that is too large to keep decoded in memory."""
        if len(paths) == 2:
            return self.uploads.read_pair(paths, self.windows(paths, settings))
        facts = self.uploads.check_stack(paths, settings.window)
        if facts.megapixels * len(paths) > KEPT_MEGAPIXELS:
            return paths
        return tuple(self.uploads.read_named(paths, self.windows(paths, settings)))

    def _fuse_here(self, sources: tuple[PictureSource, ...], settings: Settings, gaps: bool) -> api.Fused:
        return api.fuse(
            sources,
            task=settings.task.name,
            model=self.models.fusion(settings.model),
            output_range=settings.output_range,
            anchor=settings.anchor,
            chroma=settings.chroma,
            window=settings.window,
            fill_borders=_FILLED[settings.borders],
            nodata=math.nan if gaps else None,
            max_pixels=int(self.options.max_megapixels * 1e6),
        )

    def scores(
        self, session: str, settings: Settings, sources: tuple[Path, Path], fused: Path, on_tick: OnTick | None = None
    ) -> dict[str, float | None]:
        """All metrics that the pair is large enough for, by name; None where one is undefined.

        Raises:
            SourceError: an image cannot be used, the images do not belong together, or they are larger than
                `MAX_SCORED_MEGAPIXELS`.
            CancelledError: the visitor cancelled.
        """
        first, second = self.uploads.read_pair(sources, self.windows(sources, settings))
        result = self.uploads.read(fused)
        if result.size != first.size:
            raise SourceError(
                f"The fused image is {result.size[0]} x {result.size[1]} pixels, but its sources are "
                f"{first.size[0]} x {first.size[1]}; give the fused image of these sources."
            )
        _check_scored(result)
        return self.jobs.run(session, _score, settings.task, first, second, result, on_tick=on_tick)

    def stack_scores(
        self, session: str, settings: Settings, sources: tuple[Path, ...], fused: Path, on_tick: OnTick | None = None
    ) -> dict[str, float | None]:
        """The metrics that are defined for a stack, by name; see `refusion.metrics.stack.score_stack`.

        Raises:
            SourceError: an image cannot be used, or is larger than `MAX_SCORED_MEGAPIXELS`.
            CancelledError: the visitor cancelled.
        """
        picture = self.uploads.read(fused)
        _check_scored(picture)
        result = levels(picture.luminance)

        windows = self.windows(sources, settings)

        def frames() -> Iterator[np.ndarray]:
            for path, window in zip(sources, windows, strict=True):
                yield levels(self.uploads.read(path, window).luminance)

        return self.jobs.run(session, lambda: _numbers(score_stack(frames(), result)), on_tick=on_tick)

    def explanation(
        self, session: str, settings: Settings, sources: tuple[Path, Path], on_tick: OnTick | None = None
    ) -> tuple[Explanation, bool]:
        """The weights of the learned loss, and whether the pair was scaled down for them.

        Raises:
            SourceError: an image cannot be used, or the two do not belong together.
            ModelError: the model has only the fusion module.
            CancelledError: the visitor cancelled.
        """
        pictures = self.uploads.read_pair(sources, self.windows(sources, settings))
        trained = self.models.trained(settings.model)
        arrays = [picture.luminance for picture in pictures]
        factor = math.sqrt(MAX_EXPLAINED_MEGAPIXELS / facts_of(pictures[0]).megapixels)
        if factor < 1:
            arrays = [_shrunk(array, factor) for array in arrays]
        return self.jobs.run(session, explain, trained, *arrays, on_tick=on_tick), factor < 1


def _work(facts: Facts, count: int) -> tuple[float, Kind]:
    """Size and kind of the fusion of this number of images, for `JobQueue.estimate`."""
    return facts.megapixels * (count - 1), "pair" if count == 2 else "stack"


def shown_image(picture: Picture) -> Image.Image:
    """An image that every browser can show: a source as the fusion reads it, with 8 bits."""
    return to_image(picture.luminance, picture.chroma, picture.icc_profile)


def _gap_notes(names: Sequence[str]) -> list[str]:
    return [f"{name} has values that are not finite (NaN or infinite); they are taken as missing." for name in names]


def _score(task: Task, first: Picture, second: Picture, fused: Picture) -> dict[str, float | None]:
    return _numbers(score_fused(first, second, fused, large_enough(scored_metrics(task), first.size)))


def _numbers(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def _check_scored(picture: Picture) -> None:
    megapixels = facts_of(picture).megapixels
    if megapixels > MAX_SCORED_MEGAPIXELS:
        raise SourceError(
            f"The image has {megapixels:.3g} megapixels, but at most {MAX_SCORED_MEGAPIXELS:g} are scored "
            "here, because scores take much memory; use `refusion evaluate` on a machine of your own."
        )


def _shrunk(luminance: np.ndarray, factor: float) -> np.ndarray:
    height, width = luminance.shape
    size = max(8, int(width * factor)), max(8, int(height * factor))
    resized = Image.fromarray(luminance).resize(size, Image.Resampling.BOX)
    return np.clip(np.asarray(resized), 0, 1)
