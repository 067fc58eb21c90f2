"""Files that come with the package: bundled models, the Space, example images."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def resource_folders(*names: str) -> list[Path]:
    """Existing folders of these names: inside the package in a wheel, beside it in a checkout and in a Space."""
    return [folder for root in (PACKAGE, PACKAGE.parent) for name in names if (folder := root / name).is_dir()]
