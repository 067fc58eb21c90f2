"""The flags of a run that is resumed: those that are not given are those that it was started with."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refusion.pairs.errors import DataError
from refusion.system.processes import is_alone
from refusion.training.flags import BUDGETS, GAINS
from refusion.training.settings import TrainingSettings

SETTINGS = "settings.json"
"""The file of a run folder that says how the run was started, see `refusion.training.record.description`."""


def begun_with(folder: Path) -> dict[str, Any]:
    """The settings.json that a run folder has; empty if there is none.

    Raises:
        DataError: it is damaged, or cannot be read.
    """
    path = folder / SETTINGS
    try:
        if not path.is_file():
            return {}
        begun = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(begun.get(part, {}), dict) for part in ("data", "arguments", "settings")):
            return begun
    except OSError as error:
        raise DataError(f"{SETTINGS} in {folder.name} cannot be read: {error.strerror or error}.") from error
    except (ValueError, AttributeError):
        pass
    raise DataError(f"{SETTINGS} in {folder.name} is damaged; choose another --out.")


def parse_flags(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the flags of train.py; with --resume, those of the run stand for what is not given.

    Args:
        parser: as from `refusion.training.flags.make_parser`.
        argv: the flags; those of the process if not given.

    Raises:
        DataError: the settings.json of the run to resume is damaged, or missing where --data is not given.
    """
    args = parser.parse_args(argv)
    if args.rounds is not None and (given := [name for name in BUDGETS[:2] if getattr(args, name) is not None]):
        parser.error(f"--rounds and --{given[0]} are both budgets of the run; give one of them")
    begun = begun_with(args.out) if args.resume else {}
    if args.resume and args.data is None and not begun:
        raise DataError(f"There is no {SETTINGS} in {args.out.name}, so there is no run to resume; check --out.")
    if begun:
        # Parsed again without defaults, which shows what was given.
        blank = argparse.Namespace(**dict.fromkeys(vars(args)))
        typed = {name: value for name, value in vars(parser.parse_args(argv, blank)).items() if value is not None}
        args = argparse.Namespace(**{**vars(args), **_recorded(begun, typed), **typed})
    if args.data is None:
        parser.error("the following arguments are required: --data")
    return args


def _recorded(begun: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a run that the given ones leave open."""
    arguments = dict(begun.get("arguments", {}))
    if any(name in given for name in BUDGETS):
        arguments |= dict.fromkeys(("steps", "minutes"))
    if arguments.get("device") in ("cuda", "cuda:0"):
        # The first GPU then is whichever there is now, and of several processes each has its own.
        arguments["device"] = "auto"
    if is_alone() and begun.get("processes") == 1:
        arguments["threads"] = begun.get("threads")
    if any(given.get(name, arguments.get(name)) != arguments.get(name) for name in ("task", "preset")):
        # The hyperparameters are those of another task or preset, which the checkpoint refuses if they differ.
        return arguments
    settings = {**asdict(TrainingSettings()), **begun["settings"]} if begun.get("settings") else {}
    return {**settings, **(dict.fromkeys(GAINS) if begun.get("gains_kept") else {}), **arguments}
