"""Sources of more than 8 bits in the demo: their own range instead of that of the file."""

import re
import shlex
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from support.command import refusion
from support.scenes import EXAMPLES, textured

from refusion.demo import link, texts
from refusion.demo.batch import finish, fuse_batch, match
from refusion.demo.batch_events import table
from refusion.demo.options import DemoOptions
from refusion.demo.result_panel import result_panel
from refusion.demo.results import ResultFiles
from refusion.demo.service import Fusing, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.stack_events import StackEvents
from refusion.demo.task_events import TaskEvents
from refusion.demo.uploads import SourceError
from refusion.hub.names import has_weights
from refusion.tasks import TASKS

pytestmark = pytest.mark.skipif(
    not all(has_weights(task.model) for task in TASKS.values()), reason="the weights are not bundled"
)

NAMED = f'set "{texts.SETTINGS["input_range"][0]}" in the settings to "{texts.INPUT_RANGES["own"]}"'
SIZE = (160, 120)


@pytest.fixture
def fusing(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return Fusing(DemoOptions())


def grey(name):
    with Image.open(EXAMPLES / name) as image:
        return np.asarray(image.convert("L").resize(SIZE), np.float64)


INFRARED, VISIBLE = grey("ir-vis_ir.png"), grey("ir-vis_vis.png")
COUNTS = (7261 + INFRARED / 255 * (8646 - 7261)).astype(np.uint16)
"""As of an uncooled thermal camera."""
DEGREES = (-10 + INFRARED / 255 * 50).astype(np.float32)


@pytest.fixture
def visible(tmp_path):
    Image.fromarray(VISIBLE.astype(np.uint8)).save(tmp_path / "visible.png")
    return tmp_path / "visible.png"


def written(path, values):
    Image.fromarray(values).save(path)
    return path


def with_gap(degrees):
    gap = degrees.copy()
    gap[:9, :9] = np.nan
    gap[-1, -1] = np.inf
    return gap


def fuse(client, *paths, name="fuse_ir_vis", **settings):
    return client.predict(*map(handle_file, paths), api_name=f"/{name}", **settings)


def kept(fused):
    """Correlation with the infrared, without what the visible image explains."""
    with Image.open(fused) as image:
        fused = np.asarray(image.convert("F"))
    known = np.stack([VISIBLE.ravel(), np.ones(VISIBLE.size)], axis=1)
    rest = [x - known @ np.linalg.lstsq(known, x, rcond=None)[0] for x in (fused.ravel(), INFRARED.ravel())]
    return float(np.corrcoef(*rest)[0, 1])


def by_command(output, *words):
    done = refusion("fuse", *words, "-o", output)
    assert done.code == 0, done.err
    return output


def assert_same(path, other):
    with Image.open(path) as one, Image.open(other) as two:
        assert one.mode == two.mode
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_a_thermal_frame_of_16_bits_keeps_its_infrared(client, visible, tmp_path):
    thermal = written(tmp_path / "thermal.tif", COUNTS)
    lost, notes = fuse(client, thermal, visible)
    assert [note for note in notes if "thermal.tif uses only" in note and note.endswith(f"{NAMED}.")]
    fused, notes = fuse(client, thermal, visible, input_range="own")
    assert notes == []
    assert kept(fused) > 0.5 > kept(lost)
    assert_same(fused, by_command(tmp_path / "wanted.png", thermal, visible, "--own-range"))


def test_degrees_are_accepted_at_their_own_range(client, visible, tmp_path):
    degrees = written(tmp_path / "degrees.tif", DEGREES)
    with pytest.raises(AppError, match="floats must be in 0 to 1") as refused:
        fuse(client, degrees, visible)
    assert NAMED in str(refused.value)
    fused, notes = fuse(client, degrees, visible, input_range="own")
    assert notes == []
    assert kept(fused) > 0.5


def test_what_has_no_value_is_missing_at_an_own_range_with_a_note(client, visible, tmp_path):
    gap = written(tmp_path / "gap.tif", with_gap(DEGREES))
    with pytest.raises(AppError, match="values that are not finite") as refused:
        fuse(client, gap, visible)
    assert NAMED in str(refused.value)
    fused, notes = fuse(client, gap, visible, input_range="own")
    assert notes == ["gap.tif has values that are not finite (NaN or infinite); they are taken as missing."]
    assert_same(fused, by_command(tmp_path / "wanted.png", gap, visible, "--own-range", "--nodata", "nan"))


def test_scores_are_those_of_the_sources_as_they_were_fused(client, visible, tmp_path):
    thermal = written(tmp_path / "thermal.tif", COUNTS)
    fused, _ = fuse(client, thermal, visible, input_range="own")
    given = client.predict(*map(handle_file, (thermal, visible, fused)), input_range="own", api_name="/evaluate")
    itself = fuse(client, thermal, visible, name="evaluate", input_range="own")
    assert given == itself
    assert given["heat"] > 0.5


def test_an_endpoint_says_what_the_choices_are(client):
    for name, endpoint in client.view_api(return_format="dict")["named_endpoints"].items():
        (chosen,) = [one for one in endpoint["parameters"] if one["parameter_name"] == "input_range"]
        assert (chosen["parameter_has_default"], chosen["parameter_default"]) == (True, "file")
        assert set(chosen["type"]["enum"]) == {"file", "own"}, name


def test_exposures_of_one_camera_have_a_common_range(client, tmp_path):
    dark, bright = (written(tmp_path / f"{n}.tif", (n * COUNTS.astype(np.int64)).astype(np.uint16)) for n in (1, 3))
    fused, _ = fuse(client, dark, bright, name="fuse_multi_exposure", input_range="own")
    wanted = by_command(tmp_path / "wanted.png", dark, bright, "--own-range", "--task", "multi-exposure")
    assert_same(fused, wanted)


def counts_of_stack(folder, count=3):
    frames = (400 + 40 * k + textured(k, 96, 128).astype(np.uint16) for k in range(count))
    return tuple(written(folder / f"{k}.tif", frame) for k, frame in enumerate(frames))


@pytest.mark.parametrize("megapixels", [16, 0.001], ids=["decoded once", "read from files"])
def test_a_stack_has_a_common_range_and_the_command_makes_it(fusing, tmp_path, monkeypatch, megapixels):
    monkeypatch.setattr("refusion.demo.service.KEPT_MEGAPIXELS", megapixels)
    paths = counts_of_stack(tmp_path)
    settings = Settings.checked(fusing.models, TASKS["multi-focus"], input_range="own")
    fused = fusing.fuse("me", paths, settings, lambda _: None)
    fused.save(tmp_path / "fused.png")
    words = shlex.split(link.command([path.name for path in paths], settings))
    assert words[-1] == "--own-range"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fused.png").rename(tmp_path / "by_demo.png")
    done = refusion(*words[1:])
    assert done.code == 0, done.err
    assert_same("by_demo.png", "fused.png")
    lost = fusing.fuse("me", paths, Settings.checked(fusing.models, TASKS["multi-focus"]), lambda _: None)
    assert any(note.endswith(f"{NAMED}.") for note in lost.notes)


def test_the_command_below_a_batch_has_the_range_and_the_gaps(fusing, visible, tmp_path):
    gap = written(tmp_path / "gap.tif", with_gap(DEGREES))
    settings = Settings.checked(fusing.models, TASKS["ir-vis"], input_range="own")
    batch = match([gap], [visible], TASKS["ir-vis"], by_place=True)
    for _ in fuse_batch(batch, "me", settings, fusing, ResultFiles(), lambda _: lambda _: None):
        pass
    finish(batch)
    assert batch.failed == []
    said = link.batch_command(batch.pairs, settings, gaps=batch.gaps)
    assert said.endswith("--own-range --nodata nan")
    with pytest.raises(SourceError, match=re.escape(NAMED)):
        fusing.uploads.read(gap)


def test_a_batch_lists_the_notes_on_its_pairs(fusing, visible, tmp_path):
    counts = written(tmp_path / "counts.tif", COUNTS)
    settings = Settings.checked(fusing.models, TASKS["ir-vis"])
    batch = match([counts], [visible], TASKS["ir-vis"], by_place=True)
    for _ in fuse_batch(batch, "me", settings, fusing, ResultFiles(), lambda _: lambda _: None):
        pass
    assert any(note.endswith(f"{NAMED}.") for note in batch.done["counts"])
    shown = table(batch)
    assert "fused. Except for 1 % of the pixels, counts.tif uses only" in shown
    assert 'class="bad"' not in shown


def test_a_link_to_a_result_keeps_the_input_range(fusing):
    settings = Settings.checked(fusing.models, TASKS["ir-vis"], input_range="own")
    address = link.query("ir-vis", None, settings, "refusion-ir-vis")
    assert address == "?task=ir-vis&input=own"
    assert link.read_query(dict(parse_qsl(address[1:]))).settings == {"input_range": "own"}
    said = link.program("http://127.0.0.1:7860", ("ir.tif", "vis.png"), settings, "refusion-ir-vis")
    assert '    input_range="own",\n' in said
    assert settings.key() != Settings.checked(fusing.models, TASKS["ir-vis"]).key()


def test_the_note_beside_the_inputs_follows_the_setting(fusing, visible, tmp_path):
    degrees = written(tmp_path / "degrees.tif", DEGREES)
    with gr.Blocks():
        panels = result_panel("ir-vis", {}), result_panel("stack", {})
    files, showcase = ResultFiles(), Showcase(fusing)
    pair = TaskEvents(TASKS["ir-vis"], fusing, files, showcase, panels[0])
    a, b = ({"path": str(path)} for path in (degrees, visible))
    settings = ("", "", "", "", "")
    assert "settings to" in pair.check(None, a, b, *settings, "file")[0]
    accepted, _, wanted = pair.check(None, a, b, *settings, "own")
    assert "settings to" not in accepted
    assert 'src="data:image/webp' in accepted  # A preview of what browsers do not show.
    assert wanted
    stack = StackEvents(fusing, files, showcase, panels[1])
    uploads = [a] * 3
    assert "cannot be read" in stack.check(None, "multi-focus", uploads, *settings, "file")[2]
    assert "cannot be read" not in stack.check(None, "multi-focus", uploads, *settings, "own")[2]
