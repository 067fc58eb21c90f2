"""The demo, as `python app.py` serves it: what programs get, what is refused, and what stays private."""

import errno
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import parse_qsl

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import ExifTags, Image
from support.command import refusion
from support.demo_server import ROOT, Server, files, free_port, visitors_files
from support.scenes import EXAMPLES, textured

from refusion import fuse_stack
from refusion.demo import link, texts
from refusion.demo.batch import finish, fuse_batch, match
from refusion.demo.batch_events import BatchEvents
from refusion.demo.command import main
from refusion.demo.examples import all_examples, example_pairs, example_stacks
from refusion.demo.options import DemoOptions
from refusion.demo.page import build_demo
from refusion.demo.result_panel import result_panel
from refusion.demo.results import Result, ResultFiles, comparison
from refusion.demo.server import serve
from refusion.demo.service import Fusing, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.stack_events import StackEvents
from refusion.demo.task_events import TaskEvents
from refusion.demo.thumbnails import moved
from refusion.demo.uploads import SourceError, Uploads, stored_path
from refusion.hub.names import has_weights
from refusion.images import read_picture
from refusion.inference.finishing import Fused
from refusion.inference.stack import STACK_ANCHORS, STACK_TASKS, stack_colours
from refusion.metrics.fusion import score
from refusion.metrics.scoring import scored_metrics
from refusion.tasks import CHOICES, TASKS, Task

MODEL = TASKS["ir-vis"].model
needs_weights = pytest.mark.skipif(not has_weights(MODEL), reason=f"the weights {MODEL} are not bundled")

FLAGS = ("--max-megapixels", "1", "--max-file-mb", "3")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), *FLAGS)
    yield server
    server.stop()


@pytest.fixture
def pair(tmp_path):
    """A 16-bit infrared PNG with detail below 8 bits, and a coloured JPEG that lies on its side."""
    rng = np.random.default_rng(5)
    slope = np.linspace(20000, 20400, 64) + rng.integers(0, 200, (48, 64))
    Image.fromarray(slope.astype(np.uint16)).save(tmp_path / "ir.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    colour = Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).resize((48, 64), Image.Resampling.BICUBIC)
    colour.save(tmp_path / "visible.jpg", exif=exif)
    return tmp_path / "ir.png", tmp_path / "visible.jpg"


def fuse(client, a, b, task="ir_vis", **settings):
    return fuse_with_notes(client, a, b, task, **settings)[0]


def fuse_with_notes(client, a, b, task="ir_vis", **settings):
    a, b = (None if source is None else handle_file(source) for source in (a, b))
    return client.predict(a, b, api_name=f"/fuse_{task}", **settings)


def refusal(client, a, b, **settings):
    with pytest.raises(AppError) as caught:
        fuse(client, a, b, **settings)
    return str(caught.value)


def by_command(tmp_path, *arguments):
    """The file that `refusion fuse` writes."""
    output = tmp_path / "by_command.png"
    done = refusion("fuse", *arguments, "-o", output)
    assert done.code == 0, done.err
    return output


def assert_same_picture(path, other):
    with Image.open(path) as one, Image.open(other) as two:
        assert (one.format, one.mode, one.size) == (two.format, two.mode, two.size)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def components(config, kind):
    return [component["props"] for component in config["components"] if component["type"] == kind]


def png_claiming(width, height, data=b""):
    """A PNG file whose header claims a size; grey, 8 bits."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_every_task_has_a_tab_and_those_with_weights_an_endpoint(server, client):
    config = httpx.get(f"{server.url}/config").json()
    titles = {tab["id"]: tab["label"] for tab in components(config, "tabitem")}
    wanted = {task.name: task.title for task in TASKS.values()} | {n.lower(): n for n in ("Stack", "Batch", "About")}
    assert wanted.items() <= titles.items()
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    ready = [task for task in TASKS.values() if has_weights(task.model)]
    assert set(endpoints) == {*(f"/fuse_{task.name.replace('-', '_')}" for task in ready), "/evaluate"}
    for name, endpoint in endpoints.items():
        needed = [p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]]
        assert needed == ["a", "b"], name
        assert endpoint["description"], name


def test_dicom_is_named_where_it_is_accepted():
    pytest.importorskip("pydicom")
    config = build_demo().get_config_file()
    said = {task.name: texts.advice(task) for task in TASKS.values()}
    assert [name for name, advice in said.items() if "DICOM" in advice] == ["medical"]
    assert any("and DICOM for medical images" in html.get("value", "") for html in components(config, "html"))
    lists = [box["file_types"] for box in components(config, "file")]
    assert lists
    assert all(".dcm" in types and ".png" in types for types in lists)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_choice_of_a_setting_has_a_description_of_its_own(task):
    words = texts.choices(task.labels)
    for name, choices in CHOICES.items():
        assert set(words[name]) == set(choices)
        assert len(set(words[name].values())) == len(choices)
        # It is shown without the other choices, too.
        assert not any("the same" in said.lower() for said in words[name].values())


def test_the_choices_for_a_stack_are_about_images_of_one_camera():
    config = build_demo().get_config_file()
    label = texts.SETTINGS["anchor"][0]
    offered = [box["choices"] for box in components(config, "dropdown") if box["label"] == label]
    of_stack, _of_batch = offered[-2:]
    assert [choice for _, choice in of_stack] == ["", *STACK_ANCHORS]
    words = texts.choices(None)
    assert set(words["chroma"]) == {rule for name in STACK_TASKS for rule in stack_colours(TASKS[name])}
    assert not any("both" in said.lower() for name in words for said in words[name].values())


def test_tools_are_called_as_endpoints_are():
    named = {fn.api_name: fn.fn.__name__ for fn in build_demo().fns.values() if fn.api_visibility == "public"}
    assert named
    assert all(name == called for name, called in named.items())


def test_opening_a_tab_does_not_start_the_fusion_that_a_link_starts():
    # Gradio reports a state as changed to each event that has it as an output and runs while it changes.
    demo = build_demo()
    started = [fn for fn in demo.fns.values() if fn.fn and fn.fn.__name__ in ("fuse", "fuse_wanted")]
    states = {target for fn in started for target, event in fn.targets if event == "change"}
    assert states
    for state in states:
        setting = {fn.fn.__name__ for fn in demo.fns.values() if any(output._id == state for output in fn.outputs)}
        assert "arrived" in setting
        assert setting <= {"arrived", "checked"}


def test_an_upload_cancels_the_example_that_the_tab_waits_for():
    demo = build_demo()
    fills = {number: fn.fn.__name__ for number, fn in demo.fns.items() if fn.fn}
    cancelled = [
        {fills[number] for number in fn.cancels}
        for fn in demo.fns.values()
        if fn.cancels and any(event == "upload" for _, event in fn.targets)
    ]
    ready = [task for task in TASKS.values() if has_weights(task.model)]
    assert cancelled == [{"arrived", "opened", "show_example"}] * (2 * len(ready) + 1)  # And the list of the stack.


def test_a_task_without_weights_says_so_and_has_no_button():
    task = Task("sonar", "Sonar", ("a", "b"), ("low", "high"), "a", "refusion-sonar")
    config = build_demo(tasks=[task]).get_config_file()
    assert any("without the weights `refusion-sonar`" in text["value"] for text in components(config, "markdown"))
    assert "Fuse" not in [button["value"] for button in components(config, "button")]


def test_the_page_asks_no_font_server(server):
    page = httpx.get(server.url).text
    theme = httpx.get(f"{server.url}/theme.css").text
    config = httpx.get(f"{server.url}/config").json()
    assert "system-ui" in theme
    assert "//fonts." not in page + theme + json.dumps(config["stylesheets"])


@needs_weights
def test_what_programs_get_is_what_the_command_writes(client, pair, tmp_path):
    assert_same_picture(fuse(client, *pair), by_command(tmp_path, *pair))


@needs_weights
def test_the_programs_in_the_documentation_run_as_printed(server, tmp_path):
    blocks = re.findall(r"```(python|sh)\n(.*?)```", (ROOT / "docs/demo.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "space").symlink_to(ROOT / "space")
    wanted = by_command(tmp_path, *sorted((ROOT / "space/examples").glob("ir-vis_*")), "--output-range", "contrast")
    printed = {}
    for language, text in blocks:
        if language == "sh" and not (shutil.which("curl") and shutil.which("jq")):
            pytest.skip("curl and jq are not installed")
        program = [sys.executable, "-c"] if language == "python" else ["bash", "-ec"]
        command = [*program, text.replace("http://127.0.0.1:7860", server.url)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed[language] = done.stdout.splitlines()[-1]
    assert_same_picture(printed["python"].split()[0], wanted)
    assert_same_picture(tmp_path / "fused.png", wanted)
    assert printed["sh"] == "[]"


@needs_weights
def test_sixteen_bits_survive(client, pair, tmp_path):
    deep = np.linspace(9000, 9900, 48 * 64).reshape(48, 64).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    fused = fuse(client, pair[0], tmp_path / "deep.png")
    with Image.open(fused) as image:
        assert image.mode.startswith("I;16")
    assert_same_picture(fused, by_command(tmp_path, pair[0], tmp_path / "deep.png"))


@needs_weights
def test_settings_reach_the_fusion(client, pair, tmp_path):
    fused = fuse(client, *pair, output_range="stretch", anchor="none")
    assert_same_picture(fused, by_command(tmp_path, *pair, "--stretch"))


@pytest.mark.parametrize("task", [task for task in TASKS.values() if has_weights(task.model)], ids=lambda t: t.name)
def test_every_task_has_an_example_that_fuses(client, task, tmp_path):
    a, b = (ROOT / f"space/examples/{task.name}_{folder}.png" for folder in task.folders)
    small = [tmp_path / a.name, tmp_path / b.name]
    for source, target in zip((a, b), small, strict=True):
        with Image.open(source) as image:
            image.crop((0, 0, 96, 64)).save(target)
    fused = fuse(client, *small, task=task.name.replace("-", "_"))
    assert_same_picture(fused, by_command(tmp_path, *small, "--task", task.name))


@needs_weights
def test_evaluate_scores_a_fused_picture_or_fuses_first(client, pair, tmp_path):
    fused = fuse(client, *pair)
    given = client.predict(handle_file(pair[0]), handle_file(pair[1]), handle_file(fused), api_name="/evaluate")
    own = client.predict(handle_file(pair[0]), handle_file(pair[1]), api_name="/evaluate")
    arrays = [np.rint(read_picture(path).luminance.astype(np.float64) * 255) for path in (*pair, fused)]
    wanted = score(*arrays)
    assert set(given) == set(scored_metrics(TASKS["ir-vis"]))
    assert {name: given[name] for name in wanted} == pytest.approx(wanted)
    assert own == pytest.approx(given)


@needs_weights
def test_two_sizes_are_refused_with_both(client, pair, tmp_path):
    Image.new("L", (24, 48)).save(tmp_path / "small.png")
    said = refusal(client, pair[0], tmp_path / "small.png")
    assert "ir.png is 64 x 48 and small.png is 24 x 48" in said


@needs_weights
def test_a_missing_picture_is_named(client, pair):
    assert "infrared image is missing" in refusal(client, None, pair[1])
    assert "visible image is missing" in refusal(client, pair[0], None)


@needs_weights
def test_the_same_file_twice_is_refused(client, pair):
    assert "Both images are the same file" in refusal(client, pair[0], pair[0])


@needs_weights
def test_a_file_that_is_no_picture_is_refused_without_a_path(server, client, pair, tmp_path):
    (tmp_path / "notes.png").write_bytes(b"\xfe\xed these are not pixels")
    said = refusal(client, tmp_path / "notes.png", pair[1])
    assert said.startswith("notes.png is not an image")
    assert str(server.uploads) not in said
    assert "Traceback" not in server.log.read_text()


@needs_weights
@pytest.mark.parametrize(
    ("kind", "said"), [("ico", "an icon"), ("pdf", "a PDF"), ("eps", "a PostScript document"), ("tga", "a Targa image")]
)
def test_formats_that_are_not_listed_are_not_decoded(client, pair, tmp_path, kind, said):
    Image.new("RGB", (64, 48)).save(tmp_path / f"picture.{kind}")
    (tmp_path / f"picture.{kind}").rename(tmp_path / "picture.png")
    assert f"picture.png is {said}" in refusal(client, tmp_path / "picture.png", pair[1])


@needs_weights
def test_a_decompression_bomb_is_refused_before_it_is_decoded(server, client, pair, tmp_path):
    fuse(client, *pair)
    zeros, rows = zlib.compressobj(1), bytes(12_001)
    real = b"".join(zeros.compress(rows) for _ in range(12_000)) + zeros.flush()
    (tmp_path / "bomb.png").write_bytes(png_claiming(12_000, 12_000, real))
    (tmp_path / "claim.png").write_bytes(png_claiming(60_000, 60_000))
    server.forget_peak()
    before = server.memory("VmRSS")
    assert "bomb.png is 12000 x 12000 pixels (144 megapixels)" in refusal(client, tmp_path / "bomb.png", pair[1])
    assert "claim.png has far too many pixels" in refusal(client, pair[0], tmp_path / "claim.png")
    assert server.memory("VmHWM") < before + 60


def test_a_file_that_is_too_large_is_not_taken(server):
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("large.png", bytes(4_000_000))})
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text
    assert not [path for path in files(server.uploads) if path.name == "large.png"]


@needs_weights
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"output_range": "loud"}, "There is no output range 'loud'"),
        ({"output_range": 5}, "There is no output range '5'"),
        ({"anchor": "chain"}, "There is no anchor 'chain'"),
        ({"chroma": "c"}, "There is no colour rule 'c'"),
        ({"input_range": "wide"}, "There is no input range 'wide'"),
        ({"model": "./refusion"}, "There is no model './refusion' here"),
        ({"model": "/etc"}, "There is no model '/etc' here"),
        ({"model": "../hub_configs"}, "There is no model '../hub_configs' here"),
        ({"revision": "v1"}, "refusion-ir-vis is on this machine and has no revisions"),
    ],
)
def test_settings_that_do_not_exist_are_refused(client, pair, settings, sentence):
    assert sentence in refusal(client, *pair, **settings)


def test_the_credit_of_an_example_goes_with_its_images(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks():
        panel = result_panel("ir-vis", {})
    showcase = Showcase(fusing)
    events = TaskEvents(TASKS["ir-vis"], fusing, ResultFiles(), showcase, panel)
    a, b = ({"path": str(path)} for path in showcase.paths(example_pairs("ir-vis")[0]))
    Image.fromarray(textured(1)).save(tmp_path / "mine.png")
    mine = {"path": str(tmp_path / "mine.png")}
    for uploads in ((a, b), (b, a), (a, None)):
        assert "A street at dusk" in events.checked(None, *uploads)[-1]
    for uploads in ((a, mine), (mine, mine), (None, None)):
        assert events.checked(None, *uploads)[-1] == ""
    stack = StackEvents(fusing, ResultFiles(), showcase, panel)
    frames = [{"path": str(path)} for path in showcase.paths(example_stacks()[0])]
    assert example_stacks()[0].title in stack.checked(None, "multi-exposure", frames[::-1])[-1]
    for uploads in ([*frames, mine], None):
        assert stack.checked(None, "multi-exposure", uploads)[-1] == ""


def test_a_link_with_an_unknown_choice_is_refused_in_the_words_of_the_page(fusing):
    with gr.Blocks():
        panel = result_panel("ir-vis", {})
    events = TaskEvents(TASKS["ir-vis"], fusing, ResultFiles(), Showcase(fusing), panel)
    path = EXAMPLES / "ir-vis_ir.png"
    result = Result((path, path), path, Settings.checked(fusing.models, TASKS["ir-vis"]), "token")
    note, status, _ = map(unescape, map(str, events.check(result, None, None, "", "chain", "")))
    assert "There is no anchor 'chain'; choose another \"Anchor to the sources\" in the settings." in note
    assert "This result was made with other settings." in status


def test_photographs_are_not_anchored_by_heat(fusing):
    config = build_demo().get_config_file()
    label = texts.SETTINGS["anchor"][0]
    offered = [box["choices"] for box in components(config, "dropdown") if box["label"] == label][: len(TASKS)]
    with_heat = ["heat" in [choice for _, choice in choices] for choices in offered]
    assert with_heat == [not task.one_camera for task in TASKS.values()]
    with gr.Blocks():
        panel = result_panel("multi-focus", {})
    events = TaskEvents(TASKS["multi-focus"], fusing, ResultFiles(), Showcase(fusing), panel)
    note = unescape(events.check(None, None, None, "", "heat", "")[0])
    assert '"Anchor to the sources" cannot be "Follow both, hot objects brighter" for two photographs' in note


def test_a_volume_is_sent_to_the_command(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "brain.nrrd").write_bytes(b"NRRD0005\ntype: short\n")
    with gr.Blocks():
        panel = result_panel("medical", {})
    events = TaskEvents(TASKS["medical"], fusing, ResultFiles(), Showcase(fusing), panel)
    note = unescape(events.check(None, {"path": str(tmp_path / "brain.nrrd")}, None)[0])
    assert "brain.nrrd is an NRRD volume; this demo fuses images: save the slice you want" in note
    assert "or fuse the volumes with `refusion fuse` on a machine of your own." in note


def test_a_note_on_swapped_sources_names_the_button(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = tmp_path / "bright.png", tmp_path / "dark.png"
    for path, grey in zip(paths, (textured(1), textured(1) // 3), strict=True):
        Image.fromarray(grey).save(path)
    task = TASKS["multi-exposure"]
    settings = Settings.checked(fusing.models, task)
    fused = fusing.fuse("me", paths, settings, lambda tick: None)
    with gr.Blocks():
        panel = result_panel(task.name, {})
    events = TaskEvents(task, fusing, ResultFiles(), Showcase(fusing), panel)
    result = Result(paths, paths[0], settings, "token", fused.notes)
    status = events.check(result, *({"path": str(path)} for path in paths))[1]
    assert "they look swapped; the order is under, over. Press Swap to exchange them." in status
    assert "Swap" in [button["value"] for button in components(build_demo().get_config_file(), "button")]


def call(server, name, data):
    """Call an endpoint with data that no proper client sends; returns what the server says."""
    answer = httpx.post(f"{server.url}/gradio_api/call/{name}", json={"data": data})
    event = answer.json()["event_id"]
    return httpx.get(f"{server.url}/gradio_api/call/{name}/{event}", timeout=60).text


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
    said = call(server, "fuse_ir_vis", [forged, forged, "sources", "guided", "b", MODEL, "", "file"])
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


@pytest.fixture(scope="module")
def fusing():
    return Fusing(DemoOptions(max_megapixels=1, max_file_mb=3))


def test_a_batch_matches_names_fuses_the_good_and_lists_the_bad(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temp"))
    task = TASKS["ir-vis"]
    names = {"ir": ["street_ir", "yard", "alone", "torn"], "vis": ["street_vis", "yard", "torn"]}
    paths = {folder: [tmp_path / folder / f"{name}.png" for name in given] for folder, given in names.items()}
    for seed, (folder, given) in enumerate(paths.items()):
        (tmp_path / folder).mkdir()
        for index, path in enumerate(given):
            Image.fromarray(textured(10 * seed + index)).save(path)
    paths["vis"][2].write_bytes(paths["vis"][2].read_bytes()[:300])
    written = ResultFiles()
    batch = match(paths["ir"], paths["vis"], task)
    settings = Settings.checked(fusing.models, task, None, None, None, None, None)
    states = [len(b.done) for b in fuse_batch(batch, "me", settings, fusing, written, lambda _: lambda *_: None)]
    assert states == [1, 1, 2]
    archived = finish(batch)
    with zipfile.ZipFile(archived) as zipped:
        assert zipped.namelist() == ["street_fused.png", "yard_fused.png", "failed.txt"]
        assert zipped.testzip() is None
        failed = zipped.read("failed.txt").decode()
        zipped.extractall(tmp_path / "out")
    assert "alone.png: There is no visible image with this name" in failed
    assert "torn: torn.png cannot be decoded" in failed
    assert_same_picture(
        tmp_path / "out/street_fused.png",
        by_command(tmp_path, tmp_path / "ir/street_ir.png", tmp_path / "vis/street_vis.png"),
    )
    previews = [path for _, path in batch.previews]
    assert sorted(files(tmp_path / "temp")) == sorted([archived, *previews])


def test_a_batch_that_takes_longer_than_files_are_kept_loses_none(fusing, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temp"))
    task = TASKS["ir-vis"]
    paths = [tmp_path / folder / f"{name}.png" for folder in ("ir", "vis") for name in "ab"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(textured(seed)).save(path)
    written = ResultFiles()
    batch = match(paths[:2], paths[2:], task)
    settings = Settings.checked(fusing.models, task, None, None, None, None, None)
    states = fuse_batch(batch, "me", settings, fusing, written, lambda _: lambda *_: None)
    next(states)
    # As Gradio leaves a preview that is older than that.
    batch.previews[0][1].unlink()
    next(states)
    assert [name for name, _ in batch.previews] == ["b"]
    with zipfile.ZipFile(finish(batch)) as zipped:
        assert zipped.namelist() == ["a_fused.png", "b_fused.png"]
        assert zipped.testzip() is None


@pytest.mark.parametrize("method", ["write", "writestr"])
def test_an_archive_that_cannot_be_written_is_told_beside_what_was_fused(fusing, tmp_path, monkeypatch, method):
    """While the pairs are fused, and when the list of those that failed is added."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    uploads = {"ir": [], "vis": []}
    for seed, (folder, given) in enumerate(uploads.items()):
        (tmp_path / folder).mkdir()
        for name in ("good", f"alone {folder}"):
            path = tmp_path / folder / f"{name}.png"
            Image.fromarray(textured(seed)).save(path)
            given.append({"path": str(path)})

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/on/the/server")

    monkeypatch.setattr(zipfile.ZipFile, method, no_space)
    events = BatchEvents(fusing, ResultFiles(), Showcase(fusing))
    request, silent = gr.Request(session_hash="me"), lambda *_, **__: None
    states = list(events.run("ir-vis", "name", uploads["ir"], uploads["vis"], request, silent, *[None] * 5))
    note, status, *rest = states[-1]
    assert note == rest[0] == gr.skip()
    assert "cannot be read or written (No space left on device)" in status
    assert "server" not in status
    assert len(states) == (2 if method == "write" else 3)


def test_what_a_running_batch_needs_counts_as_new(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    written = ResultFiles()
    path = written.save(Image.new("L", (8, 8)), "x.png")
    os.utime(path, (0, 0))
    assert written.keep(path)
    assert path.stat().st_mtime > 0
    path.unlink()
    assert not written.keep(path)


def test_a_batch_matches_by_place(tmp_path):
    firsts = [tmp_path / name for name in ("a.png", "b/a.png", "c.png")]
    seconds = [tmp_path / name for name in ("z.png", "y.png")]
    batch = match(firsts, seconds, TASKS["medical"], by_place=True)
    assert batch.pairs == [("a", (firsts[0], seconds[0])), ("a_2", (firsts[1], seconds[1]))]
    assert batch.failed == [("c.png", "There is no MRI image at this position.")]


@needs_weights
def test_notes_and_refusals_name_nothing_that_the_demo_does_not_have(fusing, tmp_path):
    dim = (100 + 8 * textured(1, 96, 128)).astype(np.uint16)
    Image.fromarray(dim).save(tmp_path / "dim.png")
    Image.fromarray(np.roll(dim, 9, 1)).save(tmp_path / "off.png")
    Image.fromarray(np.full((96, 128), np.nan, np.float32)).save(tmp_path / "nan.tif")
    Image.fromarray(np.full((96, 128), 300, np.float32)).save(tmp_path / "celsius.tif")
    settings = Settings.checked(fusing.models, TASKS["ir-vis"], None, None, None, None, None)
    said = list(fusing.fuse("me", (tmp_path / "dim.png", tmp_path / "off.png"), settings, lambda _: None).notes)
    assert len(said) == 3
    assert "off.png seems to lie about 9 pixels off dim.png" in said[-1]
    for name in ("nan.tif", "celsius.tif"):
        with pytest.raises(SourceError, match="values") as refused:
            fusing.uploads.read(tmp_path / name)
        said.append(str(refused.value))
    for words in said:
        assert not re.search(r"--[a-z]|[a-z]=|pip install", words), words
        assert re.search(r"; (set|register|replace)", words), words
    label, own = texts.SETTINGS["input_range"][0], texts.INPUT_RANGES["own"]
    assert all(f'set "{label}" in the settings to "{own}"' in words for words in said if "register" not in words)


@needs_weights
def test_an_upload_is_decoded_once_for_all_that_is_done_with_it(tmp_path):
    paths = (tmp_path / "a.png", tmp_path / "b.png")
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed)).save(path)
    fusing = Fusing(DemoOptions())
    settings = Settings.checked(fusing.models, TASKS["ir-vis"], None, None, None, None, None)
    assert fusing.uploads.facts(paths[0]).size == (64, 48)
    fused = fusing.fuse("me", paths, settings, lambda _: None)
    fused.save(tmp_path / "fused.png")
    for path in paths:
        path.write_text(f"{path.name} is gone")  # What is not read again does not miss it.
    assert fusing.scores("me", settings, paths, tmp_path / "fused.png")["EN"] is not None
    assert fusing.uploads.read(paths[1]).size == (64, 48)


def test_what_is_kept_decoded_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("refusion.demo.uploads.KEPT_MEGAPIXELS", 0.007)
    uploads = Uploads(DemoOptions())
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed)).save(path)
        uploads.read(path)
        path.write_bytes(b"gone")
    assert uploads.read(paths[1]).size == uploads.read(paths[2]).size == (64, 48)
    with pytest.raises(SourceError, match=r"0\.png is not an image"):
        uploads.read(paths[0])


def test_a_link_says_what_is_not_the_tasks_own_and_is_read_back():
    models = Fusing(DemoOptions()).models
    settings = Settings.checked(models, TASKS["multi-focus"], "stretch", "choice", None, None, None)
    example = next(e for e in all_examples() if e.name == "multi-focus-coffee")
    address = link.query("multi-focus", example, settings, "refusion-multi-focus")
    assert address == "?task=multi-focus&example=multi-focus-coffee&range=stretch"
    asked = link.read_query(dict(parse_qsl(address[1:])))
    assert asked == link.Link("multi-focus", example, {"output_range": "stretch"})


@pytest.mark.parametrize(
    ("task", "accepted", "refused"), [("multi-focus", "choice", "a"), ("multi-exposure", "exposure", "choice")]
)
def test_a_setting_that_is_not_for_a_stack_is_refused_at_once(fusing, tmp_path, monkeypatch, task, accepted, refused):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    uploads = []
    for seed in range(3):
        Image.fromarray(textured(seed)).save(tmp_path / f"{seed}.png")
        uploads.append({"path": str(tmp_path / f"{seed}.png")})
    with gr.Blocks():
        panel = result_panel("stack", {})
    stack = StackEvents(fusing, ResultFiles(), Showcase(fusing), panel)
    assert "3 images of" in stack.check(None, task, uploads, "", "", accepted, "", "", "file")[0]
    for name, choice in (("chroma", refused), ("anchor", "heat")):
        settings = {"range": "", "anchor": "", "chroma": "", "model": "", "revision": "", "input": "file", name: choice}
        note = stack.check(None, task, uploads, *settings.values())[0]
        assert f"for a {task} stack; choose another in the settings." in note
        assert texts.choices(("first", "second"))[name][choice] in note
    note, _, thumbnails = stack.check(None, task, uploads, "", "", "", "nothing", "", "file")
    assert "There is no model 'nothing' here" in note.replace("&#x27;", "'")
    assert thumbnails.count("<img") == 3


def test_the_example_of_a_focus_stack_is_sharp_all_over():
    example = next(e for e in all_examples() if e.name == "stack-table")
    frames = [read_picture(path).luminance for path in example.paths]
    fused = read_picture(fuse_stack(example.paths, task=example.task).to_image()).luminance
    for top in range(0, 360, 120):
        for left in range(0, 480, 120):
            contrast = [np.std(image[top : top + 120, left : left + 120]) for image in (fused, *frames)]
            assert contrast[0] > 0.97 * max(contrast[1:])


@pytest.mark.parametrize("address", ["", "task=nothing", "example=../../etc/passwd&task=%00", "range=" + "x" * 9999])
def test_a_link_that_is_wrong_leads_to_the_first_tab(address):
    asked = link.read_query(dict(parse_qsl(address)))
    assert (asked.tab, asked.example) == ("ir-vis", None)
    assert all(len(value) <= 200 for value in asked.settings.values())


def test_files_of_one_name_are_told_apart_by_their_places(fusing, tmp_path):
    paths = [tmp_path / folder / "x.png" for folder in ("a", "b", "c")]
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(textured(seed)).save(path)
    Image.fromarray(np.stack([textured(seed) for seed in range(3)], axis=2)).save(paths[0])
    settings = Settings.checked(fusing.models, TASKS["ir-vis"])
    (note,) = fusing.fuse("me", tuple(paths[:2]), settings, lambda tick: None).notes
    assert note.startswith("x.png (first) is given as the infrared source but is a colour image, and x.png (second), ")

    Image.fromarray(textured(1, 40, 40)).save(paths[2])
    with pytest.raises(SourceError, match=r"x\.png \(first\) is 64 x 48 and x\.png \(second\) is 40 x 40"):
        fusing.fuse("me", (paths[1], paths[2]), settings, lambda tick: None)
    with pytest.raises(SourceError, match=r"x\.png \(1\) is 64 x 48 and x\.png \(3\) is 40 x 40"):
        fusing.uploads.check_stack(tuple(paths))


@pytest.mark.parametrize(
    ("size", "shown"), [((40, 3000), (40, 3000)), ((500, 2000), (462, 1847)), ((1000, 2000), (800, 1600))]
)
def test_a_thin_image_is_compared_with_more_of_its_pixels(fusing, tmp_path, monkeypatch, size, shown):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    picture = read_picture(textured(0, *size[::-1]))
    files = ResultFiles()
    comparison("group", [("Source", picture)], Fused(picture, ()), tmp_path / "fused.png", files)
    (source,) = (path for path in files.written if path.endswith("source.png"))
    with Image.open(source) as image:
        assert image.size == pytest.approx(shown, abs=1)


def test_a_pair_that_is_too_large_to_be_explained_is_shrunk_first(fusing, tmp_path, monkeypatch):
    monkeypatch.setattr("refusion.demo.service.MAX_EXPLAINED_MEGAPIXELS", 0.01)
    settings = Settings.checked(fusing.models, TASKS["ir-vis"], None, None, None, None, None)
    paths = (tmp_path / "ir.png", tmp_path / "vis.png")
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 120, 160)).save(path)
    explanation, shrunk = fusing.explanation("me", settings, paths)
    assert shrunk
    assert 0.8 * 10_000 < explanation.fused.size <= 10_000
    np.testing.assert_allclose(explanation.intensity.sum(axis=0), 1, atol=1e-5)


def test_what_is_too_large_to_be_scored_is_refused_in_a_sentence(fusing, tmp_path, monkeypatch):
    monkeypatch.setattr("refusion.demo.service.MAX_SCORED_MEGAPIXELS", 0.002)
    paths = tuple(tmp_path / f"{name}.png" for name in ("a", "b", "fused"))
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed)).save(path)
    settings = Settings.checked(fusing.models, TASKS["ir-vis"])
    with pytest.raises(SourceError, match=r"0\.00307 megapixels, but at most 0\.002 are scored here"):
        fusing.scores("me", settings, paths[:2], paths[2])
    with pytest.raises(SourceError, match="are scored here"):
        fusing.stack_scores("me", settings, paths, paths[2])


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
    assert "pip install 'gradio[mcp]'" in capsys.readouterr().err


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
