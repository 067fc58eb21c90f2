"""With which settings a folder of results was filled, so that results of other settings can be told apart.

A hidden file in the folder gets a line whenever the settings change. A result is of those that were in use when it was
written, by the clock of the folder's file system. So no result is read, and machines that fuse into one folder with the
same settings need not know of each other.
"""

import bisect
import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from refusion.inference.options import Options
from refusion.pairs.matching import RECORD
from refusion.tasks import Task

Settings = dict[str, Any]

_WEIGHTS = "weights"
_LEFT_OUT = ("deghost", "max_pixels", "engine", "channels_first", "urls")
"""Options without a (visible) effect on pairs of files."""


@dataclass(frozen=True)
class Period:
    """Settings, and the time from which on they were in use, in seconds since the epoch."""

    since: float
    settings: Settings


def settings_of(options: Options, task: Task, bits: int | None, weights: str) -> Settings:
    """The settings that results depend on, as they are read from JSON.

    Args:
        options: options of fusing.
        task: the task whose defaults apply.
        bits: 8 or 16; the depth of the sources if not given.
        weights: digest of the model.
    """
    given = {name: value for name, value in asdict(options).items() if name not in _LEFT_OUT}
    given["nodata"] = None if options.nodata is None else str(options.nodata)  # nan is not equal to itself
    settings = {"task": task.name, **given, **asdict(options.for_task(task)), "bits": bits, _WEIGHTS: weights}
    return dict(json.loads(json.dumps(settings)))


def read_record(folder: Path) -> list[Period]:
    """The settings that a folder was filled with, the earliest first; lines that are damaged are left out."""
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    periods = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            periods.append(Period(float(found["since"]), dict(found["settings"])))
    return sorted(periods, key=lambda period: period.since)


def record(folder: Path, periods: list[Period], settings: Settings) -> str | None:
    """Add the settings of a run to the record of a folder, unless they are those of the last one.

    Args:
        folder: folder of the results; it exists.
        periods: what `read_record` returned.
        settings: what `settings_of` returned.

    Returns:
        A sentence if they cannot be recorded; some mounted object stores cannot append to a file.
    """
    if periods and periods[-1].settings == settings:
        return None
    try:
        with TemporaryFile(dir=folder) as file:
            since = os.fstat(file.fileno()).st_mtime
        with (folder / RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Period(since, settings))) + "\n")
    except OSError as error:
        return (
            f"The settings of this run cannot be recorded in {folder / RECORD} ({error.strerror or error}), so a later "
            "run will not tell results of other settings apart."
        )
    return None


def difference_notes(periods: list[Period], written: Iterable[float], settings: Settings) -> list[str]:
    """Sentences that say how many results have other settings, and which; nothing is said of those not recorded.

    Args:
        periods: what `read_record` returned.
        written: the times at which the results were written.
        settings: the settings of now.
    """
    begins = [period.since for period in periods]
    counts: Counter[str] = Counter()
    for place, count in Counter(bisect.bisect_right(begins, time) for time in written).items():
        if place > 0 and (differences := _differences(periods[place - 1].settings, settings)):
            counts[differences] += count
    return [
        f"{count:,} of the kept results {'has' if count == 1 else 'have'} other settings: {differences}."
        for differences, count in counts.items()
    ]


def _differences(before: Settings, now: Settings) -> str:
    return "; ".join(
        "another model or other weights"
        if name == _WEIGHTS
        else f"{name.replace('_', ' ')} {_said(before[name])} (now {_said(now[name])})"
        for name in now
        if name in before and before[name] != now[name]
    )


def _said(value: object) -> str:
    return {"None": "not given", "True": "yes", "False": "no"}.get(str(value), str(value))
