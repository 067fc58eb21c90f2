"""Assembles the static page, which fuses in the visitor's browser, from this checkout; see space/static."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from refusion.demo import texts
from refusion.demo.examples import Example, example_pairs
from refusion.hub.card_texts import CITATION, LICENCES, PAPER_URL, TASK_TEXTS
from refusion.hub.errors import ModelError
from refusion.hub.names import bundled_folder
from refusion.inference.engines.onnx_page import write_finish, write_graphs
from refusion.models.bundled import bundled_weights
from refusion.system.files import check_empty, filling
from refusion.system.resources import resource_folders
from refusion.tasks import CHOICES, TASKS, Task
from refusion.version import __version__

_NOT_KEPT = ("README.md", "sw.js", "ort.webgpu", "asyncify")
"""Parts of the names of files that the service worker does not cache."""


def assemble_static_page(folder: Path) -> list[str]:
    """Write everything that the page needs to a folder that any web server can serve.

    Args:
        folder: an empty folder; created if missing.

    Returns:
        The names of the bundled models.

    Raises:
        ValueError: the folder is not empty, or the page was not built.
        ModelError: this version comes without weights, or they were changed.
        OSError: the folder cannot be written.
    """
    check_empty(folder)
    built = next((f for f in resource_folders("space/static/dist") if (f / "index.html").is_file()), None)
    if built is None:
        raise ValueError(
            "The static page has not been built. An installed refusion does not come with it: in a checkout, run "
            "`npm ci && npm run build` in space/static, and then `python -m refusion space --static` at the top."
        )
    tasks = [task for task in TASKS.values() if bundled_folder(task.model) is not None]
    if not tasks:
        raise ModelError("This version comes without weights, and the page cannot fuse without them.")
    with filling(folder) as made:
        shutil.copytree(built, made, dirs_exist_ok=True)
        for task in tasks:
            (made / "models" / task.model).mkdir(parents=True)
            config, weights = bundled_weights(task.model)
            write_graphs(made / "models" / task.model, weights, config["padding_mode"], config["window"])
        write_finish(made / "models")
        (made / "examples").mkdir()
        for path in (path for task in tasks for pair in _rendered(task) for path in pair.paths):
            shutil.copyfile(path, made / "examples" / path.name)
            shutil.copyfile(path.with_name("README.md"), made / "examples" / "README.md")
        (made / "page.json").write_text(json.dumps(_page(tasks)), encoding="utf-8")
        _list_files(made)
    return [task.model for task in tasks]


def _rendered(task: Task) -> list[Example]:
    """The example of a task that was rendered for this project, if installed."""
    return [example for example in example_pairs(task.name) if example.name == task.name]


def _page(tasks: list[Task]) -> dict[str, Any]:
    """The data that space/static/src/page.ts describes."""
    return {
        "version": __version__,
        "introduction": texts.INTRODUCTION,
        "tasks": [_task(task) for task in tasks],
        "method": texts.METHOD.split("\n\n")[1].replace("\n", " ").strip(),
        "figure": texts.METHOD_FIGURE,
        "citation": CITATION,
        "paper": PAPER_URL,
        "licence": ", ".join(sorted({LICENCES.get(task.licence, task.licence) for task in tasks})),
    }


def _task(task: Task) -> dict[str, Any]:
    words = texts.choices(task.labels)
    pair = next(iter(_rendered(task)), None)
    return {
        "name": task.name,
        "title": task.title,
        "labels": task.labels,
        "text": texts.lead(task),
        "summary": TASK_TEXTS[task.name].summary,
        "limits": TASK_TEXTS[task.name].limits,
        "model": task.model,
        "settings": [
            {
                "name": name,
                "label": texts.SETTINGS[name][0],
                "info": texts.SETTINGS[name][1],
                "options": [words[name][x] for x in names],
                "chosen": names.index(getattr(task, name)),
            }
            for name, names in CHOICES.items()
        ],
        "example": pair and {"title": pair.title, "files": [f"examples/{path.name}" for path in pair.paths]},
    }


def _list_files(folder: Path) -> None:
    """Write files.js: the files that the service worker caches, and a version that changes with them."""
    kept, digest = [], hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + path.read_bytes())
        if not any(part in name for part in _NOT_KEPT):
            kept.append(name)
    text = f"const VERSION = {json.dumps(digest.hexdigest()[:16])};\nconst FILES = {json.dumps(kept)};\n"
    (folder / "files.js").write_text(text, encoding="utf-8")
