"""The floor plan: which package may import which, what benchmarks import, and what the package shows to completion."""

import ast
import importlib
from pathlib import Path

from support.scenes import ROOT

import refusion

FLOORS = (
    "version", "tasks", "system", "images", "hub", "modules", "pairs", "metrics", "inference", "models", "explanation",
    "training", "api", "bulk", "demo", "cli",
)  # fmt: skip
"""Ground first; each imports from those before it, and from itself."""


def imports(path: Path) -> set[str]:
    """Names of the packages of refusion that a file imports from, imports within functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "refusion":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("refusion.")}
    return found


def test_imports_run_downwards_only():
    package = ROOT / "refusion"
    upwards = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).with_suffix("").parts[0]
        if room not in ("__init__", "__main__"):
            below = FLOORS[: FLOORS.index(room) + 1]
            upwards += [f"{path.relative_to(ROOT)}: {name}" for name in imports(path) - set(below)]
    assert upwards == []


def test_what_benchmarks_import_is_there():
    gone = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "refusion":
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                gone += [f"{path.name}: {node.module}.{name}" for name in missing]
    assert gone == []


def test_the_public_names_are_these():
    shown = [name for name in dir(refusion) if not name.endswith("Error")]
    assert shown == [
        "ReFusion",
        "explain",
        "fuse",
        "fuse_dataset",
        "fuse_many",
        "fuse_stack",
        "fuse_volumes",
        "list_models",
    ]
    errors = [name for name in dir(refusion) if name.endswith("Error")]
    assert errors == ["DataError", "HubError", "ModelError", "NoWeightsError", "PictureError", "UnknownModelError"]
    for name in (*dir(refusion), "Fused", "TASKS", "Task", "__version__"):
        assert getattr(refusion, name) is not None
