"""What `refusion evaluate` writes and prints."""

import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refusion.cli.paths import check_folder, check_writable, make_folder, refuse_overwriting, refuse_same_names
from refusion.cli.say import print_notes
from refusion.system.files import write_text

if TYPE_CHECKING:
    from refusion.metrics.evaluation import FusedSource
    from refusion.metrics.reports import Report
    from refusion.pairs.dataset import Pairs

_STANDARD_OUTPUT = Path("-")
"""Path of a report that is written to standard output."""


@dataclass(frozen=True)
class Outputs:
    """Where the reports are written, each if its path is given."""

    json: Path | None
    csv: Path | None
    markdown: Path | None
    latex: Path | None
    ranks: Path | None
    sheets: Path | None

    @property
    def files(self) -> list[Path]:
        """All but the folder of the sheets."""
        given = (self.json, self.csv, self.markdown, self.latex, self.ranks)
        return [path for path in given if path is not None]

    @property
    def list_all(self) -> bool:
        """Whether a report is written that has every pair that was not scored."""
        return any(path is not None for path in (self.json, self.csv, self.markdown))

    def check(self) -> None:
        """Refuse what cannot be written, without anything that takes long to import.

        Raises:
            ValueError: a file or the folder cannot be written, or two files are one.
        """
        for path in self.files:
            if path != _STANDARD_OUTPUT:
                check_writable(path)
        refuse_same_names(self.files)
        if self.sheets is not None:
            check_folder(self.sheets, writable=True)

    def prepare(self) -> None:
        """Check that ranks can be plotted, and create the folder of the sheets.

        Raises:
            ValueError: one of both is impossible.
        """
        from refusion.metrics.pictures import check_plot

        if self.ranks is not None:
            check_plot(self.ranks)
        if self.sheets is not None:
            make_folder(self.sheets)


def refuse_inputs(outputs: Outputs, data: Path, pairs: "Pairs", folders: list[Path]) -> None:
    """Refuse to write a report over a file that is read.

    Raises:
        ValueError: an output is a source or a fused image.
    """
    from refusion.pairs.dataset import source_files
    from refusion.pairs.matching import files_of

    read = [*source_files(data, pairs), *(file for folder in folders for file in files_of(folder).by_name.values())]
    for path in outputs.files:
        refuse_overwriting(path, read, "files to score")


def _write(path: Path, text: str) -> None:
    if path == _STANDARD_OUTPUT:
        # UTF-8 as in a file, where the encoding of the system lacks characters of names; a terminal has only its own.
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(path, text)


def save_reports(report: "Report", outputs: Outputs, pairs: "Pairs", sources: "Mapping[str, FusedSource]") -> list[str]:
    """Write what is asked for; a failure is returned as a sentence, and the others are still written."""
    from refusion.metrics import pictures, reports, tables

    ways: tuple[tuple[Path | None, Callable[[Path], object]], ...] = (
        (outputs.json, lambda path: _write(path, reports.to_json(report))),
        (outputs.csv, lambda path: _write(path, reports.to_csv(report))),
        (outputs.markdown, lambda path: _write(path, tables.to_markdown(report))),
        (outputs.latex, lambda path: _write(path, tables.to_latex(report))),
        (outputs.ranks, lambda path: pictures.save_rank_plot(report, path)),
        (outputs.sheets, lambda path: pictures.save_contact_sheets(report, pairs, sources, path)),
    )
    unsaved = []
    for path, write in ways:
        if path is None:
            continue
        try:
            write(path)
        except OSError as error:
            unsaved.append(f"{path} cannot be written: {error.strerror or error}.")
    return unsaved


def print_report(report: "Report", pairs: "Pairs", outputs: Outputs) -> None:
    """Print the tables, if anything was scored, and the notes."""
    from rich.console import Console

    from refusion.metrics.reports import WIDTH, WIDTH_PER_MODEL, means_table

    # The tables must not be mixed with a report that another program reads.
    console = Console(stderr=_STANDARD_OUTPUT in outputs.files)
    if not console.is_terminal:
        console.width = WIDTH + WIDTH_PER_MODEL * len(report.evaluations)
    if any(evaluation.scored for evaluation in report.evaluations.values()):
        console.print(means_table(report))
        console.print(*report.notes, sep="\n", markup=False, highlight=False)
    notes = [note for scored in report.evaluations.values() for note in scored.notes]
    print_notes(list(dict.fromkeys(pairs.notes + notes)))
