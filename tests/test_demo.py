"""The demo, as `python app.py` serves it."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import ExifTags, Image

from refusion.demo import build_demo, main, serve
from refusion.hub import has_weights
from refusion.model import ReFusion
from refusion.tasks import TASKS, Task

ROOT = Path(__file__).parents[1]
MODEL = TASKS["ir-vis"].model
needs_weights = pytest.mark.skipif(not has_weights(MODEL), reason=f"the weights {MODEL} are not bundled")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`python app.py` in a process of its own, with a temporary folder of its own."""

    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.uploads = folder / "uploads"
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py", "--port", self.url.rpartition(":")[2]],
                cwd=ROOT,
                env=os.environ | {"GRADIO_TEMP_DIR": str(self.uploads)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)

    def answers(self):
        try:
            return httpx.get(self.url).is_success
        except httpx.TransportError:
            return False

    def stop(self):
        try:
            self.process.terminate()
            assert self.process.wait(60) == 0, self.log.read_text()
            assert files(self.uploads) == []
        finally:
            self.process.kill()
            self.process.wait()


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    return Client(server.url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)


@pytest.fixture
def pair(tmp_path):
    """A 16-bit infrared PNG with detail below 8 bits, and a coloured JPEG that lies on its side."""
    rng = np.random.default_rng(5)
    slope = np.linspace(20000, 20400, 40) + rng.integers(0, 200, (32, 40))
    Image.fromarray(slope.astype(np.uint16)).save(tmp_path / "ir.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    colour = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((32, 40), Image.Resampling.BICUBIC)
    colour.save(tmp_path / "visible.jpg", exif=exif)
    return tmp_path / "ir.png", tmp_path / "visible.jpg"


def fuse(client, a, b, stretch=False, task="ir_vis"):
    a, b = (None if source is None else handle_file(source) for source in (a, b))
    return client.predict(a, b, stretch, api_name=f"/fuse_{task}")


def refusal(client, a, b):
    with pytest.raises(AppError) as caught:
        fuse(client, a, b)
    return str(caught.value)


def components(config, kind):
    return [component["props"] for component in config["components"] if component["type"] == kind]


def test_every_task_has_its_tab_and_those_with_weights_an_endpoint(server, client):
    config = httpx.get(f"{server.url}/config").json()
    ready = [task for task in TASKS.values() if has_weights(task.model)]
    assert [tab["label"] for tab in components(config, "tabitem")] == [task.title for task in TASKS.values()]
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        f"/fuse_{task.name.replace('-', '_')}" for task in ready
    }
    assert len(components(config, "button")) == len(ready)
    labels = [image["label"].lower() for image in components(config, "image")]
    assert labels == [name.lower() for task in ready for name in (*task.labels, "fused")]


def test_a_task_without_weights_says_so_and_has_no_button():
    task = Task("sonar", "Sonar", ("a", "b"), ("low", "high"), "a", "refusion-sonar")
    config = build_demo([task]).get_config_file()
    assert "without the weights `refusion-sonar`" in components(config, "markdown")[-1]["value"]
    assert not components(config, "button")
    assert not config["dependencies"]


def test_the_page_asks_no_font_server(server):
    page = httpx.get(server.url).text
    theme = httpx.get(f"{server.url}/theme.css").text
    config = httpx.get(f"{server.url}/config").json()
    assert "system-ui" in theme
    assert "//fonts." not in page + theme + json.dumps(config["stylesheets"])


@needs_weights
@pytest.mark.parametrize("stretch", [False, True])
def test_fusing_gives_the_picture_that_the_model_gives(client, pair, stretch):
    release = {"output_range": "stretch", "anchor": "none"}
    wanted = ReFusion.from_pretrained(MODEL).fuse(*pair, **(release if stretch else {}))
    with Image.open(fuse(client, *pair, stretch)) as fused:
        assert (fused.format, fused.mode, fused.size) == ("PNG", "RGB", (40, 32))
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(wanted))


@needs_weights
def test_two_sizes_are_refused_with_both(client, pair, tmp_path):
    Image.new("L", (24, 48)).save(tmp_path / "small.png")
    said = refusal(client, pair[0], tmp_path / "small.png")
    assert "A (ir.png) is 40 x 32 and B (small.png) is 24 x 48" in said


@needs_weights
def test_a_missing_picture_is_named(client, pair):
    assert "infrared picture is missing" in refusal(client, None, pair[1])
    assert "visible picture is missing" in refusal(client, pair[0], None)


@needs_weights
def test_a_file_that_is_no_picture_is_refused_without_a_path(server, client, pair, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    said = refusal(client, tmp_path / "notes.png", pair[1])
    assert said.startswith("notes.png is not a picture")
    assert str(server.uploads) not in said
    assert "Traceback" not in server.log.read_text()


def test_importing_and_serving_loads_no_weights_and_calls_nobody():
    code = """
import gc, json, sys
called = set()
def hook(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        called.add(args[1][0])
    elif event == "socket.getaddrinfo":
        called.add(args[0])
sys.addaudithook(hook)
from refusion.demo import serve
demo = serve(wait=False)
demo.close()
from refusion.model import ReFusion
print(json.dumps([sorted(map(str, called)), sum(isinstance(thing, ReFusion) for thing in gc.get_objects())]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    called, models = json.loads(done.stdout.splitlines()[-1])
    assert "127.0.0.1" in called
    assert set(called) <= {"127.0.0.1", "localhost"}
    assert models == 0


def test_a_port_that_is_taken_is_refused_in_a_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_port_out_of_range_is_refused(port, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--port", port])
    assert f"{port} is not a port" in capsys.readouterr().err


@needs_weights
def test_closing_removes_uploads_and_results(tmp_path, pair, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "kept"))
    demo = serve(port=free_port(), wait=False)
    try:
        fuse(Client(demo.local_url, download_files=False, verbose=False), *pair)
        assert sorted(path.suffix for path in files(tmp_path / "kept")) == [".jpg", ".png", ".png"]
    finally:
        demo.close()
    assert files(tmp_path / "kept") == []
