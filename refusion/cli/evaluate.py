"""refusion evaluate"""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refusion.cli.evaluate_outputs import Outputs, print_report, refuse_inputs, save_reports
from refusion.cli.model_choice import check_model, note_other_task
from refusion.cli.options import (
    AnchorOption,
    DeviceOption,
    FillBordersOption,
    MatchOption,
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
)
from refusion.cli.paths import check_there
from refusion.cli.progress import progress_bar
from refusion.cli.say import say
from refusion.system.devices import check_device
from refusion.system.extras import need
from refusion.system.files import printable
from refusion.system.lists import MORE_ALIKE
from refusion.tasks import TASKS, Task, get_task

if TYPE_CHECKING:
    from refusion.inference.options import Options
    from refusion.metrics.conventions import Conventions
    from refusion.metrics.evaluation import Evaluation, FusedSource
    from refusion.metrics.scoring import CustomMetric
    from refusion.pairs.dataset import Pairs


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Pairs: a folder with the task's two sub-folders, a folder of images with --match, an imagefolder, a "
            "list, Parquet, or OWNER/NAME of a data set on the Hub."
        ),
    ],
    match: MatchOption = None,
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
    fill_borders: FillBordersOption = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of metrics, or one of the sets default, vifb, mefb and all; several times or with commas. "
            "Defects that metrics miss are always scored.",
            rich_help_panel="Scores",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A metric of your own: takes a, b and the fused image (Pillow), and returns a number; may be given "
            "several times.",
            rich_help_panel="Scores",
        ),
    ] = None,
    conventions: Annotated[
        str,
        typer.Option(
            help="How metrics are computed: refusion, or as in the toolkits vifb and mefb.", rich_help_panel="Scores"
        ),
    ] = "refusion",
    json_path: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Also write all scores as JSON. Here and below, - is standard output.",
            rich_help_panel="Reports",
        ),
    ] = None,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", help="Also write a row for each model and pair.", rich_help_panel="Reports")
    ] = None,
    markdown_path: Annotated[
        Path | None, typer.Option("--markdown", help="Also write tables in Markdown.", rich_help_panel="Reports")
    ] = None,
    latex_path: Annotated[
        Path | None, typer.Option("--latex", help="Also write a table for a paper.", rich_help_panel="Reports")
    ] = None,
    ranks_path: Annotated[
        Path | None,
        typer.Option(
            "--ranks", help="Also plot the ranks: .png, .svg or .pdf; needs matplotlib.", rich_help_panel="Reports"
        ),
    ] = None,
    sheets: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a sheet of the worst and best pairs of each model or folder.", rich_help_panel="Reports"
        ),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Score models and folders of fused images on a data set of pairs.

    Without --model and --fused, the task's own model is scored.

    Several are compared on the pairs that all of them have: ranks, bootstrap intervals and differences from the
    first. Pairs that cannot be scored are listed at the end, with exit code 1.
    """
    models, folders = model or [], fused or []
    check_there(*folders, what="folder")
    check_device(device)
    _check_models(models, revision)
    known = _task(task, models, revision, data)
    chosen = known or get_task("ir-vis")
    from refusion.pairs.kinds import check_source

    check_source(data, chosen)
    outputs = Outputs(json_path, csv_path, markdown_path, latex_path, ranks_path, sheets)
    outputs.check()
    need("evaluate", "refusion evaluate")
    if known is None:
        say(f"Note: {data} is scored as pairs for {chosen.name}; --task names another task.", err=True)

    from refusion.inference.options import Options
    from refusion.metrics.conventions import get_conventions
    from refusion.metrics.reports import Report
    from refusion.metrics.scoring import by_name, choose_metrics, load_metric, scored_metrics
    from refusion.pairs.dataset import load_pairs

    outputs.prepare()
    how = get_conventions(conventions)
    custom = by_name(map(load_metric, dict.fromkeys(metric or [])))
    names = (*scored_metrics(chosen, choose_metrics(metrics) if metrics else None), *custom)
    windows = asked_windows(window, window_a, window_b, own_range)
    wanted_range, wanted_anchor = asked_finish(output_range, anchor, stretch)
    options = Options(
        wanted_range, wanted_anchor, window=windows, fill_borders=fill_borders, temperatures=temperatures, nodata=nodata
    )
    sources = _sources(chosen, models, revision, device, folders, options)
    # A streamed pair is checked when it is scored. Data sets on the Hub are not streamed, since they would be
    # downloaded again for every model.
    reading = options.reading(chosen)
    pairs = load_pairs(data, chosen, split=split, skip_bad=True, streaming=data.exists(), reading=reading, match=match)
    refuse_inputs(outputs, data, pairs, folders)
    evaluations = _evaluate_all(pairs, sources, names, chosen, how, custom)
    report = Report(names, evaluations, pairs.skipped, how, custom)
    # Save the scores before printing anything, since printing may fail.
    unsaved = save_reports(report, outputs, pairs, sources)
    print_report(report, pairs, outputs)
    if report.problems:
        _say_all("Not scored:", report.problems)
        if any(line.endswith(MORE_ALIKE) for line in report.problems) and not outputs.list_all:
            say("--json and --csv list all of them.", err=True)
    if unsaved:
        _say_all("Not saved:", unsaved)
    if report.problems or unsaved:
        raise typer.Exit(1)


def _say_all(title: str, lines: list[str]) -> None:
    for line in (title, *lines):
        say(line, err=True)


def _check_models(models: list[str], revision: str | None) -> None:
    """Refuse models that are not there, and a revision that could belong to several.

    Raises:
        ModelError: a model cannot be found, or has no revisions.
        ValueError: the revision belongs to none or to several.
    """
    if revision is not None and len(models) != 1:
        raise ValueError(f"--revision belongs to one --model, but {len(models)} are given; give one.")
    for name in models:
        check_model(name, revision=revision)


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
    from refusion.models.loading import load_module
    from refusion.pairs.fused_folder import FusedFolder

    sources: dict[str, FusedSource] = {}
    for name in models or ([] if folders else [task.model]):
        module = load_module(name, device, revision)
        note_other_task(name, module.task, task)
        sources[_free_name(sources, name)] = fuse_function(module, options, task)
    for folder in folders:
        opened = FusedFolder(folder)
        sources[_free_name(sources, folder.resolve().name, str(folder))] = opened
    return sources


def _free_name(taken: "dict[str, FusedSource]", *names: str) -> str:
    """The first of the names that is free, or the last one with a number."""
    numbered = (f"{names[-1]} ({number})" for number in range(2, len(taken) + 3))
    return next(name for name in map(printable, (*names, *numbered)) if name not in taken)


def _evaluate_all(
    pairs: "Pairs",
    sources: "dict[str, FusedSource]",
    metrics: tuple[str, ...],
    task: Task,
    conventions: "Conventions",
    custom: "dict[str, CustomMetric]",
) -> "dict[str, Evaluation]":
    """Score the sources of fused images in turn, with progress."""
    from refusion.inference.offsets import offset_note
    from refusion.metrics.evaluation import evaluate, pair_names

    total = len(pair_names(pairs))
    look = offset_note if task.same_edges else None
    evaluations = {}
    for name, source in sources.items():
        with progress_bar(f"Scoring {name}") as report:
            done = _counter(report, total)
            evaluations[name] = evaluate(
                pairs, source, metrics, done, task, conventions=conventions, custom=custom, look=look
            )
    return evaluations


def _counter(report: Callable[[int, int], None], total: int) -> Callable[[], None]:
    done = count(1)
    return lambda: report(next(done), total)
