"""The flags of train.py and `refusion train`. Nothing heavy is imported for them."""

import argparse
import math
from dataclasses import fields, replace
from pathlib import Path

from refusion.hub.errors import NoWeightsError
from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, read_config
from refusion.images import Reading
from refusion.images.windows import windows_from
from refusion.system.flags import FlagParser
from refusion.tasks import TASKS, Task, get_task
from refusion.training.provenance import start_digest
from refusion.training.settings import (
    DEFAULT_PRESET,
    FIXED_LOSSES,
    PRESET_MINUTES,
    PRESETS,
    TrainingSettings,
    preset_settings,
)

GAINS = (
    "intensity_brightness",
    "intensity_contrast",
    "gradient_brightness",
    "gradient_contrast",
    "gradient_smoothing",
)
"""Flags of the starting gains, and of the averaging of the scores that they give."""

BUDGETS = ("steps", "minutes", "rounds")
"""Flags that a resumed run may have other values of."""


def make_parser(prog: str = "train.py") -> argparse.ArgumentParser:
    """The argument parser: data, budget, and a flag for each hyperparameter.

    Args:
        prog: what the program is called.
    """
    parser = FlagParser(
        prog=prog,
        usage=f"{prog} --task TASK --data PAIRS --out RUN [--steps N | --minutes M] [options]",
        description="Meta-train the fusion, loss proposal and reconstruction modules on a set of registered pairs.",
    )
    parser.add_argument("--task", choices=list(TASKS), help="task (default: that of --from)")
    parser.add_argument(
        "--data",
        help="pairs: a folder with the task's two sub-folders, an imagefolder, a list, Parquet, or OWNER/NAME of a "
        "data set on the Hub",
    )
    parser.add_argument(
        "--match",
        nargs=2,
        metavar=("A", "B"),
        help='patterns of the names of the first and of the second sources, such as "*_ir.*" "*_vis.*", if --data is '
        "one folder of images",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the run, for refusion fuse --model")
    parser.add_argument(
        "--preset", default=DEFAULT_PRESET, choices=list(PRESETS), help=f"hyperparameters (default: {DEFAULT_PRESET})"
    )
    minutes = ", ".join(f"{value:g} with {preset}" for preset, value in PRESET_MINUTES.items())
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="number of fusion updates of the whole run")
    budget.add_argument("--minutes", type=float, help=f"time budget of the whole run (default: {minutes})")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out from its checkpoint, with its own flags where none are given; a larger --steps "
        "or --minutes makes it longer",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="start from this model's three modules, with a tenth of the preset's --lr",
    )
    parser.add_argument(
        "--new-proposal",
        action="store_true",
        help="with --from: start a new loss proposal module, from its gains, with the preset's --lr",
    )
    parser.add_argument("--val", help="with --from: pairs for the scores before and after; like --data")
    parser.add_argument(
        "--hold-out",
        type=int,
        metavar="N",
        help="with --from: keep N pairs out of the training for these scores (default: a fifth, at most 20; none "
        "with --val or --new-proposal)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    parser.add_argument(
        "--deterministic", action="store_true", help="refuse torch operations that may differ from run to run"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or another torch device (default: a GPU if any)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast in the fusion update")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch chooses)")
    parser.add_argument(
        "--split",
        default="train",
        help="split of a data set on the Hub, or of a folder of Parquet files (default: train)",
    )
    parser.add_argument("--val-split", default="train", help="the same for --val (default: train)")
    parser.add_argument("--streaming", action="store_true", help="read a data set too large for memory row by row")
    parser.add_argument("--skip-bad", action="store_true", help="leave out pairs that cannot be used, and list them")
    sources = parser.add_argument_group("sources of more than 8 bits (the range of their type is black to white)")
    sources.add_argument("--own-range", action="store_true", help="scale each by the range of all but 1 %% of it")
    for side, which in (("a", "first"), ("b", "second")):
        about = f"stored values of black and white in the {which} sources"
        sources.add_argument(f"--window-{side}", type=float, nargs=2, metavar=("LOW", "HIGH"), help=about)
    sources.add_argument("--nodata", type=float, metavar="VALUE", help="stored value that means no data, or nan")
    sources.add_argument(
        "--temperatures", action="store_true", help="read the temperatures of radiometric JPEGs, not the visible image"
    )
    parser.add_argument("--save-every", type=float, default=60, help="seconds between checkpoints (default: 60)")
    parser.set_defaults(expected_data=None, expected_start=None)
    parser.add_argument(
        "--preview-every", type=float, default=120, help="seconds between preview images (default: 120)"
    )
    hyper = parser.add_argument_group("hyperparameters (default: the preset's)")
    for setting in fields(TrainingSettings):
        flag = f"--{setting.name.replace('_', '-')}"
        about = setting.metadata["help"]
        values = "; ".join(f"{name}: {values_in(name, setting.name)}" for name in PRESETS)
        if setting.type is bool:
            hyper.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=f"{about} ({values})")
        else:
            choices = setting.metadata["choices"] or None
            hyper.add_argument(flag, type=setting.type, choices=choices, help=f"{about} ({values})".replace("%", "%%"))
    return parser


def values_in(preset: str, setting: str) -> str:
    """The value of a setting in a preset, by task where the tasks differ."""
    by_task = {task: getattr(preset_settings(preset, task), setting) for task in TASKS}
    if len(set(by_task.values())) == 1:
        return str(by_task.popitem()[1])
    return ", ".join(f"{task} {value}" for task, value in by_task.items())


def settings_from(args: argparse.Namespace) -> TrainingSettings:
    """The preset, overridden by the given flags.

    Raises:
        ValueError: a value is out of range.
    """
    given = {f.name: getattr(args, f.name) for f in fields(TrainingSettings) if getattr(args, f.name) is not None}
    return replace(preset_settings(args.preset, args.task), **given)


def reading_from(args: argparse.Namespace, task: Task) -> Reading:
    """How the sources are read.

    Raises:
        PictureError: a window is none.
    """
    own = (window and tuple(window) for window in (args.window_a, args.window_b))
    windows = windows_from("own" if args.own_range else None, *own)
    return Reading(windows, args.temperatures, args.nodata, alike=task.one_camera)


def keeps_gains(args: argparse.Namespace, start: Path) -> bool:
    """Whether the gains of the model to start from are kept: it has the same task, and no gains are given."""
    return all(getattr(args, name) is None for name in GAINS) and read_config(start)["task"] == args.task


def settled(args: argparse.Namespace, base: Path | None) -> argparse.Namespace:
    """A copy with the task of the model to start from and the budget of the preset where none is given.

    Args:
        args: as from `make_parser`.
        base: folder of the model to start from.

    Raises:
        NoWeightsError: the model to start from lacks a module that the training needs.
        ValueError: a value is out of range, or flags conflict.
    """
    args = argparse.Namespace(**vars(args))
    _check_numbers(args)
    if args.minutes is None and args.steps is None and args.rounds is None:
        args.minutes = PRESET_MINUTES.get(args.preset)
    if args.val_split != "train" and not args.val:
        raise ValueError("--val-split is a split of --val; give that too, --split is one of --data.")
    if base is None:
        _check_start_anew(args)
        return args
    if args.task is None:
        args.task = get_task(read_config(base)["task"]).name
    _check_modules(args, base)
    if args.expected_start is not None and (found := start_digest(base)) != args.expected_start:
        raise ValueError(
            f"The model {args.start} is not the one that the run started from: the SHA-256 of its weights begins with "
            f"{found[:12]}, not {args.expected_start[:12]}."
        )
    return args


def _check_numbers(args: argparse.Namespace) -> None:
    """Check that numbers are in range.

    Raises:
        ValueError: one is not.
    """
    if args.minutes is not None and not 0 < args.minutes < math.inf:
        raise ValueError(f"--minutes is {args.minutes}; it must be a finite number above 0.")
    for flag in ("save_every", "preview_every"):
        if not 0 <= (value := getattr(args, flag)) < math.inf:
            raise ValueError(f"--{flag.replace('_', '-')} is {value}; it must be a finite number of at least 0.")
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads is {args.threads}; it must be at least 1.")
    if not 0 <= args.seed < 2**63:
        raise ValueError(f"--seed is {args.seed}; it must be from 0 to 2^63 - 1.")


def _check_start_anew(args: argparse.Namespace) -> None:
    """Check that a run without a model to start from has a task, and no flags that need the model.

    Raises:
        ValueError: it has none, or such a flag.
    """
    if args.new_proposal:
        raise ValueError("--new-proposal belongs to --from; without it every module starts anew.")
    if args.val or args.hold_out is not None:
        raise ValueError("--val and --hold-out belong to --from; without it there is no model to compare with.")
    if args.task is None:
        raise ValueError(f"Give --task, one of {', '.join(TASKS)}, or --from, which brings its own.")


def _check_modules(args: argparse.Namespace, base: Path) -> None:
    """Check that the model to start from has the modules that the training needs.

    Raises:
        NoWeightsError: it lacks one; the message says how to train without it.
    """
    lacks = f"The model {args.start} cannot be trained further as it is: it has no"
    if not (base / RECONSTRUCTION_WEIGHTS).is_file():
        raise NoWeightsError(
            f"{lacks} {RECONSTRUCTION_WEIGHTS}, as checkpoints converted from the authors' release. Choose a model "
            "that train.py made, with all of its files."
        )
    if needs_proposal(args) and not (base / PROPOSAL_WEIGHTS).is_file():
        raise NoWeightsError(
            f"{lacks} {PROPOSAL_WEIGHTS}, as runs with a fixed loss. --new-proposal starts a new loss proposal module, "
            f"and --loss {FIXED_LOSSES[0]}, like the other fixed losses, needs none."
        )


def needs_proposal(args: argparse.Namespace) -> bool:
    """Whether the loss proposal module of the model to start from is loaded."""
    return not args.new_proposal and args.loss not in FIXED_LOSSES
