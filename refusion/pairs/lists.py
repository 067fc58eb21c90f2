"""Read the rows of lists: CSV, TSV and JSONL files that name the files of pairs."""

import codecs
import csv
import io
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from refusion.images.failures import one_line
from refusion.images.picture import PictureError
from refusion.system.files import is_there

BY_A_LIST = ", or by a list (.csv) with the columns a and b"
"""How files are matched whose names differ, after how others are."""

LISTS = frozenset({".csv", ".jsonl", ".tsv"})
"""Suffixes of lists of pairs."""

_COLUMNS = ("a", "b", "output", "name")

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How text starts that is UTF-16, as Excel writes Unicode text, and Windows PowerShell what is redirected."""

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def list_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the rows of a CSV, TSV or JSONL file with their line numbers.

    CSV columns are separated by commas, semicolons or tabs, detected in the first line. Their names, and keys of JSON,
    may be in upper case. The text is UTF-8, or UTF-16 with a byte order mark.

    Raises:
        PictureError: the file is damaged; the message gives the line.
    """
    with path.open("rb") as file:
        start = file.read(2)
    try:
        text = path.read_text(encoding="utf-16" if start in _UTF_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise PictureError(
            f"{path.name} is not UTF-8 text; save it again as UTF-8, which Excel calls CSV UTF-8."
        ) from error
    return _json_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    delimiter, above, text = _delimited(text)
    lines = list(io.StringIO(text, newline=""))
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        reader.fieldnames = _known([(name or "").strip() for name in reader.fieldnames or ()])
        _check_columns(path.name, reader.fieldnames)
        start = reader.line_num
        for row in reader:
            if reader.line_num - start > 1 and not _is_closed(lines[start : reader.line_num], delimiter):
                first = next(number for number in range(start, reader.line_num) if lines[number].strip())
                raise PictureError(
                    f"{path.name}, line {above + first + 1}: a quote is opened and not closed; close it, or remove it."
                )
            start = reader.line_num
            if any(row.get(None) or ()):
                raise PictureError(
                    f"{path.name}, line {above + start} has more values than the list has columns; name all columns in "
                    f"the first line, and put names with a {_SEPARATORS.get(delimiter, delimiter)} in quotes."
                )
            yield above + reader.line_num, {key or "": _stripped(value) for key, value in row.items()}
    except csv.Error as error:
        raise PictureError(f"{path.name}, line {above + reader.line_num}: {error}.") from error


def _delimited(text: str) -> tuple[str, int, str]:
    """The separator of a list, the number of lines above the names of its columns, and the text from these on."""
    table = text.lstrip("\n")
    above = len(text) - len(table)
    # Excel may write the separator in a first line of its own.
    given = table[4:5] if table.lower().startswith("sep=") else ""
    if given:
        above, table = above + 1, table.partition("\n")[2]
    return given or max(_SEPARATORS, key=table.partition("\n")[0].count), above, table


def _check_columns(name: str, columns: Sequence[str]) -> None:
    """Check that a list has the columns of the sources, and each of its own columns once.

    Raises:
        PictureError: it does not; an empty list has no columns, and passes.
    """
    if columns and not {"a", "b"} <= {*columns}:
        raise PictureError(f"{name} has the columns {one_line(', '.join(columns))}, but it needs a and b.")
    if twice := [column for column in _COLUMNS if columns.count(column) > 1]:
        raise PictureError(f"{name} has the column {twice[0]} more than once; remove or rename all but one.")


def _known(names: Sequence[str]) -> list[str]:
    """The names of columns, with those of lists in lower case, unless there is such a column, too."""
    return [name.lower() if name.lower() in _COLUMNS and name.lower() not in names else name for name in names]


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
        yield line, dict(zip(_known([*row]), row.values(), strict=True))


def output_name(row: Mapping[str, object]) -> str | None:
    """The name of a pair by the output of its row, without the suffix; None if the row has none."""
    output = row.get("output")
    return Path(str(output).replace("\\", "/")).with_suffix("").as_posix() if output else None


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
