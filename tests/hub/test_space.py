"""`refusion space`: what it assembles, that it runs by itself, and that it uploads."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from huggingface_hub import SpaceCard
from PIL import Image
from support.command import check_refused, refusion
from support.demo_server import ROOT, Server
from support.environment import fresh_environment
from support.hub_server import TOKEN, HubServer

from refusion.demo.static_page import assemble_static_page
from refusion.hub.names import has_weights
from refusion.hub.space import assemble_space
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

BUNDLED = [task.model for task in TASKS.values() if has_weights(task.model)]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "refusion"
    assemble_space(folder, owner="acme", preload=True)
    return folder


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "refusion", "space", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def fuse_an_example(url, space, downloads):
    client = Client(url, download_files=downloads, verbose=False)
    pair = [space / "examples" / f"ir-vis_{name}.png" for name in ("ir", "vis")]
    # TIFF is decoded by packages that are imported only when they are needed.
    with Image.open(pair[0]) as image:
        pair[0] = downloads.parent / "infrared.tif"
        image.save(pair[0])
    fused, _ = client.predict(*map(handle_file, pair), api_name="/fuse_ir_vis")
    wanted = ReFusion.from_pretrained("refusion-ir-vis").fuse(*pair)
    with Image.open(fused) as image:
        # Another release of torch may round the last bit of a float another way.
        np.testing.assert_allclose(np.asarray(image, int), np.asarray(wanted, int), atol=1)


def test_the_front_matter_is_what_the_hub_expects(space):
    data = SpaceCard.load(space / "README.md").data.to_dict()
    assert data["sdk"] == "gradio"
    assert re.fullmatch(r"6\.\d+\.\d+", data["sdk_version"])
    assert (space / data["app_file"]).is_file()
    assert data["python_version"] == "3.12"
    assert len(data["short_description"]) <= 60
    assert {data["colorFrom"], data["colorTo"]} <= {
        "red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"
    }  # fmt: skip
    assert {TASKS[name].licence for name in TASKS} == {data["license"]}
    assert data["suggested_hardware"] == "zero-a10g"
    assert data["models"] == [f"acme/{name}" for name in BUNDLED]
    assert [entry.split()[0] for entry in data["preload_from_hub"]] == data["models"]


def test_everything_is_there_and_nothing_else(space):
    top = {path.name for path in space.iterdir()}
    assert top == {"README.md", "app.py", "requirements.txt", "refusion", "hub_configs", "examples"}
    assert sorted(path.name for path in (space / "hub_configs").iterdir()) == sorted(BUNDLED)
    assert not list(space.rglob("__pycache__"))
    assert max(path.stat().st_size for path in space.rglob("*") if path.is_file()) < 1_000_000
    assert (space / "examples/README.md").is_file()
    for name in BUNDLED:
        assert (space / "hub_configs" / name / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not BUNDLED, reason="no weights are bundled")
def test_it_runs_by_itself_and_fuses_an_example(space, tmp_path):
    # Without the tests' path, so that the package is the one in the folder.
    server = Server(tmp_path, cwd=space, PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1")
    try:
        fuse_an_example(server.url, space, tmp_path / "downloads")
        Image.new("L", (4000, 3000)).save(tmp_path / "large.png")
        client = Client(server.url, verbose=False)
        with pytest.raises(AppError, match="takes at most 8 megapixels"):
            client.predict(*2 * [handle_file(tmp_path / "large.png")], api_name="/fuse_ir_vis")
    finally:
        server.stop()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    check_refused(refusion("space", "--to", tmp_path), "is not an empty folder")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# CI builds the page for the slow tests.
@pytest.mark.parametrize("static", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_after_a_disk_that_fills_up_the_folder_is_empty(tmp_path, static):
    if static and not (ROOT / "space/static/dist/index.html").is_file():
        pytest.skip("the page is not built: npm ci && npm run build in space/static")
    resource = pytest.importorskip("resource")
    assemble = assemble_static_page if static else assemble_space
    folder = tmp_path / "new" / "space"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            assemble(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []
    assert assemble(folder) == BUNDLED
    assert not [path for path in folder.iterdir() if path.name.startswith(".refusion-")]


def test_without_a_name_or_folder_it_says_what_to_give():
    check_refused(refusion("space"), "refusion space ORG/NAME")


def test_it_uploads_and_removes_what_went_away(tmp_path):
    hub = HubServer()
    try:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
        first = command("acme/demo", **environment)
        assert first.returncode == 0, first.stderr
        repository = hub.repositories["spaces/acme/demo"]
        files = repository.commits[repository.branches["main"]]
        assert {"README.md", "app.py", "requirements.txt", "refusion/demo/page.py"} <= set(files)
        assert b"acme/refusion-ir-vis" in files["README.md"]
        assert files["examples/ir-vis_ir.png"] == (ROOT / "space/examples/ir-vis_ir.png").read_bytes()

        files["refusion/old.py"] = b"old"
        again = command("acme/demo", **environment)
        assert again.returncode == 0, again.stderr
        assert "refusion/old.py" not in repository.commits[repository.branches["main"]]

        nobody = command("acme/demo", **(environment | {"HF_TOKEN": "hf_nobodynobodynobodynobodynobodynobo"}))
        assert nobody.returncode == 2
        assert "Traceback" not in nobody.stderr
    finally:
        hub.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(not BUNDLED, reason="no weights are bundled")
def test_it_runs_in_a_fresh_environment_with_its_requirements(space, tmp_path):
    version = SpaceCard.load(space / "README.md").data.sdk_version
    python = fresh_environment(tmp_path / "env", "-r", space / "requirements.txt", f"gradio=={version}")
    server = Server(tmp_path, cwd=space, python=python, PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1")
    try:
        fuse_an_example(server.url, space, tmp_path / "downloads")
    finally:
        server.stop()
