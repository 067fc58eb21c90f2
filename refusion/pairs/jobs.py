"""The pairs of two folders or of a list, and the path of the result of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from refusion.images.picture import PictureError
from refusion.images.writing import check_output, check_suffix
from refusion.pairs.lists import list_rows, listed_file, names_file
from refusion.pairs.matching import files_of_both, match, no_pair


@dataclass(frozen=True)
class Job:
    """A pair of files and the path of its result; `row` is its index among the pairs of folders, or in the list."""

    row: int
    name: str
    a: Path
    b: Path
    output: Path


@dataclass(frozen=True)
class Jobs:
    """The pairs of a folder or list.

    Attributes:
        pairs: the pairs, sorted by name, or in the order of the list.
        unmatched: files without a partner and incomplete rows, one sentence each.
        notes: files that were left out because they are not images to fuse, as sentences.
    """

    pairs: list[Job]
    unmatched: list[str]
    notes: list[str] = field(default_factory=list)


def match_folders(
    first: Path,
    second: Path,
    output: Path,
    suffix: str = ".png",
    patterns: tuple[str, str] = ("*", "*"),
    advice: str = "",
) -> Jobs:
    """Pair the files of two folders and their subfolders, or of one folder with two patterns.

    Args:
        first: folder of the first sources.
        second: folder of the second sources; may be the same if the patterns differ.
        output: folder of the results; it must be neither of the two.
        suffix: suffix of the results.
        patterns: patterns of the file names, each with one ``*`` for the common part of both names, such as ``*_ir.*``
            and ``*_vis.*`` (the suffix ``.*`` does not count). ``*`` alone is the stem.
        advice: how else files can be matched, for the message that there is no pair.

    Returns:
        The pairs; results are named after the common part, in the same subfolders as the sources.

    Raises:
        PictureError: the suffix is unknown; the output is a source folder; a pattern does not have exactly one ``*``,
            or has a folder in it; there is no pair; or a result would replace a source.
    """
    check_suffix(suffix)
    for folder in (first, second):
        if output.exists() and output.samefile(folder):
            raise PictureError(f"The output folder {output.name} is one of the source folders; choose another.")
    try:
        found = files_of_both((first, second), patterns, leave=output)
    except ValueError as error:
        raise PictureError(str(error)) from error
    matched = match(*found)
    if not matched.pairs:
        raise PictureError(no_pair(*found, matched, advice))
    pairs = [Job(row, name, a, b, output / f"{name}{suffix}") for row, (name, a, b) in enumerate(matched.pairs)]
    lost = _replaced_source((job.output for job in pairs), (file for files in found for file in files.by_name.values()))
    if lost is not None:
        raise PictureError(
            f"The result {lost.relative_to(output)} in {output.name} is one of the sources; choose another folder for "
            "the results."
        )
    return Jobs(pairs, matched.problems, matched.notes)


def read_list(path: Path, output: Path, suffix: str = ".png") -> Jobs:
    """Read a list of pairs: CSV with the columns a, b and optionally output, or JSONL with these keys.

    A row that does not name both files is listed as unmatched.

    Args:
        path: the list; relative paths in it are relative to its folder.
        output: folder of the results.
        suffix: suffix of results without a name in the list.

    Raises:
        PictureError: the list is damaged, has no columns a and b or no pair, or an output is named twice, outside of
            the output folder, in an unknown format, or one of the sources; the message gives the line.
    """
    check_suffix(suffix)
    pairs: list[Job] = []
    unmatched: list[str] = []
    seen: dict[str, int] = {}
    for index, (line, row) in enumerate(list_rows(path)):
        where = f"{path.name}, line {line}"
        missing = [key for key in ("a", "b") if not names_file(row.get(key))]
        if missing:
            unmatched.append(f"{where}: {' and '.join(missing)} must name a file; the columns are a, b and output.")
            continue
        if urls := [str(row[key]) for key in ("a", "b") if str(row[key]).startswith(("http://", "https://"))]:
            unmatched.append(f"{where}: {urls[0]} is a URL; download it, and give the file.")
            continue
        a, b = (listed_file(path.parent, str(row[key])) for key in ("a", "b"))
        if row.get("output") and not names_file(row["output"]):
            raise PictureError(f"{where}: the output {row['output']!r} is not the name of a file.")
        named = str(row.get("output") or f"{a.stem}{suffix}").replace("\\", "/")
        target = output / named
        if not target.resolve().is_relative_to(output.resolve()):
            raise PictureError(f"{where}: the output {named} lies outside of the output folder; name one inside.")
        try:
            check_output(target)
        except PictureError as error:
            raise PictureError(f"{where}: {error}") from error
        if (key := _key(target)) in seen:
            raise PictureError(f"{where}: line {seen[key]} has the output {named} too; give another name.")
        seen[key] = line
        pairs.append(Job(index, named, a, b, target))
    if not pairs:
        raise PictureError(f"{path.name} lists no pair. {' '.join(unmatched[:3])}".rstrip())
    lost = _replaced_source((job.output for job in pairs), (source for job in pairs for source in (job.a, job.b)))
    if lost is not None:
        raise PictureError(
            f"{path.name}, line {seen[_key(lost)]}: the output {lost.relative_to(output)} is one of the sources; give "
            "another name in the column output, or choose another folder."
        )
    return Jobs(pairs, unmatched)


def _key(output: Path) -> str:
    # Windows and macOS take names that differ in upper and lower case for the same file.
    return str(output.resolve()).casefold()


def _replaced_source(outputs: Iterable[Path], sources: Iterable[Path]) -> Path | None:
    """The first output that is one of the sources, also through a link; None if there is none.

    Only files that exist are compared, so in a new folder no source is looked up.
    """
    there = {key: output for output in outputs if (key := _file_key(output)) is not None}
    if not there:
        return None
    return next((there[key] for source in sources if (key := _file_key(source)) in there), None)


def _file_key(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
