"""Notes on two volumes that do not seem to belong together, or are fused with another task than their own."""

from dataclasses import replace

import numpy as np

from refusion.images.picture import Picture
from refusion.images.roles import modality_notes
from refusion.images.scans import scan_notes
from refusion.images.volume import VolumeFile
from refusion.tasks import Task


def header_notes(a: VolumeFile, b: VolumeFile, task: Task) -> list[str]:
    """Notes on what the headers of two volumes say, as sentences.

    Args:
        a: first volume.
        b: second volume.
        task: the task.
    """
    notes = [*a.notes, *b.notes]
    if a.scan is None or b.scan is None:
        if task.name == "ir-vis":
            notes.append(
                "The volumes are fused as infrared and visible; for CT, PET or SPECT with MRI, choose the task medical."
            )
        return notes
    # The planes are those of the first slices, which may lie anywhere.
    of_a, of_b = replace(a.scan, plane=None), replace(b.scan, plane=None)
    nothing = np.zeros((1, 1), np.float32)
    first, second = Picture(nothing, None, a.name, scan=of_a), Picture(nothing, None, b.name, scan=of_b)
    notes += [*modality_notes(first, second, of_a, of_b, task), *scan_notes(first, second)]
    frames = {one.plane.frame for one in (a.scan, b.scan) if one.plane is not None}
    if len(frames - {""}) > 1:
        notes.append(
            f"{a.name} and {b.name} have different frames of reference, so equal positions are not the same place "
            "unless the two are registered."
        )
    return notes
