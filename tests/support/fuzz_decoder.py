"""Fuzzing of the picture reader: any bytes are a picture or a `PictureError`.

    pip install atheris 'refusion[dicom,heic,thermal]'
    PYTHONPATH=.:tests python tests/support/fuzz_decoder.py CORPUS -max_total_time=600 -max_len=4096 -timeout=20

CORPUS is a folder; small pictures of all kinds are put into it to start from. What was found became cases of
tests/images/test_properties.py.
"""

import io
import math
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np

INSTRUMENTED = ["PIL", "flyr", "pydicom", "tifffile", "refusion.images"]

with atheris.instrument_imports(include=INSTRUMENTED):
    import imagecodecs
    import tifffile
    from PIL import ExifTags, Image
    from support.flir import fff, radiometric

    from refusion.images.picture import Picture, PictureError
    from refusion.images.reading import read_picture
    from refusion.images.writing import save_picture, to_png


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
        for suffix in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "AVIF", "GIF", "PPM", "JPEG2000"):
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
    made |= {f"{name}.TIFF": content for name, content in tiffs(grey).items()}
    made |= jpegs(grey)
    made |= phone_images(grey)
    made |= {f"{name}.DICOM": content for name, content in dicoms(grey).items()}
    raw = rng.integers(10_000, 20_000, (9, 11), dtype=np.uint16)
    made["deep.JPEG2000"] = imagecodecs.jpeg2k_encode(raw, level=0, reversible=True)
    for name, values in (("grey", grey), ("rgba", colour), ("deep", raw), ("float", (grey / 255).astype(np.float32))):
        made[f"{name}.JXL"] = imagecodecs.jpegxl_encode(values, usecontainer=name == "grey")
    made["lossy.JXL"] = imagecodecs.jpegxl_encode(colour[..., :3], level=80)
    made["deep.PPM"] = b"P5\n11 9\n20000\n" + raw.astype(">u2").tobytes()
    for name, values in (("deep", raw), ("rgb", colour[..., :3]), ("float", grey / 255)):
        file = io.BytesIO()
        np.save(file, values)
        made[f"{name}.NPY"] = file.getvalue()
    made["thermal.JPEG"] = radiometric(fff(raw, raw.tobytes()), colour[..., :3])
    return made


def tiffs(grey: np.ndarray) -> dict[str, bytes]:
    """TIFF files with a thumbnail, a mask, GeoTIFF tags, and few or odd numbers of bits."""
    made = {}
    for name in ("thumbnail", "mask"):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            if name == "thumbnail":
                writer.write(grey, subfiletype=1, subifds=1, metadata=None)
                writer.write(np.kron(grey, np.ones((2, 2), np.uint8)), metadata=None)
            else:
                writer.write(grey, metadata=None)
                writer.write(grey > 20, subfiletype=4, metadata=None)
        made[name] = file.getvalue()
    colours = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    for name, options in (
        ("orthophoto", {"photometric": "rgb", "compression": "jpeg"}),
        ("map", {"photometric": "palette", "colormap": colours}),
    ):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            values = np.repeat(grey[..., None], 3, axis=2) if name == "orthophoto" else grey
            writer.write(values[::4, ::4], subfiletype=1, metadata=None, **options)
            writer.write(values, tile=(16, 16), extratags=[(42113, "s", 0, "7", True)], metadata=None, **options)
            writer.write(grey > 20, subfiletype=4, photometric=4, metadata=None)
        made[name] = file.getvalue()
    for bits in (1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 24):
        file = io.BytesIO()
        kind = np.uint8 if bits < 8 else np.uint16 if bits < 17 else np.uint32
        tifffile.imwrite(file, (grey.astype(kind) % 2 ** min(bits, 8)), bitspersample=bits, photometric="minisblack")
        made[f"bits{bits}"] = file.getvalue()
    file = io.BytesIO()
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 4, 0)
    tags = [
        (33550, "d", 3, (0.5, 0.5, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 4.5, 52.1, 0.0), True),
        (34735, "H", len(keys), keys, True),
        (34736, "d", 2, (6378137.0, 298.25), True),
        (34737, "s", 0, "WGS|", True),
        (42112, "s", 0, '<GDALMetadata><Item role="description">red</Item></GDALMetadata>', True),
        (42113, "s", 0, "3", True),
    ]
    tifffile.imwrite(file, grey, extratags=tags, metadata=None)
    made["geo"] = file.getvalue()
    cmyk = np.repeat(grey[..., None], 4, axis=2).astype(np.uint16) * 257
    file = io.BytesIO()
    tifffile.imwrite(file, cmyk, photometric="separated", extratags=[(332, "H", 1, 1, True)], metadata=None)
    made["cmyk16"] = file.getvalue()
    for compression in ("lzma", "zstd", "packbits", "jpeg", "png"):
        file = io.BytesIO()
        tifffile.imwrite(file, grey, compression=compression, metadata=None)
        made[compression] = file.getvalue()
    return made


def jpegs(grey: np.ndarray) -> dict[str, bytes]:
    """JPEG files of 12 bits, lossless, and JPEG-LS."""
    deep = grey.astype(np.uint16) * 16
    return {
        "deep.JPEG": imagecodecs.jpeg8_encode(deep, bitspersample=12),
        "lossless.JPEG": imagecodecs.ljpeg_encode(deep, bitspersample=12),
        "ls.JPEG": imagecodecs.jpegls_encode(deep),
    }


def phone_images(grey: np.ndarray) -> dict[str, bytes]:
    """HEIC and AVIF files of 8 and 10 bits, and a HEIC that holds two images."""
    import pillow_heif

    deep = np.repeat(grey[:8, :8, None], 3, axis=2).astype(np.uint16)
    made = {"deep.AVIF": imagecodecs.avif_encode(deep * 4, level=90, bitspersample=10)}
    eight = pillow_heif.from_pillow(Image.fromarray(deep.astype(np.uint8)))
    ten = pillow_heif.from_bytes(mode="RGB;16", size=(8, 8), data=(deep << 8).tobytes())
    two = pillow_heif.from_pillow(Image.fromarray(grey))
    two.add_from_pillow(Image.fromarray(255 - grey))
    for name, image in (("eight", eight), ("ten", ten), ("two", two)):
        file = io.BytesIO()
        image.save(file, quality=60)
        made[f"{name}.HEIC"] = file.getvalue()
    return made


def dicoms(grey: np.ndarray) -> dict[str, bytes]:
    """Small files of DICOM: with a palette, with padding and a window, without a preamble, enhanced, compressed."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    packed = {
        "lossless": ("57", lambda values: imagecodecs.ljpeg_encode(values, bitspersample=8)),
        "process14": ("70", lambda values: imagecodecs.ljpeg_encode(values, bitspersample=8)),
        "ls": ("80", imagecodecs.jpegls_encode),
        "baseline": ("50", imagecodecs.jpeg8_encode),
        "extended": ("51", lambda values: imagecodecs.jpeg8_encode(values.astype(np.uint16), bitspersample=12)),
        "j2k": ("90", imagecodecs.jpeg2k_encode),
        "htj2k": ("201", imagecodecs.htj2k_encode),
    }
    made = {}
    for name in ("palette", "window", "bare", "enhanced", *packed):
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
        if name in packed:
            syntax, encode = packed[name]
            meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
            dataset.PixelData = encapsulate([encode(grey)])
            if name == "extended":
                dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        if name == "enhanced":
            rescale, window, groups = Dataset(), Dataset(), Dataset()
            rescale.RescaleSlope, rescale.RescaleIntercept = 2, -100
            window.WindowCenter, window.WindowWidth = 100, 50
            groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [rescale], [window]
            dataset.SharedFunctionalGroupsSequence, dataset.NumberOfFrames = [groups], 1
        file = io.BytesIO()
        if name == "bare":
            dataset.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
        else:
            dataset.save_as(file)
        made[name] = file.getvalue()
    return made


SCRATCH = Path(tempfile.mkdtemp())


def test_one_input(data: bytes) -> None:
    """Read these bytes as a file, and write what was read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for options in ({"temperatures": True}, {}, {"window": "own", "nodata": math.nan}):
            try:
                picture = read_picture(io.BytesIO(data), max_pixels=100_000, **options)
            except PictureError as error:
                check_text(str(error))
                continue
            check(picture)
        if "picture" in locals() and (picture.geo or picture.exif or picture.icc_profile):
            to_png(picture)
            save_picture(picture, SCRATCH / "a.tif")


def check(picture: Picture) -> None:
    """What every image that was read has."""
    assert np.isfinite(picture.luminance).all()
    assert 0 <= picture.luminance.min() <= picture.luminance.max() <= 1
    assert picture.chroma is None or np.isfinite(picture.chroma).all()
    assert picture.alpha is None or 0 <= picture.alpha.min() <= picture.alpha.max() <= 1
    check_text(picture.note or "")


def check_text(said: str) -> None:
    """A sentence is one line of a few hundred characters that any terminal shows."""
    assert said.isprintable(), said
    assert len(said) < 1000, said


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
