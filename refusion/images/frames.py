"""Files of several images, such as the focus stack of a microscope in one TIFF."""

import os
from pathlib import Path

from refusion.images.sources import TiffImage


def frames_of(source: str | os.PathLike) -> list[TiffImage]:
    """Return the images of a TIFF file with several, in their order; nothing for all other files.

    Raises:
        PictureError: the images have several channels or times, differ in size or type, or are not all listed in the
            file.
    """
    from refusion.images.failures import decoding
    from refusion.images.tiff import count_frames, is_tiff

    path = Path(os.fsdecode(source))
    if not path.is_file():
        return []
    with decoding(path.name), path.open("rb") as file:
        if not is_tiff(file.read(132)):
            return []
        file.seek(0)
        count = count_frames(file, path.name)
    return [TiffImage(path, index) for index in range(count)] if count > 1 else []
