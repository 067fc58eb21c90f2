"""Export formats, without importing torch; see `refusion.models.export`."""

from pathlib import Path

FORMATS = (".onnx", ".pt2")


class ExportError(ValueError):
    """A model cannot be exported; the message is a sentence for the user."""


def check_export(path: Path) -> None:
    """Check that the suffix of a file is an export format.

    Raises:
        ExportError: it is not.
    """
    if path.suffix not in FORMATS:
        given = f"ends in {path.suffix}" if path.suffix else "is a folder" if path.is_dir() else "has no suffix"
        raise ExportError(
            f"{path.name or path} {given}; give the name of a file that ends in {' or '.join(FORMATS)}, such as "
            f"model{FORMATS[0]}."
        )
