"""Progress, tables and lists on the console."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.text import Text

from refusion.pairs.content import lack_notes
from refusion.pairs.dataset import Pairs
from refusion.system.files import printable
from refusion.system.lists import listed
from refusion.tasks import Task
from refusion.training.trainer import Progress as TrainingProgress

NOTES_SHOWN = 10
"""Notes on single pairs that are printed."""


class StatusProgress(Progress):
    """A progress bar below a status line, so that both fit into 80 columns."""

    status = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The status line, then the bar."""
        yield Text(self.status)
        yield self.make_tasks_table(self.tasks)


def status_line(progress: TrainingProgress) -> str:
    """Step, learning rate, running losses, and mean and spread of the proposed weights, on one short line."""
    parts = [f"step {progress.step}", f"lr {progress.lr:.1e}"]
    names = {"fusion": "L_f", "reconstruction": "L_r", "outer": "outer"}
    parts += [f"{short} {progress.losses[name]:.3g}" for name, short in names.items() if name in progress.losses]
    for name in ("w", "v"):
        if f"{name}_mean" in progress.losses:
            mean, spread = progress.losses[f"{name}_mean"], progress.losses[f"{name}_spread"]
            parts.append(f"{name} {mean:.2f} ({spread:.2f})")
    return "  ".join(parts)


def report_skipped(skipped: list[str], console: Console) -> None:
    """List the pairs that were left out of the data set."""
    if skipped:
        console.print(f"{len(skipped)} left out:", highlight=False)
        for sentence in skipped:
            _print_line(f"  {sentence}", console)


def report_notes(notes: list[str], console: Console) -> None:
    """Print the first notes on the pairs, and how many more there are."""
    for line in listed("Notes", [_with_own_flags(note) for note in notes], NOTES_SHOWN):
        _print_line(line, console)


def with_notes(updates: Iterable[TrainingProgress], pairs: Pairs, console: Console) -> Iterator[TrainingProgress]:
    """Yield the updates, and print the notes that reading a streamed data set adds meanwhile.

    Args:
        updates: what the trainer reports.
        pairs: the pairs; the notes that they have already were printed.
        console: where the first of them are printed at once, and at the end how many more there are, and of how many
            pairs nothing can be learned.
    """
    said = len(pairs.notes)
    limit = said + NOTES_SHOWN
    for progress in updates:
        for note in pairs.notes[said:limit]:
            print_note(note, console)
        said = len(pairs.notes)
        yield progress
    if said > limit:
        console.print(f"There are {said - limit} more notes of this kind.", markup=False, highlight=False)
    if pairs.streaming:
        for note in lack_notes(pairs.lacking):
            print_note(note, console)


def print_note(note: str, console: Console) -> None:
    """Print one note on a line of its own."""
    _print_line(f"Note: {_with_own_flags(note)}", console)


def _with_own_flags(note: str) -> str:
    """A note with the flags of a training run, whose --window is that of the attention."""
    return note.replace("--window LOW HIGH", "--window-a, --window-b LOW HIGH")


def _print_line(line: str, console: Console) -> None:
    """Print text with names of files as it is: brackets are no markup, and control characters are escaped."""
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def show_scores(base: Path, out: Path, pairs: Pairs, task: Task, device: str) -> None:
    """Score the model before and after, keep the scores in the run folder, and print them as a table."""
    from refusion.training.fine_tuning import TUNING_SCORES, change_table, score_both

    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("scores before and after", total=2 * len(pairs.dataset))
        report = score_both(base, out, pairs, task, lambda: bar.advance(row), device)
    console = Console()
    console.print(change_table(report))
    notes = "Means over the pairs scored; ↑ higher is better, ↓ lower is better.", f"All of it is in {TUNING_SCORES}."
    console.print(*notes, f"Definitions: {report.definitions}.", sep="\n", markup=False, highlight=False)
    for problem in report.problems:
        _print_line(f"Not scored: {problem}", console)
