"""Fuse a pair or a stack with a loaded model."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from PIL import Image

from refusion.images.frames import frames_of
from refusion.images.sources import PictureSource
from refusion.inference.finishing import Fused, finish_pair
from refusion.inference.network import Network, fuse_luminance
from refusion.inference.options import Options
from refusion.inference.preparation import prepare
from refusion.inference.stack import fuse_stack
from refusion.tasks import Task


def fuse_sources(
    network: Network,
    a: PictureSource | Sequence[PictureSource],
    b: PictureSource | None,
    options: Options,
    task: Task,
    progress: Callable[[int, int], None] | None = None,
) -> Fused:
    """Fuse two sources, or a stack of more than two.

    Args:
        network: a loaded model.
        a: first source, or a sequence of all sources, or a TIFF file that holds all of them.
        b: second source; None if `a` is all sources.
        options: options of fusing.
        task: the task whose defaults apply.
        progress: for stacks, see `refusion.inference.stack.fuse_stack`.

    Raises:
        PictureError: a source cannot be read, or they do not match.
        ValueError: there are fewer than two sources, or more than the task accepts.
    """
    sources: list[Any] = [a, b]
    if b is None and isinstance(a, list | tuple | Iterator):
        sources = list(a)
    elif b is None and isinstance(a, str | os.PathLike):
        sources = [*frames_of(a)] or sources
    if len(sources) < 2 or sources[1] is None:
        count = "one was" if sources else "none was"
        raise ValueError(f"Fusion needs two images or more, but {count} given; give them as fuse(a, b) or as a list.")
    given = cast(list[PictureSource], sources)
    if len(given) > 2:
        return fuse_stack(network, given, options, task, progress)
    pair = prepare(given, options, task)
    luminance = fuse_luminance(network, pair.a.luminance, pair.b.luminance, engine=options.engine)
    return finish_pair(luminance, pair, options.for_task(task))


def fuse_function(
    network: Network, options: Options, task: Task
) -> Callable[[PictureSource, PictureSource], Image.Image]:
    """Return a function of two sources that returns the fused image, as `refusion.metrics.evaluation.evaluate` takes.

    Args:
        network: a loaded model.
        options: options of fusing.
        task: the task whose defaults apply.
    """
    return lambda a, b: fuse_sources(network, a, b, options, task).to_image()
