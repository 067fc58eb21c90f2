"""What the tabs of the demo say of links, settings and inputs."""

from html import unescape

import gradio as gr
from PIL import Image
from support.demo_client import components
from support.scenes import EXAMPLES, textured

from refusion.demo import texts
from refusion.demo.examples import example_pairs, example_stacks
from refusion.demo.page import build_demo
from refusion.demo.result_panel import result_panel
from refusion.demo.results import Result, ResultFiles
from refusion.demo.service import Settings
from refusion.demo.showcase import Showcase
from refusion.demo.stack_events import StackEvents
from refusion.demo.task_events import TaskEvents
from refusion.tasks import TASKS


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
