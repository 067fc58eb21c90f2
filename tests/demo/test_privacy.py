"""Visitors of the demo see only what is theirs, and a full queue says so."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image
from support.demo_client import MODEL, assert_same_picture, by_command, call, fuse, needs_weights
from support.demo_server import ROOT, Server
from support.scenes import textured


@needs_weights
@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["bare", "file data"])
@pytest.mark.parametrize("path", ["examples", "relative", "traversal", "nothing", "address"])
def test_no_path_or_address_that_a_client_names_is_opened(server, path, meta):
    named = {
        "examples": str(ROOT / "space/examples/ir-vis_ir.png"),
        "relative": "space/examples/ir-vis_ir.png",
        "traversal": f"{server.uploads}/../../../../../../../../{ROOT}/space/examples/ir-vis_ir.png",
        "nothing": "nowhere.png",
        "address": f"{server.url}/theme.css",
    }[path]
    forged = {"path": named, **meta}
    said = call(server, "fuse_ir_vis", [forged, forged, "sources", "guided", "b", MODEL, "", "file", "auto"])
    assert "event: error" in said
    assert str(ROOT) not in said
    assert str(server.uploads) not in said
    if path == "address" and meta:
        assert "downloads nothing" in said


@needs_weights
def test_visitors_at_one_time_get_their_own_pictures(server, tmp_path):
    def visit(seed):
        folder = tmp_path / str(seed)
        folder.mkdir()
        paths = [folder / "ir.png", folder / "vis.png"]
        for offset, path in enumerate(paths):
            Image.fromarray(textured(2 * seed + offset)).save(path)
        client = Client(server.url, download_files=folder / "downloads", verbose=False)
        return paths, fuse(client, *paths)

    with ThreadPoolExecutor(4) as pool:
        visits = list(pool.map(visit, range(4)))
    for paths, fused in visits:
        assert_same_picture(fused, by_command(tmp_path, *paths))


def test_browsers_keep_no_history_of_what_was_fused(server):
    config = json.loads(urlopen(f"{server.url}/config").read())
    assert config["run_history"] is False


@pytest.mark.slow
def test_a_full_queue_says_so(tmp_path):
    server = Server(tmp_path, "--queue-size", "1")
    for name, seed in (("ir.png", 1), ("vis.png", 2)):
        Image.fromarray(textured(seed, 200, 240)).save(tmp_path / name)

    def visit(_):
        client = Client(server.url, download_files=tmp_path, verbose=False)
        try:
            return fuse(client, tmp_path / "ir.png", tmp_path / "vis.png")
        except (AppError, QueueError) as error:
            return str(error)

    try:
        with ThreadPoolExecutor(5) as pool:
            answers = [str(answer) for answer in pool.map(visit, range(5))]
    finally:
        server.stop()
    assert any(answer.endswith("ir_fused.png") for answer in answers), answers
    assert any("Queue is full" in answer for answer in answers), answers
