"""Starting and stopping the demo, and the files that it keeps."""

import json
import os
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
from gradio_client import Client
from PIL import Image
from support.demo_client import (
    MODEL,
    assert_same_picture,
    by_command,
    fuse,
    needs_weights,
    refusal,
)
from support.demo_server import ROOT, Server, files, free_port, visitors_files

from refusion.demo.command import main
from refusion.demo.page import build_demo
from refusion.demo.results import ResultFiles
from refusion.demo.server import serve
from refusion.demo.thumbnails import moved
from refusion.demo.uploads import SourceError, stored_path


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
from refusion.demo.server import serve
demo = serve(wait=False)
demo.close()
from refusion.models.model import ReFusion
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


def test_a_host_that_is_not_this_machine_is_refused_with_the_cause(capsys):
    assert main(["--host", "203.0.113.7"]) == 2
    assert "cannot listen on 203.0.113.7, port 7860 to 7959: Cannot assign requested" in capsys.readouterr().err


def test_a_folder_for_uploads_that_cannot_be_used_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "gradio").write_text("a file in its place")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    assert main([]) == 2
    said = capsys.readouterr().err
    assert f"The folder for uploads, {tmp_path / 'gradio'}, cannot be used: it is a file" in said
    assert "port" not in said


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "0"], "0 is not a port"),
        (["--port", "65536"], "65536 is not a port"),
        (["--port", "x"], "x is not a port"),
        (["--queue-size", "0"], "0 is not a whole number above 0"),
        (["--max-megapixels", "nan"], "nan is not a number above 0"),
        (["--max-file-mb", "-3"], "-3 is not a whole number above 0"),
    ],
)
def test_flags_out_of_range_are_refused(flags, sentence, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--device", "abacus"], "There is no device 'abacus'"),
        (["--model", "refusion-sonar"], "There is no model 'refusion-sonar'"),
    ],
)
def test_a_device_or_model_that_is_not_there_is_refused_in_a_sentence(flags, sentence, capsys):
    assert main(flags) == 2
    assert sentence in capsys.readouterr().err


def test_mcp_without_its_extra_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)  # as if it were not installed
    assert main(["--mcp"]) == 2
    assert 'pip install "gradio[mcp]"' in capsys.readouterr().err


@needs_weights
def test_closing_removes_uploads_and_results(tmp_path, pair, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "kept"))
    demo = serve(port=free_port(), wait=False)
    try:
        fuse(Client(demo.local_url, download_files=False, verbose=False), *pair)
        kept = [path.name for path in files(tmp_path / "kept")]
        assert {"ir.png", "visible.jpg", "ir_fused.png"} <= set(kept)
    finally:
        demo.close()
    assert visitors_files(tmp_path / "kept") == []


@pytest.mark.slow
@needs_weights
def test_another_model_can_be_served(tmp_path, pair):
    server = Server(tmp_path, "--model", str(ROOT / "hub_configs" / MODEL), "--no-hub-models")
    try:
        client = Client(server.url, download_files=tmp_path / "downloads", verbose=False)
        assert_same_picture(fuse(client, *pair), by_command(tmp_path, *pair))
        assert "choose " in refusal(client, *pair, model="someone/refusion-ir-vis")
    finally:
        server.stop()


def test_old_files_are_removed_while_it_runs(tmp_path, monkeypatch):
    from gradio.route_utils import delete_files_created_by_app

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = build_demo()
    written = ResultFiles()
    demo.temp_file_sets.append(written.written)
    path = written.save(Image.new("L", (8, 8)), "x.png")
    delete_files_created_by_app(demo, age=1000)
    assert path.is_file()
    delete_files_created_by_app(demo, age=-1)
    assert not path.is_file()
    assert written.written == set()
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)


def test_what_is_left_of_uploads_that_broke_off_is_removed(server, tmp_path, monkeypatch):
    from gradio.route_utils import delete_files_created_by_app

    def left():
        return [path for path in server.uploads.glob("tmp*") if path.is_file()]

    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        part = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(100_000)
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        connection.sendall(f"{head}Content-Length: {2 * len(part)}\r\n\r\n".encode() + part)
        for _ in range(100):
            if left():
                break
            time.sleep(0.1)
    assert len(left()) == 1
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(server.uploads))
    demo = build_demo()
    delete_files_created_by_app(demo, age=None)
    assert len(left()) == 1  # It may still arrive.
    os.utime(left()[0], (0, 0))
    delete_files_created_by_app(demo, age=-1)
    assert left() == []


def test_files_can_be_written_while_gradio_goes_through_their_names(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    written = ResultFiles()
    paths = [written.save(Image.new("L", (8, 8)), f"{name}.png") for name in "abc"]
    seen = []
    for name in written.written:
        seen.append(name)
        written.save(Image.new("L", (8, 8)), "new.png")
    assert sorted(seen) == sorted(map(str, paths))
    assert len(written.written) == 6


def test_uploads_can_arrive_while_gradio_goes_through_their_names(tmp_path, monkeypatch):
    from gradio.route_utils import delete_files_created_by_app

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = build_demo()
    (tmp_path / "old.png").touch()
    demo.upload_file_set.update({str(tmp_path / "old.png"), str(tmp_path / "gone.png")})
    for place, names in enumerate(demo.temp_file_sets):
        for _ in names:
            demo.upload_file_set.add(f"{place}.png")
    delete_files_created_by_app(demo, age=-1)
    assert not (tmp_path / "old.png").exists()
    assert demo.upload_file_set == {str(tmp_path / "gone.png"), "0.png"}


def test_a_file_that_was_not_uploaded_cannot_be_reordered_into_a_list(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = [ResultFiles().save(Image.new("L", (8, 8)), f"{name}.png") for name in "abc"]
    uploads = [{"path": str(path)} for path in paths]
    assert moved(uploads, [2, 0, 1]) == [str(paths[2]), str(paths[0]), str(paths[1])]
    assert moved(uploads, [1, 1, 9, "x"]) == [str(paths[1]), str(paths[0]), str(paths[2])]
    with pytest.raises(SourceError, match="not among the files that were uploaded here"):
        moved([{"path": str(ROOT / "README.md")}], [0])


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 5000, "\ud800", "\0"], ids=["name", "path", "surrogate", "null"])
def test_a_name_that_no_file_can_have_is_refused_like_any_other(tmp_path, monkeypatch, name):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with pytest.raises(SourceError, match="The visible image is not among the files that were uploaded here"):
        stored_path({"path": f"{tmp_path}/{name}"}, "visible")
