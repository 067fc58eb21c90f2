"""Models on the Hub that visitors of the demo name: downloaded from a server that speaks the Hub's protocol."""

import threading
import time

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from support.demo_hub import fused_by_tag
from support.demo_server import ROOT, Server, files
from support.hub_server import TOKEN, Fault
from support.scenes import textured

from refusion.hub.folder import FACTS, WEIGHTS
from refusion.hub.names import has_weights
from refusion.models.model import ReFusion

pytestmark = pytest.mark.skipif(
    not has_weights("refusion-ir-vis"), reason="the weights refusion-ir-vis are not bundled"
)


@pytest.fixture(scope="module")
def server(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "tmp").mkdir()
    # The operator's own token must not open anything to visitors.
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "home")}
    server = Server(folder, **environment, TMPDIR=str(folder / "tmp"))
    server.downloads = folder / "tmp"
    yield server
    server.stop()
    assert files(server.downloads) == []


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    for seed, name in enumerate(("ir.png", "vis.png")):
        Image.fromarray(textured(seed)).save(folder / name)
    return folder / "ir.png", folder / "vis.png"


def fuse(client, pair, **settings):
    path, _ = client.predict(*map(handle_file, pair), api_name="/fuse_ir_vis", **settings)
    with Image.open(path) as fused:
        return np.asarray(fused)


def refusal(client, pair, **settings):
    with pytest.raises(AppError) as caught:
        fuse(client, pair, **settings)
    return str(caught.value)


def test_a_model_and_its_revision_are_downloaded(hub, client, pair, tmp_path):
    main = fuse(client, pair, model="visitor/refusion")
    np.testing.assert_array_equal(main, np.asarray(ReFusion.from_pretrained("refusion-ir-vis").fuse(*pair)))
    tagged = fuse(client, pair, model="visitor/refusion", revision="v1")
    np.testing.assert_array_equal(tagged, np.asarray(fused_by_tag(hub, pair, tmp_path)))
    assert (tagged != main).any()
    asked = len(hub.requests)
    np.testing.assert_array_equal(fuse(client, pair, model="visitor/refusion", revision="v1"), tagged)
    assert len(hub.requests) == asked, "a model is downloaded once"
    assert not any("authorization" in {name.lower() for name in headers} for _, headers in hub.requests)


def test_only_what_a_model_is_loaded_from_is_downloaded(hub, client, pair):
    fuse(client, pair, model="visitor/card")
    asked = [line for line, _ in hub.requests if "visitor/card/resolve" in line]
    assert any(WEIGHTS in line for line in asked)
    assert not [line for line in asked if any(name in line for name in FACTS)]


def test_a_slow_download_does_not_hold_up_other_visitors(hub, client, pair):
    until = threading.Event()
    hub.faults.append(Fault("visitor/slow", until=until))
    try:
        slow = client.submit(*map(handle_file, pair), api_name="/fuse_ir_vis", model="visitor/slow")
        while not any("visitor/slow" in line for line, _ in hub.requests):
            time.sleep(0.05)
        other = client.submit(*map(handle_file, pair), api_name="/fuse_ir_vis", model="refusion-medical")
        assert other.result(60)
        assert not slow.done()
    finally:
        until.set()
    assert slow.result(60)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "visitor/nothing"}, "There is no public model visitor/nothing on the Hub"),
        ({"model": "visitor/refusion", "revision": "v9"}, "visitor/refusion has no revision v9"),
        ({"model": "visitor/private"}, "There is no public model visitor/private on the Hub"),
        ({"model": "visitor/large"}, "this demo downloads at most 64"),
        ({"model": "visitor/checksums"}, "this demo downloads at most 64"),
        ({"model": "visitor/foreign"}, "visitor/foreign has the unknown key model_type"),
        # A folder of that name lies in the server's working directory.
        ({"model": "hub_configs/refusion-medical"}, "There is no public model hub_configs/refusion-medical on the Hub"),
        ({"model": "./hub_configs/refusion-medical"}, "There is no model"),
        ({"model": str(ROOT / "hub_configs/refusion-medical")}, "There is no model"),
        ({"model": "../hub_configs"}, "There is no model"),
        ({"model": "hub_configs/.."}, "cannot be the name of a repository"),
        ({"model": "refusion-ir-vis", "revision": "v1"}, "has no revisions"),
    ],
    ids=lambda given: given if isinstance(given, str) else "-".join(given.values()).replace(str(ROOT), ""),
)
def test_a_model_that_is_not_to_be_had_is_refused_in_a_sentence(server, client, pair, settings, sentence):
    assert (ROOT / "hub_configs/refusion-medical").is_dir()
    said = refusal(client, pair, **settings)
    assert sentence in said
    assert "Traceback" not in said
    assert str(server.downloads) not in said
