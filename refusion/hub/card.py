"""Model cards: the README.md of a model folder, made from the files beside it."""

import json
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub.utils import yaml_dump

from refusion.hub.card_texts import (
    BROWSER,
    CITATION,
    COMMON_LIMITS,
    LIBRARY,
    LICENCES,
    PAPER_URL,
    PIPELINE_TAG,
    TAGS,
    TASK_TEXTS,
    TaskText,
)
from refusion.hub.facts import Facts, ScoreRow, Scores, Training
from refusion.hub.folder import CONFIG, PROPOSAL_WEIGHTS, RECONSTRUCTION_WEIGHTS, SCORES, WEIGHTS
from refusion.system.lists import counted
from refusion.system.markdown import NOTHING, table
from refusion.tasks import Task

MIXIN_TAGS = ["model_hub_mixin", "pytorch_model_hub_mixin"]
RELEASE = "authors' release"
"""Prefix of the name of the row of scores that the model is compared with."""

CURVE = (
    "Training curve: running means of the fusion loss L_f and the reconstruction loss L_r, and the spread of the "
    "weights w (brightness) and v (edges), their root mean square distance from 1/2; `history.jsonl` has all of it."
)
CURVE_ROWS = 6
LEVEL = 0.005
"""Relative difference up to which two scores count as level."""

_MODEL_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LOCAL = re.compile(r" ('\./[^']*'|\./\S+)")
_CURVE = {
    "L_f": "fusion",
    "L_r": "reconstruction",
    "spread of w": "w_spread",
    "spread of v": "v_spread",
}


@dataclass(frozen=True)
class Model:
    """The model that a card is about.

    Attributes:
        name: name for `from_pretrained`: a bare name, OWNER/NAME or a path.
        task: its task.
        parameters: number of parameters of the fusion module.
        trainable: whether the folder also has the two training modules.
        kind: name of its class, `ReFusion` or a subclass.
        importing: the line of Python that makes the class known.
    """

    name: str
    task: Task
    parameters: int
    trainable: bool
    kind: str = "ReFusion"
    importing: str = "from refusion import ReFusion"


def card_text(model: Model, facts: Facts) -> str:
    """Text of the card: front matter and Markdown."""
    text = TASK_TEXTS[model.task.name]
    front = yaml_dump(_front_matter(model, facts, text), sort_keys=False).strip()
    sections = [
        f"---\n{front}\n---",
        f"# {_title(model)}",
        *_introduction(model, facts.training, text),
        *_training(model, facts),
        *_scores(model, facts),
        "## Intended use and limits",
        _fill(f"{text.use} {COMMON_LIMITS} {text.limits}"),
        *_given(facts.training.limits if facts.training else None),
        "## Licence",
        _licence(model, facts.training),
        "## Citation",
        f"```bibtex\n{CITATION}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(model: Model, facts: Facts, text: TaskText) -> dict[str, Any]:
    """The YAML of the card, with the keys in the order in which the Hub client writes them."""
    training, scores = facts.training or Training(), facts.scores
    front: dict[str, Any] = {
        "license": training.licence or model.task.licence,
        "library_name": LIBRARY,
        "pipeline_tag": PIPELINE_TAG,
        "tags": sorted({*TAGS, text.tag, *MIXIN_TAGS}),
    }
    if training.base_model and _MODEL_ID.fullmatch(training.base_model):
        front["base_model"] = training.base_model
    if training.data.datasets:
        front["datasets"] = list(training.data.datasets)
    if scores:
        row = scores.rows[0]
        values = {metric: value for metric, value in row.mean.items() if value is not None}
        front["metrics"] = list(values)
        result = {
            "task": {"type": PIPELINE_TAG, "name": f"Image fusion: {model.task.title}"},
            "dataset": {"name": _validation(row.pairs, training), "type": f"{model.task.name}-pairs"},
            "metrics": [{"type": metric, "value": round(value, 4), "name": metric} for metric, value in values.items()],
        }
        front["model-index"] = [{"name": _title(model), "results": [result]}]
    return front


def _introduction(model: Model, training: Training | None, text: TaskText) -> list[str]:
    a, b = text.pictures
    method = f"{text.summary} {model.parameters:,} parameters. The method is ReFusion (Bai et al., IJCV 2024, "
    method += f"[arXiv 2312.07943]({PAPER_URL}))."
    if training is not None and (training.commands or not training.base_model):
        start = f"the weights of {training.base_model}" if training.base_model else "random initialisation"
        method += f" The weights were trained with this library, from {start}."
    elif training is not None:
        method += f" The weights are derived from those of {training.base_model}."
    snippet = (
        f"{model.importing}\n\nmodel = {model.kind}.from_pretrained({json.dumps(model.name, ensure_ascii=False)})\n"
        f'fused = model.fuse("{a}", "{b}")\nfused.save("fused.png")'
    )
    installed = 'With the extra `torch` installed (`pip install ".[torch]"` in a checkout of the project)'
    if _is_local(model):
        installed += f", where `{model.name}` is the folder of this card"
    parts = [_fill(method), _fill(f"{installed}:"), f"```python\n{snippet}\n```"]
    if model.name.rpartition("/")[2] == model.task.model:
        parts.append(_fill(BROWSER))
    if model.trainable:
        parts.append(
            _fill(
                f"Fusion needs only `{CONFIG}` and `{WEIGHTS}`. `{PROPOSAL_WEIGHTS}` and `{RECONSTRUCTION_WEIGHTS}` "
                "are the two modules trained with it; `train.py --from` starts from all three."
            )
        )
    return parts


def _training(model: Model, facts: Facts) -> list[str]:
    training = facts.training
    if training is None:
        return ["## Training", "How these weights were trained is not recorded."]
    parts, data = ["## Training"], training.data
    if data.pairs is not None or data.about:
        count = "registered pairs" if data.pairs is None else f"{data.pairs:,} registered pairs"
        about = f" ({data.about})" if data.about else ""
        parts.append(_fill(f"Data: {count}{about}. Only the luminance is used."))
    if training.commands:
        parts.append(_fill(f"In a checkout of the project ({_placeholders(model, training.commands)}):"))
        parts.append("\n".join(f"    {command}" for command in training.commands))
    if effort := _effort(training):
        parts.append(_fill(f"{effort[0].upper()}{effort[1:]}."))
    if facts.history:
        parts += [_fill(CURVE), _curve(facts.history)]
    if len(parts) == 1 and not training.notes:
        parts.append("The training of these weights is not recorded.")
    return [*parts, *_given(training.notes)]


def _is_local(model: Model) -> bool:
    return model.name.startswith("./")


def _placeholders(model: Model, commands: Sequence[str]) -> str:
    """What to put in place of the names of files in the commands of a training."""
    a, b = model.task.folders
    known = [f"`PAIRS` is a folder with the sub-folders `{a}` and `{b}`"]
    if any("VAL" in command.split() for command in commands):
        known.append("`VAL` is another one")
    starts = (_LOCAL.search(command) for command in commands)
    known += [
        f"`{start}` is the folder of the model before" for start in sorted({found[1] for found in starts if found})
    ]
    return ", ".join(known[:-1]) + f"{' and ' if known[1:] else ''}{known[-1]}"


def _effort(training: Training) -> str:
    """Time, machine, updates and versions, as far as known."""
    parts = []
    if training.minutes is not None:
        unit = "minute" if training.minutes == 1 else "minutes"
        minutes = f"{training.minutes:g}" if training.minutes else "less than 0.1"
        parts.append(f"{minutes} {unit}" + (f" on {training.machine}" if training.machine else ""))
    elif training.machine:
        parts.append(training.machine)
    parts += [f"{count:,} {kind} updates" for kind, count in training.updates.items()]
    parts += [f"{name} {version}" for name, version in training.versions.items()]
    return ", ".join(parts)


def _curve(history: list[dict[str, Any]]) -> str:
    last = len(history) - 1
    chosen = sorted({round(i * last / (CURVE_ROWS - 1)) for i in range(CURVE_ROWS)})
    rows = []
    for row in (history[index] for index in chosen):
        minutes = f"{row['seconds'] / 60:.0f}" if "seconds" in row else NOTHING
        values = [f"{row[key]:.3g}" if key in row else NOTHING for key in _CURVE.values()]
        rows.append([str(row.get("step", NOTHING)), minutes, *values])
    return table(["step", "minutes", *_CURVE], rows)


def _scores(model: Model, facts: Facts) -> list[str]:
    scores, training = facts.scores, facts.training
    if scores is None:
        return ["## Scores", *_not_scored(model, facts.tuning)]
    first = scores.rows[0]
    parts = [
        "## Scores",
        _fill(f"Means over {_validation(first.pairs, training or Training())}; arrows show whether higher is better:"),
        f"{_evaluation(model)} {SCORES}",
        _score_table(model, scores),
    ]
    release = next((row for row in scores.rows if row.name.startswith(RELEASE)), None)
    if release is not None and release.pairs == first.pairs:
        parts.append(_fill(_comparison(first, release, scores.higher_is_better)))
    if scores.definitions:
        parts.append(_fill(f"Metrics: {scores.definitions}."))
    return [*parts, *_given(training.score_notes if training else None)]


def _evaluation(model: Model) -> str:
    """The command that scores the model, up to the name of its result."""
    return f"    refusion evaluate --task {model.task.name} --data VAL --model {shlex.quote(model.name)} --json"


def _not_scored(model: Model, tuning: Scores | None) -> list[str]:
    """How to score the model, after the scores of its fine-tuning if there are any."""
    command = f"{_evaluation(model)} {SCORES}"
    todo = "Run this command and put the file next to this card:"
    if _is_local(model):
        path = shlex.quote(f"{model.name}/{SCORES}")
        command = f"{_evaluation(model)} {path}\n    refusion card {shlex.quote(model.name)}"
        todo = "These commands score the pairs in the folder `VAL` and put the table here:"
    if tuning is not None:
        return [*_tuning(tuning), "Scores over other pairs, for this card:", command]
    if model.kind != "ReFusion":
        return ["Not scored yet."]  # The command line does not know the subclass.
    return [f"Not scored yet. {todo}", command]


def _score_table(model: Model, scores: Scores) -> str:
    """A row for the model and for each other method, with the number of pairs where it differs."""
    first = scores.rows[0]
    differ = len({row.pairs for row in scores.rows}) > 1
    rows = []
    for row in scores.rows:
        name = _title(model) if row is first else row.name
        label = [name, str(row.pairs)] if differ else [name]
        rows.append([*label, *(_value(row.mean.get(metric)) for metric in first.mean)])
    heading = ["", "pairs"] if differ else [f"{first.pairs} pairs"]
    return table([*heading, *_headings(scores)], rows)


def _tuning(scores: Scores) -> list[str]:
    """The table of a model before and after its fine-tuning."""
    counts = {row.pairs for row in scores.rows}
    pairs = counted(counts.pop(), "pair") if len(counts) == 1 else f"{' or '.join(map(str, sorted(counts)))} pairs"
    about = f"Means over {pairs}, before and after the fine-tuning; arrows show whether "
    rows = [[row.name, *(_value(value) for value in row.mean.values())] for row in scores.rows]
    return [_fill(f"{about}higher is better:"), table(["", *_headings(scores)], rows)]


def _headings(scores: Scores) -> list[str]:
    return [f"{metric} {'↑' if scores.higher_is_better.get(metric) else '↓'}" for metric in scores.rows[0].mean]


def _comparison(ours: ScoreRow, theirs: ScoreRow, higher_is_better: Mapping[str, bool]) -> str:
    """Metrics in which the model is better than the release, level, and worse, with per cent of the release's score."""
    better, level, worse = [], [], []
    for metric, value in ours.mean.items():
        other = theirs.mean.get(metric)
        if value is None or other is None:
            continue
        if abs(value - other) <= LEVEL * abs(other):
            level.append(metric)
        elif (value > other) == higher_is_better.get(metric, False):
            better.append(metric)
        else:
            worse.append(f"{metric} ({100 * value / other:.0f} %)" if other > 0 else metric)
    parts = [
        f"better in {', '.join(better)}" if better else "better in no metric",
        f"level (within {100 * LEVEL:g} %) in {', '.join(level)}" if level else "",
        f"worse in {', '.join(worse)}" if worse else "",
    ]
    return f"Against the {theirs.name}: {'; '.join(part for part in parts if part)}."


def _licence(model: Model, training: Training | None) -> str:
    training = training or Training()
    licence = training.licence or model.task.licence
    reason = training.licence_reason
    if not reason and training.base_model:
        reason = f"The licence of {training.base_model}, from which these weights are derived, applies to them too."
    if not reason:
        reason = "The terms of the training images are not recorded, so only research and private use is safe."
    return _fill(f"{reason} The weights are {LICENCES.get(licence, licence)}. The code is Apache-2.0.")


def _title(model: Model) -> str:
    return model.name.rsplit("/", 1)[-1]


def _validation(pairs: int, training: Training) -> str:
    return f"{pairs} {training.validation or 'pairs'}"


def _value(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _given(text: str | None) -> list[str]:
    return [text.strip()] if text else []


def _fill(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
