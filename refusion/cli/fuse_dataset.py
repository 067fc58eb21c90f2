"""refusion fuse-dataset"""

from glob import has_magic
from typing import TYPE_CHECKING, Annotated

import typer

from refusion.cli.model_choice import check_model, note_other_task
from refusion.cli.options import (
    LOOK,
    RUNNING,
    AlignOption,
    AnchorOption,
    ChromaOption,
    CropOption,
    EngineOption,
    FillBordersOption,
    MatchOption,
    ModelOption,
    MotionOption,
    NodataOption,
    OwnRangeOption,
    RangeOption,
    ResizeOption,
    StretchOption,
    TaskOption,
    TemperaturesOption,
    WindowAOption,
    WindowBOption,
    WindowOption,
    asked_finish,
    asked_motion,
    asked_windows,
)
from refusion.cli.progress import progress_bar
from refusion.cli.say import print_listed, print_notes, say
from refusion.cli.stopping import STOPPED, until_stopped
from refusion.system.devices import check_device
from refusion.system.extras import need
from refusion.system.lists import counted
from refusion.tasks import get_task

if TYPE_CHECKING:
    from refusion.bulk.run import BulkSummary

_FAILURES_SHOWN = 5


def fuse_dataset(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of pairs as for training; a Parquet file, or a pattern or folder of them; a CSV or JSONL "
            "list; OWNER/NAME of a data set on the Hub; or an s3://, gs:// or hf:// address.",
        ),
    ],
    out: Annotated[
        str, typer.Argument(help="Folder of the results, or an s3:// or gs:// address; given again, the run resumes.")
    ],
    match: MatchOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    model_revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model on the Hub; main if not given.")
    ] = None,
    columns: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="The two image columns; if not given, named like the folders of the task, or a and b.",
            rich_help_panel="The data set",
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the ids; the row index if not given.", rich_help_panel="The data set")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of a data set on the Hub.", rich_help_panel="The data set")
    ] = "train",
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a data set on the Hub.", rich_help_panel="The data set")
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming", help="Read a data set on the Hub without storing it.", rich_help_panel="The data set"
        ),
    ] = False,
    images: Annotated[
        bool,
        typer.Option(
            "--images",
            help="Write PNG files; the Parquet files then only name them.",
            rich_help_panel="What is written",
        ),
    ] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Add the fusion metrics of every pair.", rich_help_panel="What is written")
    ] = False,
    rows_per_shard: Annotated[
        int | None,
        typer.Option(
            help="Rows per Parquet file, of which a crash loses at most one per worker; 256, or fewer for a small set.",
            rich_help_panel="What is written",
        ),
    ] = None,
    output_range: RangeOption = None,
    stretch: StretchOption = False,
    anchor: AnchorOption = None,
    chroma: ChromaOption = None,
    bits: Annotated[
        int | None,
        typer.Option(help="8 or 16 bits per channel; if not given, the depth of the sources.", rich_help_panel=LOOK),
    ] = None,
    window: WindowOption = None,
    window_a: WindowAOption = None,
    window_b: WindowBOption = None,
    own_range: OwnRangeOption = False,
    temperatures: TemperaturesOption = False,
    nodata: NodataOption = None,
    resize: ResizeOption = None,
    align: AlignOption = False,
    motion: MotionOption = None,
    crop: CropOption = False,
    fill_borders: FillBordersOption = None,
    engine: EngineOption = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; if not given, a CUDA GPU if there is one.", rich_help_panel=RUNNING)
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Pairs of equal size that run at once; for GPUs.", rich_help_panel=RUNNING)
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(help="Largest number of processes; if not given, one per GPU or core.", rich_help_panel=RUNNING),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Fuse on the machines of a Ray cluster: auto, local, or HOST:PORT.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Fuse pairs again that failed before.", rich_help_panel="What is written"),
    ] = False,
) -> None:
    """Fuse a data set of any length into Parquet files, on all cores of this machine or on a Ray cluster.

    Finished work is kept: the same command resumes after Ctrl-C or a crash. Pairs that fail are listed in
    failures.jsonl, with exit code 1.
    """
    wanted_range, wanted_anchor = asked_finish(output_range, anchor, stretch)
    windows = asked_windows(window, window_a, window_b, own_range)
    wanted_motion = asked_motion(align, motion, crop)
    if "://" not in str(source) and not has_magic(str(source)):
        from refusion.pairs.kinds import check_source

        check_source(source, get_task(task or "ir-vis"))
    check_model(model, revision=model_revision, task=task)
    if ray is None:  # The machines of a cluster may have what this one lacks.
        check_device(device)
    need("bulk", "refusion fuse-dataset")

    from refusion.bulk.run import fuse_dataset
    from refusion.models.loading import task_of

    if model is not None and task is not None:
        note_other_task(model, task_of(model, model_revision), get_task(task))
    try:
        # Ray shows its own.
        with until_stopped() as stop, progress_bar("Fusing", unit="pairs", quiet=ray is not None) as report:
            summary = fuse_dataset(
                source,
                out,
                task=task,
                model=model,
                model_revision=model_revision,
                match=match,
                columns=columns,
                id_column=id_column,
                split=split,
                revision=revision,
                streaming=streaming,
                images=images,
                scores=scores,
                rows_per_shard=rows_per_shard,
                bits=bits,
                engine=engine,
                device=device,
                batch_size=batch_size,
                workers=workers,
                ray=ray,
                retry_failed=retry_failed,
                progress=report,
                output_range=wanted_range,
                anchor=wanted_anchor,
                chroma=chroma,
                window=windows,
                resize=resize,
                align=wanted_motion,
                align_border="crop" if crop else "fill",
                fill_borders=fill_borders,
                temperatures=temperatures,
                nodata=nodata,
            )
    except ChildProcessError as error:
        say(f"refusion: {error}", err=True)
        raise typer.Exit(1) from error
    if stop.asked:
        say("The run was stopped. Its finished parts are kept; the same command fuses the others.", err=True)
        raise typer.Exit(STOPPED)
    _sum_up(summary, out)
    print_notes(summary.notes)
    if summary.failures:
        raise typer.Exit(1)


def _sum_up(summary: "BulkSummary", out: str) -> None:
    from refusion.pairs.failures import FAILURES
    from refusion.system.stores import without_secrets

    counts = f"{summary.fused} fused, {len(summary.failures)} failed, {summary.before} of these rows done before."
    say(f"{counts} Written to {without_secrets(out)}.")
    if summary.noted:
        say(f"{counted(summary.noted, 'row')} with a note, in the column note of the results.")
    if summary.tried:
        processes = "1 process" if summary.processes == 1 else f"{summary.processes} processes"
        rate = f"{summary.pairs_per_second:.2f} pairs/s"
        say(f"{counted(summary.tried, 'row')} in {summary.seconds:.1f} s with {processes}, {rate}.")
    failed = [f"{'' if failure.id is None else f'{failure.id}: '}{failure.error}" for failure in summary.failures]
    print_listed(f"Failed, all in {without_secrets(out)}/{FAILURES}", failed, _FAILURES_SHOWN)
