"""refusion evaluate"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refusion.cli.options import (
    AnchorOption,
    DeviceOption,
    NodataOption,
    OwnRangeOption,
    RangeOption,
    RevisionOption,
    StretchOption,
    TemperaturesOption,
    WindowAOption,
    WindowBOption,
    WindowOption,
    asked_finish,
    asked_windows,
    check_folder,
    check_model,
    check_there,
    check_writable,
    make_folder,
    print_notes,
    refuse_overwriting,
    refuse_same_names,
)
from refusion.cli.progress import progress_bar
from refusion.system.devices import check_device
from refusion.system.extras import need
from refusion.system.files import write_text
from refusion.tasks import TASKS, Task, get_task

if TYPE_CHECKING:
    from refusion.inference.options import Options
    from refusion.metrics.evaluation import Evaluation, FusedSource
    from refusion.pairs.dataset import Pairs

_STANDARD_OUTPUT = Path("-")
"""Path of a report that is written to standard output."""


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Pairs: a folder with the task's two sub-folders, an imagefolder, a list, Parquet, or OWNER/NAME of a "
            "data set on the Hub."
        ),
    ],
    split: Annotated[
        str, typer.Option(help="Split of a data set on the Hub, or of a folder of Parquet files.")
    ] = "train",
    task: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(TASKS)}; if not given, that of --model or of the sub-folders of --data."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name of a bundled model, folder or OWNER/NAME on the Hub; may be given several times."),
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    fused: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of fused images named like the pairs; may be given several times."),
    ] = None,
    output_range: RangeOption = None,
    stretch: StretchOption = False,
    anchor: AnchorOption = None,
    window: WindowOption = None,
    window_a: WindowAOption = None,
    window_b: WindowBOption = None,
    own_range: OwnRangeOption = False,
    temperatures: TemperaturesOption = False,
    nodata: NodataOption = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of metrics, or one of the sets default, vifb, mefb and all; several times or with commas. "
            "Defects that metrics miss are always scored."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A metric of your own: takes a, b and the fused image (Pillow), and returns a number; may be given "
            "several times.",
        ),
    ] = None,
    conventions: Annotated[
        str, typer.Option(help="How metrics are computed: refusion, or as in the toolkits vifb and mefb.")
    ] = "refusion",
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write all scores as JSON. Here and below, - is standard output.")
    ] = None,
    csv_path: Annotated[Path | None, typer.Option("--csv", help="Also write a row for each model and pair.")] = None,
    markdown_path: Annotated[Path | None, typer.Option("--markdown", help="Also write tables in Markdown.")] = None,
    latex_path: Annotated[Path | None, typer.Option("--latex", help="Also write a table for a paper.")] = None,
    ranks_path: Annotated[
        Path | None, typer.Option("--ranks", help="Also plot the ranks: .png, .svg or .pdf; needs matplotlib.")
    ] = None,
    sheets: Annotated[
        Path | None, typer.Option(help="Folder for a sheet of the worst and best pairs of each model or folder.")
    ] = None,
) -> None:
    """Score models and folders of fused images on a data set of pairs.

    Without --model and --fused, the task's own model is scored.

    Several are compared on the pairs that all of them have: ranks, bootstrap intervals and differences from the
    first. Pairs that cannot be scored are listed at the end, with exit code 1.
    """
    check_there(*(fused or []), what="folder")
    check_device(device)
    if revision is not None and len(model or []) != 1:
        raise ValueError(f"--revision belongs to one --model, but {len(model or [])} are given; give one.")
    for name in model or []:
        check_model(name, revision=revision)
    known = _task(task, model or [], revision, data)
    chosen = known or get_task("ir-vis")
    from refusion.pairs.kinds import check_source

    check_source(data, chosen)
    outputs = [path for path in (json_path, csv_path, markdown_path, latex_path, ranks_path) if path is not None]
    for output in outputs:
        check_writable(output)
    refuse_same_names(outputs)
    if sheets is not None:
        check_folder(sheets)
    need("evaluate", "refusion evaluate")
    if known is None:
        typer.echo(f"Note: {data} is scored as pairs for {chosen.name}; --task names another task.", err=True)

    from rich.console import Console

    from refusion.inference.alignment import offset_note
    from refusion.inference.options import Options
    from refusion.metrics import evaluation, pictures, reports, tables
    from refusion.metrics.conventions import get_conventions
    from refusion.metrics.figures import by_name, choose_metrics, figures_of, load_metric
    from refusion.pairs.dataset import load_pairs, source_files
    from refusion.pairs.matching import files_of

    if ranks_path is not None:
        pictures.check_plot(ranks_path)
    if sheets is not None:
        make_folder(sheets)
    how = get_conventions(conventions)
    custom = by_name(map(load_metric, dict.fromkeys(metric or [])))
    figures = (*figures_of(chosen, choose_metrics(metrics) if metrics else None), *custom)
    windows = asked_windows(window, window_a, window_b, own_range)
    wanted_range, wanted_anchor = asked_finish(output_range, anchor, stretch)
    options = Options(wanted_range, wanted_anchor, window=windows, temperatures=temperatures, nodata=nodata)
    sources = _sources(chosen, model or [], revision, device, fused or [], options)
    # A streamed pair is checked when it is scored. Data sets on the Hub are not streamed, since they would be
    # downloaded again for every model.
    reading = options.reading(chosen)
    pairs = load_pairs(data, chosen, split=split, skip_bad=True, streaming=data.exists(), reading=reading)
    read = [*source_files(data, pairs), *(file for folder in fused or [] for file in files_of(folder).by_name.values())]
    for output in outputs:
        refuse_overwriting(output, read, "files to score")
    look = offset_note if chosen.same_edges else None
    score = partial(evaluation.evaluate, figures=figures, task=chosen, conventions=how, custom=custom, look=look)
    report = reports.Report(figures, _evaluate_all(pairs, sources, score), pairs.skipped, how, custom)

    # Save the scores before printing anything, since printing may fail.
    unsaved = _save(
        (json_path, lambda path: _write(path, reports.to_json(report))),
        (csv_path, lambda path: _write(path, reports.to_csv(report))),
        (markdown_path, lambda path: _write(path, tables.to_markdown(report))),
        (latex_path, lambda path: _write(path, tables.to_latex(report))),
        (ranks_path, lambda path: pictures.save_rank_plot(report, path)),
        (sheets, lambda path: pictures.save_contact_sheets(report, pairs, sources, path)),
    )
    # The tables must not be mixed with a report that another program reads.
    console = Console(stderr=_STANDARD_OUTPUT in outputs)
    if not console.is_terminal:
        console.width = reports.WIDTH + reports.WIDTH_PER_MODEL * len(sources)
    console.print(reports.means_table(report))
    console.print(*report.notes, sep="\n", markup=False, highlight=False)
    print_notes(
        list(dict.fromkeys(pairs.notes + [note for scored in report.evaluations.values() for note in scored.notes]))
    )
    if report.problems:
        typer.echo("\n".join(["Not scored:", *report.problems]), err=True)
    if unsaved:
        typer.echo("\n".join(["Not saved:", *unsaved]), err=True)
    if report.problems or unsaved:
        raise typer.Exit(1)


def _write(path: Path, text: str) -> None:
    if path == _STANDARD_OUTPUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(path, text)


def _save(*reports: tuple[Path | None, Callable[[Path], object]]) -> list[str]:
    """Write the reports whose path is given; a failure is returned as a sentence, and the others are still written."""
    unsaved = []
    for path, write in reports:
        if path is None:
            continue
        try:
            write(path)
        except OSError as error:
            unsaved.append(f"{path} cannot be written: {error.strerror or error}.")
    return unsaved


def _task(task: str | None, models: list[str], revision: str | None, data: Path) -> Task | None:
    """The task to score for; None if nothing tells.

    Raises:
        ModelError: a model cannot be found.
        ValueError: there is no such task, or the models are for several.
    """
    if task is not None:
        return get_task(task)
    if models:
        from refusion.models.loading import task_of

        of_models = {task_of(name, revision).name for name in models}
        if len(of_models) > 1:
            raise ValueError(
                f"The models are for {' and '.join(sorted(of_models))}; say with --task which to score for."
            )
        return get_task(of_models.pop())
    of_folders = [one for one in TASKS.values() if all((data / folder).is_dir() for folder in one.folders)]
    return of_folders[0] if len(of_folders) == 1 else None


def _sources(
    task: Task, models: list[str], revision: str | None, device: str, folders: list[Path], options: "Options"
) -> "dict[str, FusedSource]":
    """Open the sources of fused images, by their name in the tables."""
    from refusion.inference.fuse import fuse_function
    from refusion.metrics.evaluation import FusedFolder
    from refusion.models.loading import load_module

    sources: dict[str, FusedSource] = {}
    for name in models or ([] if folders else [task.model]):
        sources[_free_name(sources, name)] = fuse_function(load_module(name, device, revision), options, task)
    for folder in folders:
        opened = FusedFolder(folder)
        sources[_free_name(sources, folder.resolve().name, str(folder))] = opened
    return sources


def _free_name(taken: "dict[str, FusedSource]", *names: str) -> str:
    """The first of the names that is free, or the last one with a number."""
    numbered = (f"{names[-1]} ({number})" for number in range(2, len(taken) + 3))
    return next(name for name in (*names, *numbered) if name not in taken)


def _evaluate_all(
    pairs: "Pairs", sources: "dict[str, FusedSource]", score: "Callable[..., Evaluation]"
) -> "dict[str, Evaluation]":
    """Score the sources of fused images in turn, with progress."""
    from refusion.metrics.evaluation import pair_names

    total = len(pair_names(pairs))
    evaluations = {}
    for name, source in sources.items():
        with progress_bar(f"Scoring {name}") as report:
            evaluations[name] = score(pairs, source, on_pair=_counter(report, total))
    return evaluations


def _counter(report: Callable[[int, int], None], total: int) -> Callable[[], None]:
    done = count(1)
    return lambda: report(next(done), total)
