"""What the settings of a run mean for its pairs and for the memory of this machine, as notes for the user."""

from collections.abc import Sequence

from refusion.system.lists import counted
from refusion.training.settings import FIXED_LOSSES, TrainingSettings

_OUTER_BYTES, _FUSION_BYTES = 117_000, 70_000
"""Memory of an outer and of a fusion update in bytes per pixel of each crop; see docs/performance.md, Training."""


def crop_notes(sides: Sequence[int], settings: TrainingSettings) -> list[str]:
    """A note if some images are smaller than the crops can be.

    Args:
        sides: the shorter side, in pixels, of the images of each pair.
        settings: the settings of the run.
    """
    largest = round(max(settings.crop, settings.crop_last) * 2**settings.zoom)
    smaller = sum(side < largest for side in sides)
    if not smaller:
        return []
    resized = " before they are resized (--zoom)" if settings.zoom else ""
    return [
        f"In {smaller} of {counted(len(sides), 'pair')} the images are smaller than the crops, of up to {largest} x "
        f"{largest} pixels{resized}, and are mirrored to fill them; a smaller --crop avoids that."
    ]


def memory_notes(settings: TrainingSettings, free: int) -> list[str]:
    """A note if the crops of a batch take more memory than is free.

    Args:
        settings: the settings of the run.
        free: free memory in bytes.
    """
    bytes_per_pixel = _FUSION_BYTES if settings.loss in (*FIXED_LOSSES, "direct") else _OUTER_BYTES
    batches = {settings.crop: settings.batch_size}
    if settings.crop_last:
        batches[settings.crop_last] = settings.batch_size_last or settings.batch_size
    crop, pairs = max(batches.items(), key=lambda batch: batch[0] ** 2 * batch[1])
    needed = crop**2 * pairs * bytes_per_pixel
    if needed <= free:
        return []
    return [
        f"A batch of {counted(pairs, 'crop')} of {crop} x {crop} pixels takes about {needed / 1e9:.3g} GB of memory, "
        f"and {free / 1e9:.3g} GB are free; a smaller --crop or --batch-size takes less."
    ]
