"""Every command and program in README.md, in order, in an environment that has only what it installs.

All run as they stand, but the training gets a tenth of its time.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest
from support.hub_server import TOKEN, HubServer
from support.scenes import ROOT

TESTS = "python -m pytest"
DEMO = "python app.py"
STATIC_PAGE = ("npm ", "http.server")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
WAIT_SECONDS = 600
MINUTES, FEWER = " --minutes 1 ", " --minutes 0.1 "


def blocks(text: str) -> list[tuple[str, str]]:
    """What a reader copies: ("sh", line) for each line of an indented block, ("python", program) for fenced ones."""
    found, fenced = [], None
    for line in text.splitlines():
        if line.startswith("```"):
            if fenced is None:
                fenced = []
            else:
                found.append(("python", "\n".join(fenced)))
                fenced = None
        elif fenced is not None:
            fenced.append(line)
        elif line.startswith("    ") and line.strip():
            found.append(("sh", line.strip()))
    return found


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the files of this checkout."""
    files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for file in files.splitlines():
        if (ROOT / file).is_file():
            (tmp_path / "checkout" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, tmp_path / "checkout" / file)
    return tmp_path / "checkout"


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """A fresh environment of Python that finds what is installed here, but no command called refusion."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    path = f"{tmp_path / 'env' / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REFUSION_", "HF_"))}
    constraints = tmp_path / "constraints.txt"  # Under those of the machine, pip may install torch once more.
    constraints.touch()
    return {
        **own,
        "PATH": path,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_TOKEN": TOKEN,
        "OMP_NUM_THREADS": "1",
        "PIP_CONSTRAINT": str(constraints),
        "PYTHONUNBUFFERED": "1",
    }


def serve_until_it_answers(line: str, checkout: Path, environment: dict[str, str], log: Path) -> None:
    with log.open("w") as output:
        command = ["bash", "-c", line]
        server = subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        end = time.monotonic() + WAIT_SECONDS
        while (address := ADDRESS.search(log.read_text())) is None:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        with urllib.request.urlopen(address.group(), timeout=WAIT_SECONDS) as page:
            assert page.status == 200
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def test_the_readme_names_the_commands_that_are_run_here():
    lines = [line for kind, line in blocks((ROOT / "README.md").read_text(encoding="utf-8")) if kind == "sh"]
    assert sum(line.endswith(DEMO) for line in lines) == 1
    assert sum(line.endswith(TESTS) for line in lines) == 1
    assert sum(MINUTES in line for line in lines) == 1
    assert {"fuse", "evaluate", "explain", "export", "train", "push"} <= {
        line.split()[1] for line in lines if line.startswith("refusion ")
    }


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_ci_runs_the_test_command_of_the_readme():
    assert TESTS in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_line_of_the_readme_runs(checkout, environment, tmp_path):
    hub = HubServer()
    environment["HF_ENDPOINT"] = hub.endpoint
    try:
        for number, (kind, text) in enumerate(blocks((checkout / "README.md").read_text(encoding="utf-8"))):
            if kind == "sh" and text.endswith(DEMO):
                serve_until_it_answers(text, checkout, environment, tmp_path / "demo.log")
                continue
            if kind == "sh" and (text.endswith(TESTS) or any(word in text for word in STATIC_PAGE)):
                continue  # These tests are running; the static page has its own.
            command = ["bash", "-c", text.replace(MINUTES, FEWER)] if kind == "sh" else ["python", "-c", text]
            done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{number}: {text}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, f"{number}: {text}\n{done.stderr}"
    finally:
        hub.shutdown()
    for written in ("fused.png", "fused/street.png", "stack.png", "scores.json", "model.onnx", "trained.png"):
        assert (checkout / written).is_file(), written
