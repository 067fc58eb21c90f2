"""How a model was trained, told from the settings.json and the history of its run."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from refusion.hub.facts import Training, TrainingData
from refusion.tasks import TASKS
from refusion.training.settings import DEFAULT_PRESET, PRESETS, TrainingSettings, preset_settings


def training_of_run(settings: Mapping[str, Any], history: list[dict[str, Any]]) -> Training:
    """What the run folder knows; paths of this machine are not passed on.

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
        commands=[_command(settings)],
        machine=machine,
        minutes=round(last["seconds"] / 60, 1) if "seconds" in last else None,
        updates={"fusion": last["step"]} if "step" in last else {},
        versions=dict(settings.get("versions", {})),
        base_model=_base(settings.get("from")),
    )


def _command(settings: Mapping[str, Any]) -> str:
    task, hyper = settings.get("task", "TASK"), settings.get("settings", {})
    words = ["python train.py", f"--task {task}", "--data PAIRS", f"--out runs/{task}"]
    preset, differing = _nearest_preset(task, hyper)
    if preset != DEFAULT_PRESET:
        words.append(f"--preset {preset}")
    if base := _base(settings.get("from")):
        words.append(f"--from {base}")
    words += [f"--{key} {settings[key]:g}" for key in ("minutes", "steps", "seed") if settings.get(key)]
    for key, value in differing.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag} {value}")
    return " ".join(words)


def _nearest_preset(task: str, hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The preset, as it is today, that agrees with the most hyperparameters, and those that it does not agree with."""
    # A run of before a setting was there had its default.
    hyper = {**asdict(TrainingSettings()), **hyper}
    differing = {}
    for preset in PRESETS:
        values = asdict(preset_settings(preset, task)) if task in TASKS else {}
        differing[preset] = {key: value for key, value in hyper.items() if values.get(key, value) != value}
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    return nearest, differing[nearest]


def _base(start: str | None) -> str | None:
    """The name of the model that a run started from; of a folder, its own name."""
    if not start or ("/" not in start and "\\" not in start):
        return start or None
    parts = PurePath(start.replace("\\", "/")).parts
    is_path = start.startswith((".", "~", "/")) or len(parts) != 2 or Path(start).is_dir()
    return parts[-1] if is_path else start
