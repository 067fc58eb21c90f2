"""Fuzzing of the picture reader: any bytes are a picture or a `PictureError`.

    pip install atheris 'refusion[dicom,thermal]'
    PYTHONPATH=.:tests python tests/support/fuzz_decoder.py CORPUS -max_total_time=600 -max_len=4096 -timeout=20

CORPUS is a folder; small pictures of all kinds are put into it to start from. What was found became cases of
tests/images/test_properties.py.
"""

import io
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np

INSTRUMENTED = ["PIL", "flyr", "pydicom", "tifffile", "refusion.images"]

with atheris.instrument_imports(include=INSTRUMENTED):
    import tifffile
    from PIL import ExifTags, Image
    from support.flir import fff, radiometric

    from refusion.images.picture import Picture, PictureError
    from refusion.images.reading import read_picture


def seeds() -> dict[str, bytes]:
    """A small image of every kind."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (9, 11), dtype=np.uint8)
    colour = rng.integers(0, 256, (9, 11, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "camera"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.5}
    images = {
        "grey": Image.fromarray(grey),
        "rgb": Image.fromarray(colour[..., :3]),
        "rgba": Image.fromarray(colour),
        "deep": Image.fromarray(grey.astype(np.uint16) * 257),
        "float": Image.fromarray((grey / 255).astype(np.float32)),
        "palette": Image.fromarray(colour[..., :3]).quantize(16),
        "cmyk": Image.fromarray(colour[..., :3]).convert("CMYK"),
        "one": Image.fromarray(grey > 99),
    }
    made = {}
    for name, image in images.items():
        for suffix in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "AVIF"):
            file = io.BytesIO()
            try:
                image.save(file, suffix, exif=exif.tobytes())
            except (OSError, KeyError, ValueError, RuntimeError):
                continue
            made[f"{name}.{suffix}"] = file.getvalue()
    for dtype in ("float16", "float32", "float64", "uint16", "int16", "int8"):
        for number, options in enumerate(
            (
                {"compression": "deflate", "predictor": True, "byteorder": ">"},
                {"compression": "lzw", "tile": (16, 16)},
                {"extrasamples": ["unspecified"], "bigtiff": True},
                {"extrasamples": ["assocalpha"], "planarconfig": "separate"},
            )
        ):
            file = io.BytesIO()
            top = {"float16": 1, "float32": 1, "float64": 1, "uint16": 65535}.get(dtype, 127)
            values = (colour[..., : 4 if number > 1 else 3] / 255 * top).astype(dtype)
            values = np.moveaxis(values, 2, 0) if number == 3 else values
            tags = [(42113, "s", 0, "0", True), (33550, "d", 3, (1.0, 1.0, 0.0), True)]
            tifffile.imwrite(file, values, photometric="rgb", extratags=tags, **options)
            made[f"rgb.{dtype}.{number}.TIFF"] = file.getvalue()
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(grey, subfiletype=1, subifds=1, metadata=None)
        writer.write(np.kron(grey, np.ones((2, 2), np.uint8)), metadata=None)
    made["thumbnail.TIFF"] = file.getvalue()
    made |= {f"{name}.DICOM": content for name, content in dicoms(grey).items()}
    raw = rng.integers(10_000, 20_000, (9, 11), dtype=np.uint16)
    made["thermal.JPEG"] = radiometric(fff(raw, raw.tobytes()), colour[..., :3])
    return made


def dicoms(grey: np.ndarray) -> dict[str, bytes]:
    """Small files of DICOM: with a palette, with padding and a window, and without a preamble."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

    made = {}
    for name in ("palette", "window", "bare"):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset = Dataset() if name == "bare" else FileDataset("a", {}, file_meta=meta, preamble=bytes(128))
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.Rows, dataset.Columns = grey.shape
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "PALETTE COLOR" if name == "palette" else "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        if name == "palette":
            for channel in ("Red", "Green", "Blue"):
                setattr(dataset, f"{channel}PaletteColorLookupTableDescriptor", [256, 0, 8])
                setattr(dataset, f"{channel}PaletteColorLookupTableData", bytes(range(256)))
        else:
            dataset.PixelPaddingValue, dataset.WindowCenter, dataset.WindowWidth = 3, 100, 80
        dataset.PixelData = grey.tobytes() + b"\0"
        file = io.BytesIO()
        if name == "bare":
            dataset.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
        else:
            dataset.save_as(file)
        made[name] = file.getvalue()
    return made


def test_one_input(data: bytes) -> None:
    """Read these bytes as a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for options in ({"temperatures": True}, {}, {"window": "own", "nodata": float("nan")}):
            try:
                picture = read_picture(io.BytesIO(data), max_pixels=1_000_000, **options)
            except PictureError:
                continue
            check(picture)


def check(picture: Picture) -> None:
    """What every image that was read has."""
    assert np.isfinite(picture.luminance).all()
    assert 0 <= picture.luminance.min() <= picture.luminance.max() <= 1


def main() -> None:
    """Run until the time is over."""
    given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    corpus = Path(given[0] if given else tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    for name, content in seeds().items():
        (corpus / name).write_bytes(content)
    atheris.Setup([*sys.argv[:1], str(corpus), *(a for a in sys.argv[1:] if a.startswith("-"))], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
