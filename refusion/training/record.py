"""Records of a run: settings.json to start it again, training.json for its card."""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

import torch

from refusion.hub.facts import Training, TrainingData, read_history, save_training
from refusion.hub.folder import HISTORY
from refusion.pairs.dataset import Pairs
from refusion.pairs.errors import DataError
from refusion.system.files import expand_home
from refusion.system.processes import Processes
from refusion.tasks import TASKS
from refusion.training.flags import GAINS, keeps_gains
from refusion.training.provenance import git_revision, start_digest, versions
from refusion.training.settings import DEFAULT_PRESET, PRESET_MINUTES, PRESETS, TrainingSettings, preset_settings

READING_ARGUMENTS = ("own_range", "window_a", "window_b", "nodata", "temperatures")
"""Flags that say how the pairs are read."""

ARGUMENTS = (
    "task", "data", "match", "split", "streaming", "skip_bad", "start", "new_proposal", "val", "val_split", "hold_out",
    "preset", "steps", "minutes", "seed", "device", "bf16", "deterministic", *READING_ARGUMENTS,
)  # fmt: skip
"""Flags that are recorded in addition to the hyperparameters and the threads."""


def description(
    args: argparse.Namespace,
    settings: TrainingSettings,
    pairs: Pairs,
    processes: Processes,
    found: str | None,
    base: Path | None,
) -> dict[str, Any]:
    """Everything that is needed to start the run again, the content of settings.json.

    Args:
        args: the flags.
        settings: the hyperparameters.
        pairs: the pairs to train on.
        processes: the processes of the run.
        found: fingerprint of the pairs; None of a streamed set.
        base: folder of the model to start from.
    """
    arguments = {name: getattr(args, name) for name in ARGUMENTS}
    for name in ("data", "val", "start"):
        if arguments[name] is not None and not is_name(name, arguments[name]):
            arguments[name] = str(expand_home(arguments[name]).resolve())
    return {
        "task": args.task,
        "from": args.start,
        "new_proposal": args.new_proposal,
        "gains_kept": base is not None and keeps_gains(args, base),
        "seed": args.seed,
        "minutes": args.minutes,
        "pairs": None if pairs.streaming else len(pairs.dataset),
        "device": args.device,
        "threads": torch.get_num_threads(),
        "processes": processes.count,
        "versions": versions(),
        "git": git_revision(),
        "data": {"fingerprint": found},
        "from_sha256": None if base is None else start_digest(base),
        "arguments": arguments,
        "earlier_budgets": [],
        "settings": asdict(settings),
    }


def check_same_pairs(args: argparse.Namespace, begun: Mapping[str, Any], found: str | None) -> None:
    """Refuse to resume a run with other pairs, or with the same pairs read differently.

    Args:
        args: the flags.
        begun: as from `refusion.training.resuming.begun_with`.
        found: fingerprint of the pairs; None of a streamed set, of which nothing is known.

    Raises:
        DataError: they differ.
    """
    before, arguments = begun.get("data", {}).get("fingerprint"), begun.get("arguments", {})
    if None not in (found, before) and found != before:
        raise DataError(
            f"The pairs in {args.data} are not those that {args.out.name} was started with: their fingerprint begins "
            f"with {str(found)[:12]} and not {before[:12]}. Restore the pairs, or choose another --out; "
            f"--from {args.out} starts a new run from its weights."
        )
    for name in READING_ARGUMENTS:
        # As text, because nan is not equal to itself.
        if name in arguments and str(arguments[name]) != str(getattr(args, name)):
            raise DataError(
                f"{args.out.name} was started with other values for --{name.replace('_', '-')}; resume with the same, "
                "or choose another --out."
            )


def budget_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """The budget of a run: the values of the flags `BUDGETS`, of which one is not None.

    Args:
        described: as from `description`; that of an older version may lack parts, and then all may be None.
    """
    arguments = described.get("arguments", {})
    budget = {"steps": arguments.get("steps"), "minutes": arguments.get("minutes")}
    by_rounds = not any(budget.values())
    return {**budget, "rounds": described.get("settings", {}).get("rounds") if by_rounds else None}


def earlier_budgets(
    now: Mapping[str, Any], begun: Mapping[str, Any], step: int, updates_in_a_round: int
) -> list[dict[str, Any]]:
    """The budgets that a run had before, in order.

    Args:
        now: as from `description`, with the present budget.
        begun: as from `refusion.training.resuming.begun_with`.
        step: fusion updates done.
        updates_in_a_round: fusion updates in each round of the run.

    Returns:
        Budgets as from `budget_of`. Each also has the step `until` which it applied, and the step `end` at which the
        run would have ended, or None if that depended on the clock.
    """
    earlier = list(begun.get("earlier_budgets", []))
    before = budget_of(begun)
    if any(before.values()) and before != budget_of(now):
        rounds = before["rounds"]
        earlier.append({**before, "until": step, "end": rounds * updates_in_a_round if rounds else before["steps"]})
    return earlier


def is_name(flag: str, given: str) -> bool:
    """Whether a flag names a Hub repository or a bundled model rather than a local file or folder."""
    return not expand_home(given).exists() or (flag == "start" and "/" not in given and "\\" not in given)


def save_record(folder: Path, described: Mapping[str, Any]) -> None:
    """Write the training.json of a run folder from its settings and history.

    Args:
        folder: the run folder, with its history.jsonl.
        described: as from `description`.
    """
    save_training(folder, training_of_run(described, read_history(folder / HISTORY)))


def training_of_run(settings: Mapping[str, Any], history: list[dict[str, Any]]) -> Training:
    """The training facts of a run; local paths are left out.

    Args:
        settings: content of settings.json, as train.py writes it.
        history: rows of history.jsonl.
    """
    last = history[-1] if history else {}
    threads = settings.get("threads")
    machine = f"device {settings.get('device', 'cpu')}" + (
        f", {threads} {'thread' if threads == 1 else 'threads'}" if threads else ""
    )
    return Training(
        data=TrainingData(pairs=settings.get("pairs")),
        commands=_commands(settings),
        machine=machine,
        minutes=round(last["seconds"] / 60, 1) if "seconds" in last else None,
        updates={"fusion": last["step"]} if "step" in last else {},
        versions=dict(settings.get("versions", {})),
        base_model=_base(settings.get("from")),
    )


def _commands(settings: Mapping[str, Any]) -> list[str]:
    """The commands that repeat the run: one, and one more for each time that it was given another budget."""
    now = settings.get("arguments", {})
    stages = []
    for old in settings.get("earlier_budgets", []):
        hyper = settings.get("settings", {})
        hyper = {**hyper, "rounds": old["rounds"]} if old.get("rounds") else hyper
        budget = {"steps": old["steps"], "minutes": old["minutes"]}
        stages.append({**settings, "arguments": {**now, **budget}, "settings": hyper})
    first, *others = [*stages, settings]
    return [_command(first), *(f"{_command(stage, resumed=True)} --resume" for stage in others)]


def _command(settings: Mapping[str, Any], resumed: bool = False) -> str:
    """The command that starts the run, or resumes it with another budget; local paths are replaced by names."""
    task = settings.get("task", "TASK")
    # Records of older versions have no arguments, but some of them beside the settings.
    given = {**settings, **settings.get("arguments", {})}
    preset, hyper = _hyperparameters(settings, given, resumed)
    words = ["python train.py", f"--task {task}", "--data PAIRS", f"--out runs/{task}"]
    if preset != DEFAULT_PRESET:
        words.append(f"--preset {preset}")
    if base := _base(settings.get("from")):
        words.append(f"--from {shlex.quote(base if base == settings['from'] else f'./{base}')}")
    if given.get("new_proposal"):
        words.append("--new-proposal")
    if val := given.get("val"):
        words.append(f"--val {val if _base(val) == val else 'VAL'}")
    words += [_flag(name, given[name]) for name in ("minutes", "steps", "seed") if given.get(name)]
    words += [_flag(name, given[name]) for name in ("split", "val_split") if given.get(name, "train") != "train"]
    others = ("hold_out", "streaming", "skip_bad", "bf16", "deterministic", *READING_ARGUMENTS)
    words += [_flag(name, given[name]) for name in others if given.get(name) is not None and given[name] is not False]
    for key, value in hyper.items():
        words.append(f"--no-{key.replace('_', '-')}" if value is False else _flag(key, value))
    return " ".join(words)


def _hyperparameters(
    settings: Mapping[str, Any], given: Mapping[str, Any], resumed: bool
) -> tuple[str, dict[str, Any]]:
    """The preset of a command, and the hyperparameters that are given as flags with it."""
    hyper = settings.get("settings", {})
    preset, flags = _preset(given.get("preset"), settings.get("task", "TASK"), hyper)
    if given.get("steps") or given.get("minutes"):
        flags.pop("rounds", None)
    elif resumed or ("arguments" in settings and preset in PRESET_MINUTES):
        # Without a flag, the budget would be the earlier one, or that of the preset.
        flags["rounds"] = hyper["rounds"]
    if settings.get("from") and settings.get("gains_kept") is False and not given.get("new_proposal"):
        flags |= {name: hyper[name] for name in GAINS if name in hyper}
    if settings.get("from") and not given.get("new_proposal") and "lr" in hyper:
        # Without the flag, it would be a part of that of the preset.
        flags["lr"] = hyper["lr"]
    return preset, flags


def _flag(name: str, value: Any) -> str:
    """A flag with its values; of ``True``, the flag alone."""
    values = [] if value is True else value if isinstance(value, list | tuple) else [value]
    whole = [int(x) if isinstance(x, float) and x.is_integer() else x for x in values]
    return " ".join([f"--{name.replace('_', '-')}", *map(str, whole)])


def _preset(given: str | None, task: str, hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The given preset, or else that which agrees with most hyperparameters, and those that differ from it."""
    # A run of before a setting was there had its default.
    hyper = {**asdict(TrainingSettings()), **hyper}
    differing = {}
    for preset in [given] if given in PRESETS else PRESETS:
        values = asdict(preset_settings(preset, task)) if task in TASKS else {}
        differing[preset] = {key: value for key, value in hyper.items() if values.get(key, value) != value}
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    return nearest, differing[nearest]


def _base(start: str | None) -> str | None:
    """The name of the model that a run started from; for a folder, the name of the folder."""
    if not start or ("/" not in start and "\\" not in start):
        return start or None
    parts = PurePath(start.replace("\\", "/")).parts
    is_path = start.startswith((".", "~", "/")) or len(parts) != 2 or Path(start).is_dir()
    return parts[-1] if is_path else start
