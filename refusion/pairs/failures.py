"""The list of pairs that were not fused, a file among the results."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from refusion.system.files import write_text

FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Failure:
    """A row that could not be fused.

    Attributes:
        row: its index, or None for a file without a partner.
        id: its id.
        error: why, as a sentence.
    """

    row: int | None
    id: str | None
    error: str


def failure_lines(failures: Iterable[Failure]) -> str:
    """The failures as JSON, one a line."""
    return "".join(json.dumps(asdict(failure), ensure_ascii=False) + "\n" for failure in failures)


def write_failures(folder: Path, failures: Iterable[Failure]) -> Path | None:
    """Write the failures to a folder of results, in place of those of an earlier run; without any, there is no file.

    Returns:
        The file, or None if there are no failures.

    Raises:
        ValueError: a file of this name is there that is no list of failures; it is kept.
        OSError: the file cannot be written.
    """
    path, text = folder / FAILURES, failure_lines(failures)
    if path.exists() and not _is_list_of_failures(path):
        raise ValueError(f"{path} is there and is no list of failures, so it is kept; move it elsewhere.")
    if not text:
        path.unlink(missing_ok=True)
        return None
    write_text(path, text)
    return path


def _is_list_of_failures(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    except ValueError:
        return False
    return all(isinstance(row, dict) and row.keys() == {"row", "id", "error"} for row in rows)
