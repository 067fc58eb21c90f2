"""Blank borders in the demo: filled, or kept, as the setting says."""

import shlex
from urllib.parse import parse_qsl

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image
from support.command import refusion
from support.scenes import textured

from refusion.demo import link, texts
from refusion.demo.options import DemoOptions
from refusion.demo.service import Fusing, Settings
from refusion.hub.names import has_weights
from refusion.system.advice import FILL_BORDERS, KEEP_BORDERS
from refusion.tasks import TASKS

pytestmark = pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="the weights are not bundled")


@pytest.fixture
def pair(tmp_path):
    """An infrared image with a border of the given level, and a visible one without."""

    def make(level):
        bordered = textured(1, 90, 120)
        bordered[:12] = bordered[:, :12] = level
        paths = tmp_path / "ir.png", tmp_path / "vis.png"
        for path, pixels in zip(paths, (bordered, textured(2, 90, 120)), strict=True):
            Image.fromarray(pixels).save(path)
        return paths

    return make


@pytest.mark.parametrize(
    ("level", "borders", "flags", "said"),
    [
        (0, None, [], f"which was filled from vis.png; to keep it, {KEEP_BORDERS}."),
        (0, "auto", [], f"which was filled from vis.png; to keep it, {KEEP_BORDERS}."),
        (0, "keep", ["--no-fill-borders"], None),
        (255, "auto", [], f"as registration leaves it; if it means nothing, {FILL_BORDERS}."),
        (255, "fill", ["--fill-borders"], f"which was filled from vis.png; to keep it, {KEEP_BORDERS}."),
    ],
)
def test_the_setting_does_what_the_command_does(client, pair, tmp_path, level, borders, flags, said):
    paths = pair(level)
    given = {} if borders is None else {"borders": borders}
    fused, notes = client.predict(*map(handle_file, paths), api_name="/fuse_ir_vis", **given)
    found = [note for note in notes if "border" in note]
    assert len(found) == (said is not None)
    assert not found or found[0].endswith(said)
    done = refusion("fuse", *paths, "-o", tmp_path / "wanted.png", *flags)
    assert done.code == 0, done.err
    with Image.open(fused) as one, Image.open(tmp_path / "wanted.png") as two:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_a_pair_is_scored_as_it_is_fused_with_the_setting(client, pair):
    sources = [handle_file(path) for path in pair(0)]
    found = {}
    for borders in texts.BORDERS:
        fused, _ = client.predict(*sources, api_name="/fuse_ir_vis", borders=borders)
        of_fused = client.predict(*sources, handle_file(fused), api_name="/evaluate")
        found[borders] = client.predict(*sources, api_name="/evaluate", borders=borders)
        assert found[borders] == of_fused
    assert found["auto"] == found["fill"] != found["keep"]


def test_the_advice_names_the_setting_as_the_page_does():
    label = texts.SETTINGS["borders"][0]
    for advice, choice in ((FILL_BORDERS, "fill"), (KEEP_BORDERS, "keep")):
        assert advice == f'set "{label}" in the settings to "{texts.BORDERS[choice]}"'


def test_links_programs_and_commands_have_the_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    models = Fusing(DemoOptions()).models
    settings = {name: Settings.checked(models, TASKS["ir-vis"], borders=name) for name in texts.BORDERS}
    kept = settings["keep"]
    address = link.query("ir-vis", None, kept, "refusion-ir-vis")
    assert link.read_query(dict(parse_qsl(address[1:]))).settings == {"borders": "keep"}
    program = link.program("http://127.0.0.1:7860", ("ir.png", "vis.png"), kept, "refusion-ir-vis")
    assert '    borders="keep",\n' in program
    commands = {name: shlex.split(link.command(["a", "b"], one)) for name, one in settings.items()}
    assert commands["keep"] == [*commands["auto"], "--no-fill-borders"]
    assert commands["fill"] == [*commands["auto"], "--fill-borders"]
    assert len({one.key() for one in settings.values()}) == 3
