"""Fuzzing of the picture reader: any bytes are a picture or a `PictureError`.

    pip install atheris
    python tests/fuzz_decoder.py CORPUS -max_total_time=600 -max_len=4096 -timeout=20

CORPUS is a folder; small pictures of all kinds are put into it to start from. What was found became cases of
tests/test_properties.py.
"""

import io
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["PIL", "refusion.decoding", "refusion.metadata", "refusion.dicom", "pydicom"]):
    from PIL import ExifTags, Image

    from refusion.decoding import read_picture
    from refusion.pictures import PictureError


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
    return made


def test_one_input(data: bytes) -> None:
    """Read these bytes as a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = read_picture(io.BytesIO(data), max_pixels=1_000_000)
        except PictureError:
            return
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
