"""The pairs of a training run: loaded, described on the console, and split from those to score."""

import argparse

from rich.console import Console

from refusion.pairs.content import lack_notes
from refusion.pairs.dataset import Pairs, fingerprint, load_pairs
from refusion.pairs.errors import DataError, reading_pairs
from refusion.system.processes import Processes
from refusion.tasks import Task
from refusion.training.console import report_notes, report_skipped
from refusion.training.flags import reading_from


def pairs_of(args: argparse.Namespace, task: Task, processes: Processes, console: Console) -> tuple[Pairs, str | None]:
    """Load the pairs to train on, report what is noteworthy about them, and return them with their fingerprint."""
    with reading_pairs(args.data):
        pairs = load_pairs(
            args.data,
            task,
            split=args.split,
            skip_bad=args.skip_bad,
            streaming=args.streaming,
            processes=processes,
            reading=reading_from(args, task),
            match=args.match and tuple(args.match),
        )
        found = fingerprint(pairs, processes)
    if args.expected_data is not None and found != args.expected_data:
        raise DataError(
            f"The pairs in {args.data} differ from those of the run: their fingerprint begins with "
            f"{str(found)[:12]}, not {args.expected_data[:12]}. Restore the pairs, or give their place with --data."
        )
    if processes.first:
        report_skipped(pairs.skipped, console)
        report_notes([*lack_notes(pairs.lacking), *pairs.notes], console)
    return pairs, found


def scored_apart(
    args: argparse.Namespace, task: Task, pairs: Pairs, console: Console | None
) -> tuple[Pairs, Pairs | None]:
    """Split into pairs to train on and pairs to score, and print which."""
    from refusion.training.fine_tuning import also_trained_on, hold_out

    scored = None
    if args.val:
        with reading_pairs(args.val):
            scored = load_pairs(args.val, task, split=args.val_split, skip_bad=args.skip_bad, reading=pairs.reading)
        if console is not None:
            report_notes(scored.notes, console)
    if pairs.streaming:
        told = "No scores before and after: a streamed data set has none to hold out. Give some with --val."
        train_on, held = pairs, None
    else:
        count = 0 if args.hold_out is None and (args.val or args.new_proposal) else args.hold_out
        train_on, held = hold_out(pairs, count, args.data)
        names = [str(name) for name in held.dataset["name"]]
        told = f"Held out of {len(pairs.dataset)} pairs, for the scores before and after: {', '.join(names)}."
    if scored is not None:
        if held is not None and len(held.dataset):
            raise ValueError("Give --val or --hold-out, not both.")
        if console is not None and not pairs.streaming and (both := also_trained_on(scored, train_on)):
            seen = f"Note: {len(both)} of the {len(scored.dataset)} pairs of --val are among the pairs to train on"
            console.print(f"{seen}, so their scores say little about others.", markup=False, highlight=False)
        return train_on, scored
    if held is not None and not len(held.dataset):
        return train_on, None
    if console is not None:
        console.print(told, markup=False, highlight=False)
    return train_on, held
