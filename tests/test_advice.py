"""Advice that can be followed: an option that a message names is one that the program has."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import typer
from support.scenes import ROOT

from refusion.cli.app import app
from refusion.images import PictureError
from refusion.system.advice import Advised, in_demo, without_options
from refusion.training.flags import make_parser

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*[a-z0-9](?![\w-])")
GROUP = typer.main.get_command(app)
OF_COMMANDS = {
    name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in GROUP.commands.items()
}
OF_TRAINING = {option for action in make_parser()._actions for option in action.option_strings}
OF_COMMANDS["train"] = OF_TRAINING
OF_OTHERS = {
    "accelerate": {"--cpu", "--multi-gpu", "--num-processes"},
    "torchrun": {"--nproc-per-node"},
    "git": {"--error-unmatch", "--porcelain", "--untracked-files"},
    "refusion": {"--version", "--help"},
    "hf download": {"--revision"},
}
NAMED = re.compile(r"(?:refusion |\b)(fuse-dataset|[a-z]+)(?=[ .])")
"""Commands that a text names, such as `refusion evaluate` and `train.py`."""
FUSING = ("fuse", "fuse-dataset")
READING = (*FUSING, "evaluate", "explain", "train")
SAID_BY: dict[str, tuple[str, ...]] = {
    "bulk": ("fuse-dataset",),
    "cli": FUSING,
    **dict.fromkeys(("cli/fuse_folders.py", "cli/fuse_modes.py", "cli/options.py", "cli/paths.py"), ("fuse",)),
    "explanation": ("explain",),
    "hub": READING,
    "images": READING,
    "inference": FUSING,
    "inference/stack.py": ("fuse",),
    "metrics": ("evaluate",),
    "models": READING,
    "modules": READING,
    "pairs": READING,
    "pairs/dataset.py": ("train",),
    "pairs/jobs.py": ("fuse",),
    **dict.fromkeys(("pairs/kinds.py", "pairs/matching.py"), (*FUSING, "evaluate", "train")),
    **dict.fromkeys((f"pairs/{name}.py" for name in ("file_rows", "sources", "table_rows")), ("fuse-dataset",)),
    "system": READING,
    "system/pool.py": ("fuse-dataset",),
    "system/processes.py": ("train",),
    "training": ("train",),
    "training/reproduction.py": ("train",),
    **dict.fromkeys(("__init__.py", "__main__.py", "api.py", "tasks.py", "version.py"), READING),
}
"""The commands that print the messages of a package or file."""


NEEDS_OPTIONS = re.compile(r"(?<![\w-])--[a-z]|\b[a-z_]+='|pip install|max_pixels|MAX_IMAGE_PIXELS|TMPDIR|ulimit")
"""Advice that nobody can follow in the demo, which has no command line and no Python."""
NEVER_IN_THE_DEMO = {
    "refusion/explanation/maps.py": ("--max-megapixels (max_megapixels) is X",),
    "refusion/hub/card.py": ("    refusion evaluate", "Fusion needs only", "With the extra `torch`"),
    "refusion/hub/card_texts.py": ("The model also runs in a browser",),
    "refusion/hub/client_errors.py": (" --revision X",),
    "refusion/metrics/pictures.py": ("A plot of ranks needs matplotlib",),
    "refusion/images/levels.py": ("No value of X lies in the window",),
    "refusion/images/windows.py": ("X windows were given",),
    "refusion/images/reading.py": ("--temperatures has no effect", "--nodata X has no effect"),
    "refusion/images/dicom_series.py": ("The folder X is read as a DICOM series",),
    "refusion/images/thermal.py": ("The temperatures in X", " (after X)", 'pip install "refusion[thermal]"'),
    "refusion/images/video_coding.py": ("Videos need one more package",),
    "refusion/inference/folder_record.py": ("max_pixels",),
    "refusion/images/volume.py": ("Volumes need one more package",),
    "refusion/inference/volume.py": ("--align", "--crop", "--chroma", "--temperatures"),
    "refusion/inference/video.py": ("--align", "--crop", "--window, --window-a", "--temperatures", "--nodata"),
}
"""Beginnings of what only options bring about that the demo does not give."""


def messages(path: Path, *, advised: bool = True) -> Iterator[str]:
    """All strings of a file but its docstrings; parts of one sentence are one.

    Args:
        path: of the file.
        advised: with what an `Advised` message says to those who have options.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not advised:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Advised":
                del node.args[1:2]
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in (documents | inner):
            yield node.value


def commands_of(path: Path) -> tuple[str, ...]:
    """The commands that may print a message of this file."""
    place = path.relative_to(ROOT / "refusion")
    if place.parts[0] == "cli" and (command := path.stem.replace("_", "-")) in OF_COMMANDS:
        return (command,)
    return SAID_BY.get(place.as_posix()) or SAID_BY[place.parts[0]]


def known_in(path: Path, text: str) -> set[str]:
    """Options that whoever reads a message can give, whichever command printed it, or that a command it names has."""
    shared = set.intersection(*(OF_COMMANDS[command] for command in commands_of(path)))
    named = [OF_COMMANDS[name] for name in NAMED.findall(text) if name in OF_COMMANDS]
    return shared.union(*named, *OF_OTHERS.values())


def test_every_option_in_a_message_is_one_of_the_command():
    unknown = [
        f"{path.relative_to(ROOT)}: {option} in {text[:90]!r}"
        for path in sorted((ROOT / "refusion").rglob("*.py"))
        if path.relative_to(ROOT / "refusion").parts[0] != "demo"
        for text in messages(path)
        for option in OPTION.findall(text)
        if option.replace("_", "-") not in known_in(path, text)
    ]
    assert unknown == []


def test_what_reaches_the_demo_can_be_followed_there():
    rooms = ("explanation", "hub", "images", "inference", "metrics", "models", "modules")
    files = [file for room in rooms for file in (ROOT / "refusion" / room).rglob("*.py")]
    unhelpful = [
        f"{name}: {text[:90]!r}"
        for path in sorted(files)
        for name in [path.relative_to(ROOT).as_posix()]
        for text in messages(path, advised=False)
        if NEEDS_OPTIONS.search(text) and not text.startswith(NEVER_IN_THE_DEMO.get(name, ()) or "\0")
    ]
    assert unhelpful == []


def test_advice_depends_on_where_it_is_read():
    message = Advised("a.png uses little of its range", "give --own-range", "scale it")
    error = pickle.loads(pickle.dumps(PictureError(message)))
    assert str(error) == message == "a.png uses little of its range; give --own-range."
    assert without_options(error) == without_options(message) == "a.png uses little of its range; scale it."
    assert in_demo(error) == without_options(error)
    other = pickle.loads(pickle.dumps(Advised("It is dark", "give --own-range", "scale it", "press the button")))
    assert (without_options(other), in_demo(other)) == ("It is dark; scale it.", "It is dark; press the button.")
    assert without_options(PictureError("It is empty.")) == without_options("It is empty.") == "It is empty."
    assert without_options(FileNotFoundError(2, "gone")) == str(FileNotFoundError(2, "gone"))
