"""Fused images in a folder, found by the names of their pairs."""

import re
from pathlib import Path

from refusion.images import PictureError
from refusion.pairs.errors import DataError
from refusion.pairs.matching import files_of, refuse_doubles
from refusion.system.files import nfc, printable


class FusedFolder:
    """A folder of fused images, one file per pair, found by the name of the pair.

    Args:
        path: the folder.

    Raises:
        DataError: there is no such folder, or two images in it have the same stem.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"There is no folder {str(path)!r}; give the folder that holds the fused images.")
        self.path = path
        files = files_of(path)
        refuse_doubles(files)
        # The names of pairs are text, unlike those of files.
        self._by_stem = {printable(name): file for name, file in files.by_name.items()}
        self._by_name = {printable(nfc(file.relative_to(path).as_posix())): file for file in files.by_name.values()}

    def find(self, name: str) -> Path:
        """Return the image of the pair `name`: the one with this stem, or with exactly this file name.

        Raises:
            PictureError: there is no such image.
        """
        wanted = printable(nfc(name))
        file = self._by_stem.get(wanted) or self._by_name.get(wanted)
        if file is None:
            raise PictureError(
                f"There is no fused image {name} in {self.path.name}; its name must be that of the pair, "
                f"as in {name}.png.{self._near(wanted)}"
            )
        return file

    def _near(self, wanted: str) -> str:
        """A sentence on an image whose name differs only in case, or has the name of the pair in it; or nothing."""
        for stem, file in self._by_stem.items():
            if stem.casefold() == wanted.casefold():
                return f" {file.name} differs in upper and lower case."
        whole = re.compile(rf"(?<![^\W_]){re.escape(wanted)}(?![^\W_])")
        near = (file.name for stem, file in self._by_stem.items() if wanted in stem and whole.search(stem))
        return next((f" If it is {name}, rename it." for name in near), "")
