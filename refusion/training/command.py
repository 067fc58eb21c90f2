"""The command line of train.py and `refusion train`. What is wrong with it is said before torch is imported."""

import argparse
import sys
from pathlib import Path

from refusion.hub.names import locate
from refusion.pairs.errors import reading_pairs
from refusion.pairs.kinds import check_apart, check_source
from refusion.system.devices import check_device
from refusion.system.extras import MissingExtraError, need
from refusion.system.files import is_there
from refusion.system.output import keep_working_whoever_reads, leave_out_library_warnings
from refusion.system.processes import error_line
from refusion.tasks import get_task
from refusion.training.flags import make_parser, settings_from, settled
from refusion.training.resuming import parse_flags


def main(argv: list[str] | None = None, prog: str = "train.py") -> int:
    """Train.

    Args:
        argv: flags; those of the process if not given.
        prog: what the program is called.

    Returns:
        The exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user.
    """
    keep_working_whoever_reads()
    leave_out_library_warnings()
    parser = make_parser(prog)
    try:
        args = parse_flags(parser, argv)
        need("train", prog)
        check(args)
    except (ValueError, MissingExtraError) as error:
        print(error_line(str(error)), file=sys.stderr)
        return 2
    from refusion.training.session import start

    return start(args)


def check(args: argparse.Namespace) -> None:
    """Refuse what can be refused without torch, without a network and without reading an image.

    Raises:
        ValueError: what is wrong.
    """
    base = locate(args.start) if args.start else None
    if base is not None and not Path(base).is_absolute():
        return
    args = settled(args, Path(base) if base else None)
    if not next(place for place in (args.out, *args.out.absolute().parents) if is_there(place)).is_dir():
        raise ValueError(f"{args.out} is a file, or lies below one; choose another --out.")
    check_device(args.device)
    settings_from(args)
    for source in (args.data, args.val):
        if source is not None:
            with reading_pairs(source):
                check_source(source, get_task(args.task))
                if not args.resume:
                    check_apart(args.out, source, get_task(args.task))
