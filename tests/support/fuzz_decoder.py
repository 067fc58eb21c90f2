"""Fuzzing of the picture reader: any bytes are a picture or a `PictureError`.

    pip install atheris 'refusion[thermal]'
    PYTHONPATH=. python tests/fuzz_decoder.py CORPUS -max_total_time=600 -max_len=4096 -timeout=20

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
import tifffile

INSTRUMENTED = ["PIL", "flyr", "pydicom"]
INSTRUMENTED += [
    f"refusion.{name}" for name in ("images.reading", "images.tiff", "images.dicom", "images.exif", "images.thermal")
]

with atheris.instrument_imports(include=INSTRUMENTED):
    from PIL import ExifTags, Image
    from support.flir import fff, radiometric

    from refusion.images.picture import Picture, PictureError
    from refusion.images.reading import read_picture


def seeds() -> dict[str, bytes]:
    """A small picture of every kind."""
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
    for dtype in ("float32", "float64", "uint16"):
        file = io.BytesIO()
        values = colour[..., :3] / 255 if dtype != "uint16" else colour[..., :3] * 257.0
        tifffile.imwrite(file, values.astype(dtype), photometric="rgb", compression="deflate")
        made[f"rgb.{dtype}.TIFF"] = file.getvalue()
    raw = rng.integers(10_000, 20_000, (9, 11), dtype=np.uint16)
    made["thermal.JPEG"] = radiometric(fff(raw, raw.tobytes()), colour[..., :3])
    return made


def test_one_input(data: bytes) -> None:
    """Read these bytes as a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for temperatures in (True, False):
            try:
                picture = read_picture(io.BytesIO(data), max_pixels=1_000_000, temperatures=temperatures)
            except PictureError:
                continue
            check(picture)


def check(picture: Picture) -> None:
    """What every picture that was read has."""
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
