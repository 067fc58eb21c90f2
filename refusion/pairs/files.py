"""Find the pairs in folders and lists, and the paths of their results."""

import csv
import io
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from refusion.hub.names import is_path
from refusion.images.picture import PictureError
from refusion.images.writing import check_output, check_suffix
from refusion.pairs.matching import Files, files_of, match
from refusion.system.files import is_there
from refusion.tasks import Task

LISTS = frozenset({".csv", ".jsonl", ".tsv"})
"""Suffixes of lists of pairs."""

METADATA = "metadata.jsonl"
"""Name of the list in an imagefolder."""

SourceKind: TypeAlias = Literal["hub", "list", "folders", "imagefolder", "parquet"]
"""What a data set is: on the Hub, a list, the two folders of a task, an imagefolder, or Parquet files."""


class DataError(ValueError):
    """A data set cannot be used; the message names the files and says what to do."""


def check_source(source: str | Path, task: Task) -> None:
    """Check that a data set exists, or may be the name of one on the Hub.

    Args:
        source: a path, or OWNER/NAME.
        task: the task, which names the two folders.

    Raises:
        DataError: there is no such folder or file.
    """
    named = is_path(str(source)) or Path(source).suffix.lower() in (".parquet", *LISTS)
    if not Path(source).exists() and named:
        raise DataError(
            f"There is no folder or file {str(source)!r}; give a folder with {' and '.join(task.folders)} in it, an "
            "imagefolder, a list, Parquet, or OWNER/NAME of a data set on the Hub."
        )


def check_apart(out: Path, source: str | Path, task: Task) -> None:
    """Check that a folder to write to does not lie among the images of a data set, where its images would be sources.

    Args:
        out: the folder; it need not exist.
        source: see `check_source`.
        task: see `check_source`.

    Raises:
        DataError: it is one of the two folders of the task, or lies within one.
    """
    for folder in (Path(source) / name for name in task.folders):
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"The output {out.name} lies within the source {folder.name}; choose another folder.")


def source_kind(source: str | Path, task: Task) -> SourceKind:
    """What a data set on this machine or on the Hub is.

    Args:
        source: see `check_source`.
        task: see `check_source`.

    Raises:
        DataError: there is no such folder or file, or it is none of these.
    """
    check_source(source, task)
    path = Path(source)
    if not path.exists():
        return "hub"
    if path.is_file() and path.suffix.lower() in LISTS:
        return "list"
    if all((path / folder).is_dir() for folder in task.folders):
        return "folders"
    if (path / METADATA).is_file():
        return "imagefolder"
    if parquet_files(path):
        return "parquet"
    raise DataError(
        f"{path.name or path.resolve()} holds neither the folders {' and '.join(task.folders)}, nor {METADATA}, nor "
        f"Parquet files, and is neither a Parquet file nor a list ({' or '.join(sorted(LISTS))}).{_layout_advice(path)}"
    )


def _layout_advice(path: Path) -> str:
    """What to do about a folder in another layout of `datasets`, as a sentence after a space; empty if it is none."""
    if any((folder / "state.json").is_file() for folder in (path, *path.glob("*/"))):
        return " It was written by save_to_disk of datasets: load it with load_from_disk, and save it with to_parquet."
    splits = sorted(file.parent.name for file in path.glob(f"*/{METADATA}"))
    return f" {METADATA} is in {' and in '.join(splits)}: give that folder." if splits else ""


def parquet_files(path: Path) -> list[Path]:
    """A Parquet file alone, or all of those in a folder and its subfolders, sorted."""
    files = [path] if path.is_file() else path.rglob("*")
    return sorted(file for file in files if file.suffix.lower() == ".parquet" and file.is_file())


def hub_caches() -> tuple[Path, ...]:
    """Folders in which `datasets` stores data sets on the Hub: the only ones whose files the rows of these may name."""
    import datasets

    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    return tuple(Path(cache).expanduser().resolve() for cache in caches)


@contextmanager
def reading_pairs(source: str | Path) -> Iterator[None]:
    """Name the data set in a system error of the block, in which it is read.

    Raises:
        DataError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        raise DataError(f"The pairs in {source} cannot be read: {error.strerror or error}{where}.") from error


@dataclass(frozen=True)
class Job:
    """A pair of files and the path of its result."""

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
        PictureError: the suffix is unknown; the output is a source folder; a pattern does not have exactly one ``*``;
            there is no pair; or a result would replace a source.
    """
    check_suffix(suffix)
    if first == second and patterns[0] == patterns[1]:
        raise PictureError("Pairs in one folder need two different patterns, such as --match '*_ir.*' '*_vis.*'.")
    for folder in (first, second):
        if output.exists() and output.samefile(folder):
            raise PictureError(f"The output folder {output.name} is one of the source folders; choose another.")
    try:
        found = [files_of(f, pattern, leave=output) for f, pattern in zip((first, second), patterns, strict=True)]
    except ValueError as error:
        raise PictureError(str(error)) from error
    matched = match(*found)
    if not matched.pairs:
        why = " ".join([*(f"{problem}." for problem in matched.problems), *matched.notes][:3])
        raise PictureError(
            f"No file in {first.name} has a partner in {second.name}: they are matched by stem{advice}."
            f"{' ' + why if why else ''}"
        )
    pairs = [Job(name, a, b, output / f"{name}{suffix}") for name, a, b in matched.pairs]
    lost = _replaced_source((job.output for job in pairs), (file for files in found for file in files.by_name.values()))
    if lost is not None:
        raise PictureError(
            f"The result {lost.relative_to(output)} in {output.name} is one of the sources; choose another folder for "
            "the results."
        )
    return Jobs(pairs, matched.problems, matched.notes)


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


def refuse_doubles(files: Files, kind: type[ValueError]) -> None:
    """Reject a folder in which two images have the same name.

    Raises:
        ValueError: there are such images; the exception is of type `kind`.
    """
    for _, one, other in files.doubles:
        raise kind(f"{files.where} holds both {one.name} and {other.name}; keep only one of them.")


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
    for line, row in list_rows(path):
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
        pairs.append(Job(named, a, b, target))
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


def names_file(value: object) -> bool:
    """Whether a value in a list can be the path of a file."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def listed_file(folder: Path, name: str) -> Path:
    """Return the path of a file named in a list in this folder.

    Backslashes of Windows are accepted, and accents in either encoding (macOS decomposes them).
    """
    plain = name.replace("\\", "/")
    spellings = (name, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")))
    return next((folder / one for one in spellings if is_there(folder / one)), folder / plain)


def list_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the rows of a CSV, TSV or JSONL file with their line numbers.

    CSV columns are separated by commas, semicolons or tabs, detected in the first line.

    Raises:
        PictureError: the file is damaged; the message gives the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PictureError(f"{path.name} is not UTF-8 text; save it again as UTF-8.") from error
    return _json_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    # Excel may write the separator in a first line of its own.
    given = text[4:5] if text.lower().startswith("sep=") else None
    above = 1 if given else 0
    if given:
        text = text.partition("\n")[2]
    delimiter = given or max((",", ";", "\t"), key=text.partition("\n")[0].count)
    lines = list(io.StringIO(text, newline=""))
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        columns = [(name or "").strip() for name in reader.fieldnames or ()]
        if columns and not {"a", "b"} <= {*columns}:
            raise PictureError(f"{path.name} has the columns {', '.join(columns)}, but it needs a and b.")
        start = reader.line_num
        for row in reader:
            if reader.line_num - start > 1 and not _is_closed(lines[start : reader.line_num], delimiter):
                first = next(number for number in range(start, reader.line_num) if lines[number].strip())
                raise PictureError(
                    f"{path.name}, line {above + first + 1}: a quote is opened and not closed; close it, or remove it."
                )
            start = reader.line_num
            yield above + reader.line_num, {(key or "").strip(): _stripped(value) for key, value in row.items()}
    except csv.Error as error:
        raise PictureError(f"{path.name}, line {above + reader.line_num}: {error}.") from error


def _is_closed(lines: list[str], delimiter: str) -> bool:
    """Whether every quote of a row is closed; an open one takes the rows below it into its own."""
    try:
        list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return False
    return True


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise PictureError(f"{path.name}, line {line} is not JSON: {error.msg}.") from error
        except RecursionError as error:
            raise PictureError(f"{path.name}, line {line} is not a row: it is nested too deeply.") from error
        if not isinstance(row, dict):
            raise PictureError(f"{path.name}, line {line} must be an object with the keys a, b and optionally output.")
        yield line, row
