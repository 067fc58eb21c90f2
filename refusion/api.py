"""The functions of the package: load a model by name, and hand on."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from typing_extensions import Unpack

from refusion.images.reading import PictureSource
from refusion.inference.finishing import Fused
from refusion.inference.fuse import fuse_sources
from refusion.inference.many import Outcome, fuse_pairs
from refusion.inference.options import Options, OptionValues
from refusion.inference.stack import fuse_stack as fuse_loaded_stack
from refusion.inference.video import SMOOTHING_SECONDS
from refusion.inference.video import fuse_videos as fuse_loaded_videos
from refusion.models.loading import Model, load
from refusion.tasks import get_task


def fuse(
    a: PictureSource | Sequence[PictureSource],
    b: PictureSource | None = None,
    *,
    task: str | None = None,
    model: Model | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> Fused:
    """Fuse a pair of registered images.

    Args:
        a: first source of the task (infrared, functional, near or under-exposed): a path, an open file, a Pillow image
            or an array, see `refusion.images.read_picture`. Or a sequence of both; one of more is a stack.
        b: second source.
        task: name of the task; the model's if not given, or ir-vis.
        model: a loaded model, bare name, folder or OWNER/NAME; the task's own if not given.
        device: ``cpu``, ``cuda``, ``auto`` or another of torch's. If not given, a loaded model stays where it is, and
            others get a GPU if there is one.
        progress: for stacks, see `fuse_stack`.
        **options: see `refusion.inference.options.Options`.

    Raises:
        PictureError: a source cannot be read, or they do not match.
        ModelError: the model cannot be loaded.
        ValueError: there is no such choice.
    """
    wanted = Options(**options)
    network = load(task, model, device, wanted.engine)
    return fuse_sources(network, a, b, wanted, get_task(task) if task else network.task, progress)


def fuse_stack(
    sources: Sequence[PictureSource],
    *,
    task: str | None = None,
    model: Model | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> Fused:
    """Fuse a focus stack or an exposure bracket of two to fifty images.

    Args:
        sources: the images, each as in `fuse`, in any order; with aligning, the others are moved onto the first.
        task: ``multi-focus`` or ``multi-exposure``; the model's if not given.
        model: see `fuse`.
        device: see `fuse`.
        progress: called with the number of steps done and of all steps, before the first and after each.
        **options: see `refusion.inference.options.Options`.

    Raises:
        PictureError: a source cannot be read, or the sizes differ.
        ModelError: the model cannot be loaded.
        ValueError: too few or too many images, or a task or option that is for two.
    """
    wanted = Options(**options)
    network = load(task, model, device, wanted.engine)
    return fuse_loaded_stack(network, sources, wanted, get_task(task) if task else network.task, progress)


def fuse_many(
    pairs: Iterable[Sequence[PictureSource]],
    *,
    task: str | None = None,
    model: Model | None = None,
    device: str | None = None,
    batch_size: int = 1,
    **options: Unpack[OptionValues],
) -> Iterator[Outcome]:
    """Fuse pairs one after the other; the next ones are read meanwhile.

    Args:
        pairs: two sources each, as in `fuse`; taken one by one as they are needed.
        task: see `fuse`.
        model: see `fuse`.
        device: see `fuse`.
        batch_size: pairs that go through the network at once where as many in a row have one size: for a GPU, which
            one small pair does not keep busy. The results are the same but for rounding.
        **options: see `refusion.inference.options.Options`.

    Yields:
        What became of each pair, in their order; a pair that cannot be fused does not stop the others.

    Raises:
        ModelError: the model cannot be loaded.
        ValueError: there is no such task, device or choice, or `batch_size` is less than 1.
    """
    wanted = Options(**options)
    network = load(task, model, device, wanted.engine)
    yield from fuse_pairs(network, pairs, wanted, get_task(task) if task else network.task, batch_size)


def fuse_videos(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    task: str | None = None,
    model: Model | None = None,
    device: str | None = None,
    smoothing: float = SMOOTHING_SECONDS,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> list[str]:
    """Fuse two videos, or one that shows the first source left and the second right, frame by frame.

    Args:
        sources: two videos in the order of the task, or one.
        output: where to write; the suffix names the container, such as .mp4 or .mkv.
        task: see `fuse`.
        model: see `fuse`.
        device: see `fuse`.
        smoothing: see `refusion.inference.video.RangeSmoother`.
        progress: called with the number of frames done and of all frames as far as the file says it, else 0.
        **options: see `refusion.inference.options.Options`; aligning, windows and temperatures are for images.

    Returns:
        What a person should know, as sentences.

    Raises:
        PictureError: a video cannot be read or written, or the sizes differ.
        ModelError: the model cannot be loaded.
        ValueError: there is no such choice, or it is for images.
    """
    wanted = Options(**options)
    network = load(task, model, device, wanted.engine)
    chosen = get_task(task) if task else network.task
    return fuse_loaded_videos(network, sources, output, wanted, chosen, smoothing, progress)
