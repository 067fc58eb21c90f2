"""Optional packages, and the extras that install them."""

from importlib.util import find_spec

EXTRAS = {
    "torch": ("huggingface_hub", "torch"),
    "evaluate": ("datasets", "huggingface_hub", "torch"),
    "bulk": ("datasets", "huggingface_hub", "torch"),
    "train": ("accelerate", "datasets", "huggingface_hub", "tensorboard", "timm", "torch"),
    "demo": ("gradio", "huggingface_hub", "torch"),
    "openvino": ("openvino",),
}
"""Import names of the packages that an extra provides; extras with a single use are not listed."""


class MissingExtraError(ImportError):
    """A package is not installed; the message is a sentence with the command that installs it."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return find_spec(package) is not None


def need(extra: str, what: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: one of `EXTRAS`.
        what: the subject of the message, such as ``refusion export``.

    Raises:
        MissingExtraError: a package is not installed.
    """
    missing = [package for package in EXTRAS[extra] if not is_installed(package)]
    if missing:
        *others, last = missing
        named = f"{', '.join(others)} and {last}" if others else last
        raise MissingExtraError(f'{what} needs {named}: pip install "refusion[{extra}]".')
