"""Reproduce a run from its folder."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from refusion.hub.folder import PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, WEIGHTS
from refusion.pairs.errors import DataError
from refusion.training.flags import BUDGETS, GAINS
from refusion.training.provenance import git_revision, versions


def read_run(folder: Path) -> dict[str, Any]:
    """The settings.json of a run folder.

    Raises:
        DataError: it is not the folder of a run, or of one from before its settings were recorded.
    """
    path = folder / "settings.json"
    if not path.is_file():
        raise DataError(
            f"{folder} is not the folder of a run: it has no settings.json. Give the --out folder of train.py."
        )
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"settings.json in {folder.name} is not JSON ({error}), so the run cannot be started."
        ) from error
    if not isinstance(run, dict) or not {"arguments", "settings", "data"} <= run.keys():
        raise DataError(
            f"settings.json in {folder.name} does not say how the run was started, as those of older versions do not; "
            "start it by hand with train.py."
        )
    return run


def arguments_of(run: dict[str, Any]) -> Namespace:
    """The flags of train.py for the same run, without --data and --out.

    Args:
        run: as from `read_run`.
    """
    expected = {"expected_data": run["data"]["fingerprint"], "expected_start": run["from_sha256"]}
    settings = run["settings"] | (dict.fromkeys(GAINS) if run.get("gains_kept") else {})
    return Namespace(**{"match": None} | run["arguments"], **settings, **expected, threads=run["threads"])


def stages_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The budgets of the run, in order: flags of train.py that differ from one stage to the next.

    Args:
        run: as from `read_run`.
    """
    from refusion.training.record import budget_of

    # Records of older versions have no rounds there.
    earlier = [{name: old.get(name) for name in BUDGETS} for old in run.get("earlier_budgets", [])]
    return [budget | {"resume": number > 0} for number, budget in enumerate([*earlier, budget_of(run)])]


def differences(run: dict[str, Any], processes: int) -> list[str]:
    """Differences from the original run, a sentence each; any of them may change the weights."""
    found = []
    now = versions()
    for name, before in run["versions"].items():
        if now.get(name) != before:
            found.append(f"{name} was {before} and is {now.get(name, 'missing')}.")
    revision = git_revision()
    if run["git"] != revision:
        found.append(f"The source code was {run['git'] or 'no checkout'} and is {revision or 'no checkout'}.")
    elif revision is not None and revision.endswith("-dirty"):
        found.append(f"The source code was changed after {revision.removesuffix('-dirty')}, then and perhaps since.")
    if run["processes"] != processes:
        found.append(f"It ran in {run['processes']} process(es), now in {processes}: sums are rounded otherwise.")
    if any(stage["minutes"] is not None for stage in stages_of(run)):
        found.append("Its budget was a time, so the clock decides over schedules and number of steps.")
    for old in run.get("earlier_budgets", []):
        if old["until"] != old.get("end", old["steps"]):
            found.append(f"Its budget was changed at step {old['until']}, which is not where the one before ended.")
    if run["data"]["fingerprint"] is None:
        found.append("Its data set was streamed, so nothing tells whether it is still the same.")
    return found


def comparison(first: Path, second: Path) -> str:
    """A sentence that says how the weights of two run folders differ."""
    import torch
    from safetensors.torch import load_file

    from refusion.training.run_folder import load_checkpoint

    steps = [load_checkpoint(folder)["step"] for folder in (first, second)]
    if steps[0] != steps[1]:
        return f"{first.name} is at step {steps[0]}, {second.name} at step {steps[1]}: the weights are not compared."
    largest = 0.0
    for name in (WEIGHTS, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS):
        if (first / name).is_file():
            one, other = load_file(first / name), load_file(second / name)
            largest = max(largest, *((one[key].double() - other[key].double()).abs().max().item() for key in one))
            if largest == 0 and not all(torch.equal(one[key], other[key]) for key in one):
                largest = float("nan")
    same = f"The weights are those of {first.name}, bit for bit."
    return same if largest == 0 else f"The weights differ from those of {first.name} by up to {largest:.3g}."
