"""The functions of the package: each loads a model by name and calls the implementation."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from typing_extensions import Unpack

from refusion.images.sources import PictureSource
from refusion.images.volume import MAX_VOXELS
from refusion.inference.finishing import Fused
from refusion.inference.fuse import fuse_sources
from refusion.inference.many import Outcome, fuse_pairs
from refusion.inference.options import OptionValues, options_of
from refusion.inference.stack import fuse_stack as fuse_loaded_stack
from refusion.inference.video import SMOOTHING_SECONDS
from refusion.inference.video import fuse_videos as fuse_loaded_videos
from refusion.inference.volume import fuse_volumes as fuse_loaded_volumes
from refusion.models.loading import Model, load
from refusion.tasks import get_task


def fuse(
    a: PictureSource | Sequence[PictureSource],
    b: PictureSource | None = None,
    *,
    task: str | None = None,
    model: Model | None = None,
    revision: str | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> Fused:
    """Fuse a pair of registered images.

    Args:
        a: first source of the task (infrared, functional, near or under-exposed): a path, an open file, a Pillow image
            or an array, see `refusion.images.read_picture`. Or a sequence of both sources, or a TIFF file that holds
            both; more than two are a stack.
        b: second source.
        task: name of the task; by default that of the model, or ir-vis.
        model: a loaded model, bare name, folder or OWNER/NAME; by default the model of the task.
        revision: branch, tag or commit of a model on the Hub.
        device: ``cpu``, ``cuda``, ``auto`` or another torch device. By default, a loaded model stays on its device, and
            others use a GPU if there is one.
        progress: for stacks, see `fuse_stack`.
        **options: see `refusion.inference.options.Options`.

    Raises:
        PictureError: a source cannot be read, or the two do not match.
        ModelError: the model cannot be loaded.
        TypeError: there is no such option.
        ValueError: an option has an invalid value.
    """
    wanted = options_of(options)
    network = load(task, model, device, wanted.engine, revision)
    return fuse_sources(network, a, b, wanted, get_task(task) if task else network.task, progress)


def fuse_stack(
    sources: Sequence[PictureSource] | str | os.PathLike,
    *,
    task: str | None = None,
    model: Model | None = None,
    revision: str | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> Fused:
    """Fuse a focus stack or an exposure bracket of two to fifty images.

    Args:
        sources: the images, each as in `fuse`, in any order, or a TIFF file that holds all of them; with alignment, the
            others are aligned to the first.
        task: ``multi-focus`` or ``multi-exposure``; by default that of the model.
        model: see `fuse`.
        revision: see `fuse`.
        device: see `fuse`.
        progress: called with the number of steps done and the total, before the first step and after each.
        **options: see `refusion.inference.options.Options`.

    Raises:
        PictureError: a source cannot be read, or the sizes differ.
        ModelError: the model cannot be loaded.
        TypeError: there is no such option.
        ValueError: too few or too many images, or a task or option for pairs only.
    """
    wanted = options_of(options)
    network = load(task, model, device, wanted.engine, revision)
    return fuse_loaded_stack(network, sources, wanted, get_task(task) if task else network.task, progress)


def fuse_many(
    pairs: Iterable[Sequence[PictureSource]],
    *,
    task: str | None = None,
    model: Model | None = None,
    revision: str | None = None,
    device: str | None = None,
    batch_size: int = 1,
    **options: Unpack[OptionValues],
) -> Iterator[Outcome]:
    """Fuse pairs one after the other, reading the next ones in the background.

    Args:
        pairs: two sources each, as in `fuse`; consumed lazily.
        task: see `fuse`.
        model: see `fuse`.
        revision: see `fuse`.
        device: see `fuse`.
        batch_size: number of pairs in one forward pass, if as many consecutive pairs have the same size. Useful on a
            GPU with small images. The results are equal up to rounding.
        **options: see `refusion.inference.options.Options`.

    Returns:
        An iterator of the outcome of each pair, in order; a pair that cannot be fused does not stop the others.

    Raises:
        ModelError: the model cannot be loaded.
        TypeError: there is no such option.
        ValueError: there is no such task or device, an option has an invalid value, or `batch_size` is less than 1.
    """
    wanted = options_of(options)
    network = load(task, model, device, wanted.engine, revision)
    return fuse_pairs(network, pairs, wanted, get_task(task) if task else network.task, batch_size)


def fuse_videos(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    task: str | None = None,
    model: Model | None = None,
    revision: str | None = None,
    device: str | None = None,
    smoothing: float = SMOOTHING_SECONDS,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> list[str]:
    """Fuse two videos, or one with the first source on the left and the second on the right, frame by frame.

    Args:
        sources: two videos in the order of the task, or one.
        output: path of the fused video; the suffix selects the container, such as .mp4 or .mkv.
        task: see `fuse`.
        model: see `fuse`.
        revision: see `fuse`.
        device: see `fuse`.
        smoothing: see `refusion.inference.video.RangeSmoother`.
        progress: called with the number of frames done and the total, counted in the files.
        **options: see `refusion.inference.options.Options`; alignment, windows and temperatures are for images only.

    Returns:
        Notes for the user, as sentences.

    Raises:
        PictureError: a video cannot be read or written, or the sizes differ.
        ModelError: the model cannot be loaded.
        TypeError: there is no such option.
        ValueError: an option has an invalid value, or is for images only.
    """
    wanted = options_of(options)
    network = load(task, model, device, wanted.engine, revision)
    chosen = get_task(task) if task else network.task
    return fuse_loaded_videos(network, sources, output, wanted, chosen, smoothing, progress)


def fuse_volumes(
    a: str | os.PathLike,
    b: str | os.PathLike,
    output: str | os.PathLike,
    *,
    task: str | None = None,
    model: Model | None = None,
    revision: str | None = None,
    device: str | None = None,
    bits: int | None = None,
    max_voxels: int = MAX_VOXELS,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[OptionValues],
) -> list[str]:
    """Fuse two registered volumes slice by slice, such as PET and MRI; needs the extra ``volumes``.

    Args:
        a: first volume in the order of the task: NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd),
            or a folder that holds one DICOM series.
        b: second volume.
        output: path of the fused volume: .nii.gz, .nii, .nrrd or .mha.
        task: see `fuse`; ``medical`` for CT, PET or SPECT with MRI.
        model: see `fuse`.
        revision: see `fuse`.
        device: see `fuse`.
        bits: 8 or 16; by default 16 if a volume has more than 8.
        max_voxels: maximum number of voxels of a volume.
        progress: called with the number of slices done and of all slices.
        **options: see `refusion.inference.options.Options`. A window holds for a whole volume, whose own range is used
            without one; volumes on different grids are resampled by their position if `resize` is given. Alignment,
            chroma and temperatures are for images only.

    Returns:
        Notes for the user, as sentences.

    Raises:
        PictureError: a volume cannot be read or written, SimpleITK is not installed, or the grids differ or do not
            overlap.
        ModelError: the model cannot be loaded.
        TypeError: there is no such option.
        ValueError: an option has an invalid value, or is for images only.
    """
    wanted = options_of(options)
    network = load(task, model, device, wanted.engine, revision)
    chosen = get_task(task) if task else network.task
    return fuse_loaded_volumes(network, (a, b), output, wanted, chosen, bits, max_voxels, progress)
