"""What is installed with what: the base without torch, the extras, requirements.txt."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.environment import fresh_environment
from support.scenes import EXAMPLES, ROOT
from support.without import HEAVY, without

BUNDLED = ROOT / "hub_configs"
PAIR = (EXAMPLES / "ir-vis_ir.png", EXAMPLES / "ir-vis_vis.png")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed with the oldest versions of its dependencies that pyproject.toml allows."""
    folder = tmp_path_factory.mktemp("oldest") / "env"
    fresh_environment(folder, "--resolution", "lowest-direct", ROOT)
    return folder / "bin" / "refusion"


def listed(file: str) -> set[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def packages_of(project: dict, *extras: str) -> set[str]:
    """What extras install, those that they name included."""
    found = set()
    for extra in extras:
        for package in project["optional-dependencies"][extra]:
            inner = re.fullmatch(r"refusion\[(.*)\]", package)
            found |= packages_of(project, *inner.group(1).split(",")) if inner else {package}
    return found


def test_requirements_are_the_base_and_what_the_two_programs_need(project):
    assert listed("requirements.txt") == set(project["dependencies"]) | packages_of(project, "demo", "train")


def test_a_space_has_the_base_and_what_the_demo_needs(project):
    def names(lines):
        return {re.split(r"[<>=]", line)[0] for line in lines}

    needed = names({*project["dependencies"], *packages_of(project, "demo", "heic")})
    # The Space installs the version of gradio in its front matter.
    assert names(listed("space/requirements.txt")) == needed - {"gradio"}


def test_the_extra_all_has_every_other(project):
    others = set(project["optional-dependencies"]) - {"all"}
    assert packages_of(project, "all") == packages_of(project, *others)


def test_tests_have_the_optional_formats(project):
    for extra in ("dicom", "heic", "openvino", "raw", "thermal", "video", "volumes"):
        names = {re.split(r"[<>=]", package)[0] for package in packages_of(project, extra)}
        assert names <= listed("tests/requirements.txt")


COMMAND = "from refusion.cli.app import main; main()"


def test_fusing_imports_nothing_of_the_extras(tmp_path):
    done = without(HEAVY, COMMAND, "fuse", *PAIR, "-o", tmp_path / "fused.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "fused.png").size == Image.open(PAIR[0]).size


def test_explaining_imports_nothing_of_the_extras(tmp_path):
    done = without(HEAVY, COMMAND, "explain", *PAIR, "-o", tmp_path / "explained")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "explained" / "overview.png").is_file()


def test_the_static_page_is_assembled_without_the_extras(tmp_path):
    # A checkout in which the page has been built, but for its content.
    built = tmp_path / "checkout/space/static/dist"
    built.mkdir(parents=True)
    (built / "index.html").touch()
    for name in ("refusion", "hub_configs", "space/examples"):
        (tmp_path / "checkout" / name).symlink_to(ROOT / name)
    program = f"sys.path.insert(0, sys.argv.pop(1)); {COMMAND}"
    done = without(HEAVY, program, tmp_path / "checkout", "space", "--static", "--to", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page/models/refusion-ir-vis/finished.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["explain", *PAIR, "--model", BUNDLED / "refusion-ir-vis"], "torch"),
        (["space", "--to", "space"], "torch"),
        (["space", "acme/page", "--static"], "torch"),
        (["export", "refusion-ir-vis", "-o", "model.onnx"], "torch"),
        (["evaluate", "--data", EXAMPLES], "evaluate"),
        (["fuse-dataset", EXAMPLES, "out"], "bulk"),
        (["fuse", *PAIR, "-o", "fused.png", "--engine", "strips"], "torch"),
        (["fuse", *PAIR, "-o", "fused.png", "--device", "mps"], "torch"),
    ],
)
def test_what_needs_an_extra_says_which(arguments, extra, tmp_path):
    done = without(HEAVY, COMMAND, *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f'pip install "refusion[{extra}]"' in done.stderr


def test_half_precision_on_a_cpu_says_which_extra_it_needs(tmp_path):
    arguments = "--engine", "half", "--device", "cpu"
    done = without((*HEAVY, "openvino"), COMMAND, "fuse", *PAIR, "-o", tmp_path / "fused.png", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'pip install "refusion[openvino]"' in done.stderr


def test_python_names_that_need_an_extra_say_which():
    program = """
import refusion
for name in ("ReFusion", "fuse_dataset"):
    try:
        getattr(refusion, name)
    except ImportError as error:
        print(error)
"""
    done = without(HEAVY, program)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [re.search(r"refusion\[(\w+)\]", line).group(1) for line in said] == ["torch", "bulk"]
    assert [line.split()[0] for line in said] == ["refusion.ReFusion", "refusion.fuse_dataset"]


def test_a_package_in_a_zip_file_says_to_install_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "refusion.zip", "w") as packed:
        for path in sorted((ROOT / "refusion").rglob("*.py")):
            packed.write(path, path.relative_to(ROOT))
    program = f"import sys; sys.path.insert(0, sys.argv.pop(1)); {COMMAND}"
    arguments = "refusion.zip", "fuse", *PAIR, "-o", "fused.png"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "zip file" in done.stderr
    assert "pip" in done.stderr
    assert not (tmp_path / "fused.png").exists()


@pytest.mark.slow
def test_the_base_alone_fuses_in_a_fresh_environment(tmp_path):
    python = fresh_environment(tmp_path / "env", ROOT)
    listing = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"
    packages = json.loads(subprocess.check_output([python, "-c", listing]))
    assert "onnxruntime" in packages
    assert not set(packages) & {*HEAVY, "triton", "sympy", "scipy"}

    def refusion(*arguments: object) -> subprocess.CompletedProcess:
        command = [tmp_path / "env" / "bin" / "refusion", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    for folder, source in zip(("a", "b"), PAIR, strict=True):
        (tmp_path / folder).mkdir()
        Image.open(source).save(tmp_path / folder / "scene.png")
    stack = [EXAMPLES / f"multi-exposure_{name}.png" for name in ("under", "middle", "over")]
    for arguments in (
        ["fuse", *PAIR, "-o", "pair.png"],
        ["fuse", "a", "b", "-o", "folder"],
        ["fuse", *stack, "-o", "stack.png", "--task", "multi-exposure"],
        ["explain", *PAIR, "-o", "explained"],
        ["models"],
        ["info"],
    ):
        done = refusion(*arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "explained" / "overview.png").is_file()
    refused = refusion("export", "refusion-ir-vis", "-o", "model.onnx")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith('pip install "refusion[torch]".')
    from refusion import fuse

    here = np.asarray(fuse(*PAIR), dtype=int)
    for written in ("pair.png", "folder/scene.png"):
        there = np.asarray(Image.open(Path(tmp_path, written)), dtype=int)
        assert np.abs(there - here).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "first", "second"),
    [
        ("ir-vis", "ir", "vis"),
        ("medical", "functional", "mri"),
        ("multi-focus", "near", "far"),
        ("multi-exposure", "under", "over"),
    ],
)
def test_the_oldest_versions_that_are_allowed_fuse(task, first, second, oldest, tmp_path):
    sources = [EXAMPLES / f"{task}_{name}.png" for name in (first, second)]
    command = [oldest, *map(str, ("fuse", *sources, "-o", tmp_path / "fused.png", "--task", task))]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    from refusion import fuse

    there = np.asarray(Image.open(tmp_path / "fused.png"), dtype=int)
    assert np.abs(there - np.asarray(fuse(*sources, task=task), dtype=int)).max() <= 1


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_the_source_distribution_is_the_checkout(tmp_path):
    """Its tests read the documentation, and its README links to it."""
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--sdist", "--out-dir", tmp_path, ROOT]
    subprocess.run(build, check=True, timeout=120)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    assert "docs/images/ir-vis_fused.png" in tracked
    assert {name for name in tracked if not name.startswith(".")} <= packed


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_git_for_windows_does_not_change_files_that_have_checksums(tmp_path):
    """It writes text files with other line ends unless told not to."""
    names = [path.relative_to(ROOT).as_posix() for path in BUNDLED.glob("*/*") if path.name != "README.md"]
    checkout = ["git", "-c", "core.autocrlf=true", "checkout-index", f"--prefix={tmp_path}/", "--", *names]
    subprocess.run(checkout, cwd=ROOT, check=True, timeout=60)
    assert any(name.endswith("config.json") for name in names)
    for name in names:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name
