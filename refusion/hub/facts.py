"""Facts about a model besides its weights: training.json, scores.json and history.jsonl in its folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from refusion.hub.errors import ModelError
from refusion.hub.folder import HISTORY, SCORES, TRAINING, TUNING_SCORES
from refusion.system.files import write_text


@dataclass(frozen=True)
class TrainingData:
    """Training data of a model.

    Attributes:
        pairs: their number, None if it is not known.
        about: where they come from, as the end of a sentence ("205 RoadScene, 21 TNO").
        datasets: names of the data sets, for the front matter of the card.
    """

    pairs: int | None = None
    about: str = ""
    datasets: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """How a model was trained; the content of training.json. Empty fields are left out of the card.

    Attributes:
        data: the training pairs.
        commands: what was typed, one line each.
        machine: what it ran on, as the end of a sentence ("one core of ...").
        minutes: duration of the training.
        updates: number of updates by kind ("fusion", "outer").
        versions: versions by name ("torch").
        base_model: the model whose weights it started from: a bare name, OWNER/NAME, or the name of a run.
        notes: Markdown, below the curve.
        validation: the scored pairs, as a noun phrase ("validation pairs of RoadScene and TNO").
        score_notes: Markdown, below the scores.
        limits: Markdown, what these weights do badly.
        licence: identifier of the licence of the weights; the task's if not given.
        licence_reason: why that licence, in sentences.
    """

    data: TrainingData = field(default_factory=TrainingData)
    commands: list[str] = field(default_factory=list)
    machine: str = ""
    minutes: float | None = None
    updates: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    base_model: str | None = None
    notes: str = ""
    validation: str = ""
    score_notes: str = ""
    limits: str = ""
    licence: str | None = None
    licence_reason: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """Mean scores of one model, by metric; None where it has no meaning."""

    name: str
    pairs: int
    mean: dict[str, float | None]


@dataclass(frozen=True)
class Scores:
    """Content of scores.json; the first row is the model itself with the default output range.

    Attributes:
        definitions: how the metrics are defined.
        rows: one for each model.
        higher_is_better: the direction of each metric.
    """

    definitions: str
    rows: list[ScoreRow]
    higher_is_better: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """All facts about a model; None, or no history, where a file is missing.

    Attributes:
        training: how it was trained.
        scores: its scores, and those of others.
        history: losses and weights during the training.
        tuning: of a fine-tuned model, its scores as "after" and those of the model that it started from as "before".
    """

    training: Training | None = None
    scores: Scores | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    tuning: Scores | None = None


def read_facts(folder: Path) -> Facts:
    """Read the facts in a model folder; without training.json, how it was trained is not known.

    Raises:
        ModelError: a file is damaged; the message names it and the key.
    """
    scores, tuning = (_read_scores(folder / name) for name in (SCORES, TUNING_SCORES))
    return Facts(_read_training(folder), scores, read_history(folder / HISTORY), tuning)


def save_training(folder: Path, training: Training) -> None:
    """Write training.json."""
    write_text(folder / TRAINING, json.dumps(asdict(training), indent=2, ensure_ascii=False) + "\n")


def _read_training(folder: Path) -> Training | None:
    path = folder / TRAINING
    if path.is_file():
        content = _read_object(path)
        data = _checked(path, TrainingData, content.pop("data", {}), "data.")
        return Training(data=TrainingData(**data), **_checked(path, Training, content))
    return None


def _read_scores(path: Path) -> Scores | None:
    if not path.is_file():
        return None
    content = _read_object(path)
    rows = []
    for name, scored in _mapping(path, content.get("models"), "models").items():
        mean = _mapping(path, _mapping(path, scored, f"models.{name}").get("mean"), f"models.{name}.mean")
        for metric, value in mean.items():
            if value is not None and not isinstance(value, int | float):
                raise ModelError(f"{metric} of {name} in {path.name} is {value!r}; it must be a number or null.")
        if type(scored.get("pairs")) is not int:
            raise ModelError(f"pairs of {name} in {path.name} is {scored.get('pairs')!r}; it must be a whole number.")
        rows.append(ScoreRow(name, scored["pairs"], dict(mean)))
    metrics = _mapping(path, content.get("figures", {}), "figures")
    directions = {
        name: bool(_mapping(path, about, f"figures.{name}").get("higher_is_better")) for name, about in metrics.items()
    }
    return Scores(str(content.get("definitions", "")), rows, directions) if rows else None


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a run; a last line that a killed run left half written is not one."""
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            rows.append(dict(_mapping(path, json.loads(line), f"line {number}")))
        except json.JSONDecodeError as error:
            raise ModelError(f"Line {number} of {path.name} is not JSON: {error}") from error
    return rows


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return dict(_mapping(path, json.loads(path.read_text(encoding="utf-8")), "content"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} in {path.parent.name} is not JSON: {error}") from error


def _mapping(path: Path, value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"{what} in {path.name} must be an object, {{...}}, but is {value!r}.")
    return value


def _checked(path: Path, kind: type, content: object, prefix: str = "") -> dict[str, Any]:
    """The content, if it has only fields of the dataclass, with the types of the defaults."""
    content = dict(_mapping(path, content, prefix.rstrip(".") or "content"))
    known = {f.name: f.type for f in fields(kind)}
    if unknown := sorted(content.keys() - known.keys()):
        raise ModelError(f"{path.name} has the unknown key {prefix}{unknown[0]}; known are {', '.join(known)}.")
    for key, value in content.items():
        wanted: Any = getattr(known[key], "__origin__", known[key])
        if not isinstance(value, float | int | None if wanted == float | None else wanted):
            raise ModelError(f"{prefix}{key} in {path.name} is {value!r}, which is not of the type {known[key]}.")
    return content
