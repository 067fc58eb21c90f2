"""The floor plan: which package may import which, what benchmarks import, and what the package shows to completion."""

import ast
import importlib
from graphlib import CycleError, TopologicalSorter
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


def imported_files(path: Path, files: dict[str, Path]) -> set[Path]:
    """Files of refusion that a file imports from, imports within functions included, those for types only left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    left_out = {id(inner) for node in for_types for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in left_out:
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)} & files.keys()
    return {files[name] for name in found} - {path}


def test_no_files_import_each_other_in_a_circle():
    paths = [path for path in (ROOT / "refusion").rglob("*.py") if path.parent.name != "refusion"]
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    try:
        TopologicalSorter({path: imported_files(path, files) for path in paths}).prepare()
    except CycleError as error:
        circle = [str(path.relative_to(ROOT)) for path in error.args[1]]
        raise AssertionError(f"a circle of imports: {' <- '.join(circle)}") from None


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
        "fuse_videos",
        "fuse_volumes",
        "list_models",
    ]
    errors = [name for name in dir(refusion) if name.endswith("Error")]
    assert errors == ["DataError", "HubError", "ModelError", "NoWeightsError", "PictureError", "UnknownModelError"]
    for name in (*dir(refusion), "Fused", "TASKS", "Task", "__version__"):
        assert getattr(refusion, name) is not None
