"""Files of pairs."""

from pathlib import Path

import imagecodecs
from PIL import Image
from support.scenes import textured


def image(path: Path, kind: str = "PNG") -> Path:
    """Write an image, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "JPEG XL":
        path.write_bytes(imagecodecs.jpegxl_encode(textured(3)))
        return path
    Image.fromarray(textured(3)).save(path, kind)
    return path
