"""Folders and lists of pairs: which files belong together, where the results go, and fusing what is not done yet."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from refusion.images.picture import PictureError
from refusion.images.writing import check_output

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".avif", ".heic", ".heif", ".dcm"})
"""Suffixes of the files in a folder that are taken for pictures."""

LISTS = frozenset({".csv", ".jsonl"})
"""Suffixes of lists of pairs."""


class DataError(ValueError):
    """The data set cannot be used; the message names the files and what to do."""


@dataclass(frozen=True)
class Job:
    """One pair of files and where its result goes."""

    name: str
    a: Path
    b: Path
    output: Path


@dataclass(frozen=True)
class Jobs:
    """What a folder or list asks for.

    Attributes:
        pairs: the pairs, in the order of their names, or of the list.
        unmatched: what has no partner, one sentence each.
    """

    pairs: list[Job]
    unmatched: list[str]


def match_folders(
    first: Path, second: Path, output: Path, suffix: str = ".png", patterns: tuple[str, str] = ("*", "*")
) -> Jobs:
    """Pair the files of two folders, or of one folder by two patterns.

    Args:
        first: folder of the first sources.
        second: folder of the second sources; may be the same if the patterns differ.
        output: folder of the results; it cannot be one of the two.
        suffix: suffix of the results.
        patterns: what the names look like, with one ``*`` each for what both names share, such as ``*_ir.*`` and
            ``*_vis.*`` (the suffix ``.*`` does not count). ``*`` alone is the stem.

    Returns:
        The pairs; results are named after what the names share.

    Raises:
        PictureError: the suffix is unknown; the output is a source folder; two files of a folder have one name; a
            pattern has no ``*``; or there is no pair at all.
    """
    check_output(Path(f"x{suffix}"))
    if first == second and patterns[0] == patterns[1]:
        raise PictureError("Pairs in one folder are told apart by two patterns, such as --match '*_ir.*' '*_vis.*'.")
    for folder in (first, second):
        if output.exists() and output.samefile(folder):
            raise PictureError(f"The output folder {output.name} is one of the sources; choose another.")
    by_name = [_named(folder, pattern) for folder, pattern in zip((first, second), patterns, strict=True)]
    unmatched = [
        f"{mine[name].name} in {folder.name} has no partner"
        for mine, theirs, folder in ((by_name[0], by_name[1], first), (by_name[1], by_name[0], second))
        for name in sorted(mine.keys() - theirs.keys())
    ]
    names = sorted(by_name[0].keys() & by_name[1].keys())
    if not names:
        raise PictureError(
            f"No file in {first.name} has a partner in {second.name}: they are matched by stem, or by --match with "
            "two patterns such as '*_ir.*' '*_vis.*'."
        )
    pairs = [Job(name, by_name[0][name], by_name[1][name], output / f"{name}{suffix}") for name in names]
    return Jobs(pairs, unmatched)


def read_list(path: Path, output: Path, suffix: str = ".png") -> Jobs:
    """Read a list of pairs: CSV with the columns a, b and perhaps output, or JSONL with these keys.

    Args:
        path: the list; relative names in it are looked for in its folder.
        output: folder of the results.
        suffix: suffix of results that the list does not name.

    Raises:
        PictureError: the list is damaged, empty, or names an output twice, outside of the output folder, or in an
            unknown format; the message gives the line.
    """
    check_output(Path(f"x{suffix}"))
    pairs: list[Job] = []
    seen: dict[Path, int] = {}
    for line, row in _rows(path):
        where = f"{path.name}, line {line}"
        missing = [key for key in ("a", "b") if not isinstance(row.get(key), str) or not row[key]]
        if missing:
            raise PictureError(f"{where}: {' and '.join(missing)} must name a file; the columns are a, b and output.")
        a, b = (path.parent / str(row[key]) for key in ("a", "b"))
        named = row.get("output") or f"{a.stem}{suffix}"
        target = output / str(named)
        if not target.resolve().is_relative_to(output.resolve()):
            raise PictureError(f"{where}: the output {named} lies outside of the output folder.")
        check_output(target)
        if target in seen:
            raise PictureError(f"{where}: the output {named} is that of line {seen[target]} too; name it differently.")
        seen[target] = line
        pairs.append(Job(str(named), a, b, target))
    if not pairs:
        raise PictureError(f"{path.name} lists no pair.")
    return Jobs(pairs, [])


def _named(folder: Path, pattern: str) -> dict[str, Path]:
    """The files of a folder that fit a pattern, by what stands for the ``*``."""
    if pattern != "*" and pattern.removesuffix(".*").count("*") != 1:
        raise PictureError(f"The pattern {pattern} needs one * for what both names share, as in '*_ir.*'.")
    expression = re.compile("(.+)".join(re.escape(part) for part in pattern.removesuffix(".*").split("*")))
    by_stem = pattern == "*" or pattern.endswith(".*")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        fits = expression.fullmatch(file.stem if by_stem else file.name)
        if fits is None:
            continue
        name = fits.group(1)
        if name in found:
            raise PictureError(f"{folder.name} holds both {found[name].name} and {file.name}; keep one of them.")
        found[name] = file
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PictureError(f"{path.name} is not UTF-8 text; save it again as such.") from error
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines())
        try:
            for row in reader:
                yield reader.line_num, dict(row)
        except csv.Error as error:
            raise PictureError(f"{path.name}, line {reader.line_num}: {error}.") from error
        return
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise PictureError(f"{path.name}, line {line} is not JSON: {error.msg}.") from error
        if not isinstance(row, dict):
            raise PictureError(f"{path.name}, line {line} must be an object with the keys a, b and perhaps output.")
        yield line, row
