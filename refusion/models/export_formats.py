"""What a model can be exported as; for `refusion.models.export`, without torch."""

from pathlib import Path

FORMATS = (".onnx", ".pt2")


class ExportError(ValueError):
    """A model cannot be exported; the message is a sentence for people."""


def check_export(path: Path) -> None:
    """Refuse a file whose suffix names no format.

    Raises:
        ExportError: it does not.
    """
    if path.suffix not in FORMATS:
        given = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise ExportError(f"{path.name} {given}; a model is exported as one of {', '.join(FORMATS)}.")
