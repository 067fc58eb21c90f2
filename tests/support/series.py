"""Small DICOM series, one file for each slice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "128"))
CLASSES = {"CT": CT, "MR": MR, "PT": PT}


def write_series(
    folder: Path,
    values: np.ndarray,
    modality: str = "MR",
    spacing: Sequence[float] = (1.0, 1.0, 2.5),
    directions: Sequence[float] = (1, 0, 0, 0, 1, 0),
    depths: Sequence[float] | None = None,
    slope: Callable[[int], float] = lambda index: 1,
    **elements: Any,
) -> Path:
    """Write stored values (slices, rows, columns) to files without a suffix whose names are in another order.

    `slope` gives the rescale slope of a slice, `elements` what is in each file, by keywords.
    """
    folder.mkdir(exist_ok=True)
    across = np.cross(directions[:3], directions[3:])
    for index, stored in enumerate(values):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset = pydicom.dataset.Dataset()
        dataset.file_meta = meta
        dataset.SOPClassUID = meta.MediaStorageSOPClassUID = CLASSES[modality]
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"1.2.{index}"
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = f"1.3.{len(modality)}", "1.4"
        dataset.Modality, dataset.PatientID, dataset.SeriesDescription = modality, "1", f"{modality} head"
        dataset.Rows, dataset.Columns = stored.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelSpacing = [spacing[1], spacing[0]]
        dataset.ImageOrientationPatient = list(directions)
        depth = spacing[2] * index if depths is None else depths[index]
        dataset.ImagePositionPatient = (across * depth).tolist()
        dataset.RescaleSlope, dataset.RescaleIntercept = slope(index), 0
        dataset.PixelData = stored.astype("<i2").tobytes()
        for name, value in elements.items():
            setattr(dataset, name, value)
        dataset.save_as(folder / f"IM{index * 7 % 10}{index}", enforce_file_format=True)
    return folder
