"""Installed size of the base and of each extra, from the files of the packages in this environment, which has all."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

BLOCK = 4096
ROOT = Path(__file__).parents[1]


def closure(requirements: list[str], extras: dict[str, list[str]], found: set[str]) -> set[str]:
    """Names of the packages that are installed for some, those included."""
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        if wanted.name == "refusion":
            for extra in wanted.extras:
                closure(extras[extra], extras, found)
            continue
        name = wanted.name.lower().replace("_", "-")
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            raise SystemExit(f'{name} is not installed here; install everything: pip install ".[all]"') from None
        if name not in found:
            found.add(name)
            closure(needed, extras, found)
        closure([line.split(";")[0] for line in needed if _of(line, wanted.extras)], extras, found)
    return found


def _of(line: str, extras: set[str]) -> bool:
    marker = Requirement(line).marker
    return marker is not None and any(marker.evaluate({"extra": extra}) for extra in extras) and "extra" in line


def megabytes(names: set[str]) -> float:
    """Size on a disk with blocks of 4 KiB, in units of 2^20 bytes."""
    total = 0
    for name in names:
        package = distribution(name)
        for file in package.files or []:
            path = Path(str(package.locate_file(file)))
            if path.is_file():
                total += -(-path.stat().st_size // BLOCK) * BLOCK
    return total / 2**20


def main() -> None:
    """Print a table in Markdown."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = closure(project["dependencies"], extras, set())
    print("| install | packages | MB | of that CUDA |\n| --- | --- | --- | --- |")
    for extra in (None, *extras):
        names = closure(extras[extra], extras, set(base)) if extra else base
        cuda = {name for name in names if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
        print(f"| {extra or 'base'} | {len(names)} | {megabytes(names):.0f} | {megabytes(cuda):.0f} |")


if __name__ == "__main__":
    main()
