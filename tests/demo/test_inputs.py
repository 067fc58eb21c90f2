"""Uploads, links and stacks in the demo, without a server."""

import re
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from support.demo_client import needs_weights
from support.raw import write_dng
from support.scenes import textured

from refusion import fuse_stack
from refusion.demo import link, texts
from refusion.demo.examples import all_examples
from refusion.demo.options import DemoOptions
from refusion.demo.result_panel import result_panel
from refusion.demo.results import ResultFiles, comparison
from refusion.demo.service import Fusing, Settings
from refusion.demo.showcase import Showcase
from refusion.demo.stack_events import StackEvents
from refusion.demo.uploads import SourceError, Uploads
from refusion.images import read_picture
from refusion.inference.finishing import Fused
from refusion.tasks import TASKS


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


@pytest.mark.parametrize("name", ["scene.dng", "scene.tif"])
def test_a_camera_raw_file_is_sent_to_the_command(tmp_path, name):
    path = write_dng(tmp_path / name, np.full((48, 64, 3), 0.5))
    with pytest.raises(SourceError, match=f"^{name} is a camera raw file.*develop it first, .* or use `refusion fuse`"):
        Uploads(DemoOptions()).read(path)


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
