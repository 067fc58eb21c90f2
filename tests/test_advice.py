"""Advice that can be followed: an option that a message names is one that the program has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer
from support.scenes import ROOT

from refusion.cli.app import app
from refusion.training.flags import make_parser

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*[a-z0-9](?![\w-])")
GROUP = typer.main.get_command(app)
OF_COMMANDS = {
    name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in GROUP.commands.items()
}
OF_TRAINING = {option for action in make_parser()._actions for option in action.option_strings}
OF_OTHERS = {
    "accelerate": {"--cpu", "--multi-gpu", "--num-processes"},
    "torchrun": {"--nproc-per-node"},
    "git": {"--error-unmatch", "--porcelain", "--untracked-files"},
    "refusion": {"--version"},
    # `refusion info`, `convert` and a training name what `refusion fuse` takes.
    "fuse": {"--engine", "--model"},
}


def messages(path: Path) -> Iterator[str]:
    """All strings of a file but its docstrings; parts of one sentence are one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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


def known_in(path: Path) -> set[str]:
    """Options that somebody who reads a message of this file can give."""
    room = path.relative_to(ROOT / "refusion").parts
    others = set().union(*OF_OTHERS.values())
    if room[0] == "training":
        return OF_TRAINING | OF_COMMANDS["reproduce"] | others
    if room[0] == "cli" and (command := path.stem.replace("_", "-")) in OF_COMMANDS:
        return OF_COMMANDS[command] | others | OF_TRAINING
    return set().union(OF_TRAINING, others, *OF_COMMANDS.values())


def test_every_option_in_a_message_is_one_of_the_command():
    unknown = [
        f"{path.relative_to(ROOT)}: {option} in {text[:90]!r}"
        for path in sorted((ROOT / "refusion").rglob("*.py"))
        if path.relative_to(ROOT / "refusion").parts[0] != "demo"
        for text in messages(path)
        for option in OPTION.findall(text)
        if option.replace("_", "-") not in known_in(path)
    ]
    assert unknown == []
