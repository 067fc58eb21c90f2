"""The demo in a real browser: Debian's chromium, driven by Playwright."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.command import refusion
from support.demo_hub import fused_by_tag
from support.demo_server import ROOT, Server
from support.scenes import EXAMPLES, textured

from refusion.demo.examples import all_examples, example_pairs
from refusion.hub.names import has_weights
from refusion.images import read_picture
from refusion.metrics.scoring import levels
from refusion.metrics.stack import score_stack
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
AXE = ROOT / "tests/node_modules/axe-core/axe.min.js"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
    pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="the weights refusion-ir-vis are not bundled"),
]

LONG = 240_000
"""Milliseconds for what computes, on a machine that does other things too."""

TITLES = (*(task.title for task in TASKS.values()), "Stack", "Batch", "About")

WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 375, "height": 800}
widths = pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])


@pytest.fixture(scope="module")
def server(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    hub_client = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "home")}
    server = Server(folder, "--max-megapixels", "4", **hub_client)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(server, chromium):
    """Opens the page for a new visitor, up to its finished example; at the end no page may have logged an error."""
    contexts, complaints = [], []

    def open_page(size=WIDE, address="", **options):
        context = chromium.new_context(viewport=size, **options)
        context.set_default_timeout(90_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.url + "/" + address)
        shown_in(page).locator(".stage").wait_for(timeout=LONG)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def large_pair(tmp_path_factory):
    """A pair that takes seconds."""
    folder = tmp_path_factory.mktemp("large")
    paths = [folder / "first.png", folder / "second.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 1600, 2400)).save(path)
    return paths


@pytest.fixture
def small_pair(tmp_path):
    paths = [tmp_path / "small1.png", tmp_path / "small2.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed)).save(path)
    return paths


def shown_in(page):
    return page.get_by_role("tabpanel").filter(visible=True).first


def panel_of(page, title):
    """Open a tab and return what it shows."""
    page.get_by_role("tab", name=title, exact=True).first.click()
    page.get_by_role("tab", name=title, exact=True, selected=True).first.wait_for()
    return shown_in(page)


def status_of(panel):
    return panel.locator(".block.status-box").first


def wait_for_status(panel, text):
    status_of(panel).get_by_text(text).first.wait_for(timeout=LONG)


def press_example(panel, title):
    panel.get_by_role("button", name=title, exact=True).click()


def give(panel, paths):
    for number, path in enumerate(paths):
        panel.locator('.sources input[type="file"]').nth(number).set_input_files(path)
        panel.get_by_text(re.compile(f"^{re.escape(path.name)}: ")).wait_for()


def fuse(panel):
    panel.get_by_role("button", name="Fuse", exact=True).click()


def downloaded(page, panel, button, path):
    with page.expect_download() as waiting:
        panel.get_by_role("button", name=button).click()
    waiting.value.save_as(path)
    return path


def assert_same(path, wanted):
    with Image.open(path) as fused:
        assert fused.format == "PNG"
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(wanted))


def top_of(locator):
    return locator.bounding_box()["y"]


# ------------------------------------------------------------------------------------------------ the first screen


@widths
def test_the_first_screen_has_a_finished_example_and_every_tab(visit, size):
    page = visit(size)
    for title in TITLES:
        assert page.get_by_role("tab", name=title, exact=True).first.is_visible(), title
    panel = shown_in(page)
    for image in panel.locator(".stage img").all():
        page.wait_for_function("image => image.complete && image.naturalWidth === 480", arg=image.element_handle())
    box = panel.locator(".stage").bounding_box()
    assert 0 <= box["y"] < box["y"] + box["height"] <= size["height"]
    thumbnails = panel.get_by_role("group", name="Examples").get_by_role("button")
    assert 4 <= thumbnails.count() <= 6
    assert thumbnails.first.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")
    assert top_of(thumbnails.first) < size["height"]
    assert panel.locator(".credit").first.inner_text() == "Example: A street at dusk. Rendered for this project. CC0."
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.get_by_role("button", name="Use via API").is_visible()


def test_every_tab_of_a_task_opens_with_its_first_example_fused(visit):
    page = visit()
    for task in TASKS.values():
        panel = panel_of(page, task.title)
        wait_for_status(panel, f"Result of {example_pairs(task.name)[0].paths[0].name}")
        assert panel.locator(".stage").count() == 1


@widths
def test_the_result_is_where_the_visitor_looks(visit, size):
    page = visit(size)
    panel = panel_of(page, "Medical")
    wait_for_status(panel, "Result of medical-axial_a.jpg")
    button = panel.get_by_role("button", name="Fuse", exact=True)
    button.scroll_into_view_if_needed()
    button.click()
    page.wait_for_function(
        "([stage, height]) => { const box = stage.getBoundingClientRect();"
        " return box.top >= 0 && box.top < height / 2; }",
        arg=[panel.locator(".stage").element_handle(), size["height"]],
    )
    if size is WIDE:
        left, right = panel.locator(".inputs").bounding_box(), panel.locator(".result").bounding_box()
        assert left["x"] + left["width"] <= right["x"]
        assert top_of(panel.get_by_role("button", name="Settings")) < size["height"]


def test_the_result_stays_in_view_beside_the_settings(visit):
    page = visit({"width": 1400, "height": 600})
    panel = panel_of(page, "Batch")
    panel.get_by_role("button", name="Settings").click()
    panel.get_by_role("combobox", name="Model").scroll_into_view_if_needed()
    assert page.evaluate("window.scrollY") > 200
    assert 0 <= top_of(status_of(panel)) < 100


# ------------------------------------------------------------------------------------------------ one result


def test_an_example_is_compared_and_downloaded(visit, tmp_path):
    page = visit()
    panel = shown_in(page)
    stage = panel.locator(".stage")
    slider = panel.get_by_role("slider", name=re.compile("^Divider between"))
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    page.mouse.up()
    assert 75 < int(slider.input_value()) < 85
    moved = int(slider.input_value())
    slider.press("ArrowLeft")
    assert int(slider.input_value()) == moved - 1
    assert stage.evaluate("e => e.style.getPropertyValue('--at')") == f"{moved - 1}%"

    infrared, visible = (panel.locator(".stage").get_by_alt_text(f"{name} source") for name in ("Infrared", "Visible"))
    assert (infrared.is_visible(), visible.is_visible()) == (True, False)
    panel.get_by_role("radio", name="Visible").check()
    assert (infrared.is_visible(), visible.is_visible()) == (False, True)
    tag = stage.locator(".tag.source")
    assert tag.inner_text() == "Visible"
    left = tag.bounding_box()["x"]
    panel.get_by_role("button", name="Swap sides").click()
    assert tag.bounding_box()["x"] > left + box["width"] / 2

    fused = stage.get_by_alt_text("Fused image")
    panel.get_by_role("button", name="Zoom in").click()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    transforms = {image.evaluate("e => getComputedStyle(e).transform") for image in (fused, visible)}
    assert len(transforms) == 1
    assert transforms.pop().startswith("matrix(2, 0, 0, 2,")
    panel.get_by_role("button", name="Zoom out").click()
    assert fused.evaluate("e => getComputedStyle(e).transform") == "matrix(1, 0, 0, 1, 0, 0)"

    panel.get_by_role("button", name="Full screen").click()
    page.wait_for_function("document.fullscreenElement?.classList.contains('viewer')")
    for text in (panel.locator(".choices label").first, panel.get_by_text("100 %")):
        assert text.evaluate("e => getComputedStyle(e).color") == "rgb(255, 255, 255)"
    panel.get_by_role("button", name="Full screen").click()

    assert page.get_by_alt_text("Fused image").filter(visible=True).count() == 1
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    pair = EXAMPLES / "ir-vis_ir.png", EXAMPLES / "ir-vis_vis.png"
    assert_same(path, ReFusion.from_pretrained("refusion-ir-vis").fuse(*pair))

    # As on an iPhone.
    other = page.context.new_page()
    other.add_init_script("Object.defineProperty(document, 'fullscreenEnabled', { value: undefined })")
    other.goto(page.url)
    shown_in(other).get_by_role("button", name="Zoom in").wait_for()
    assert shown_in(other).get_by_role("button", name="Full screen").count() == 0


@widths
def test_an_image_of_a_few_rows_opens_enlarged(visit, size, tmp_path):
    paths = [tmp_path / "rows1.png", tmp_path / "rows2.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 20, 1500)).save(path)
    page = visit(size)
    panel = shown_in(page)
    give(panel, paths)
    wait_for_status(panel, "Result of rows1.png and rows2.png.")
    stage, fused = panel.locator(".stage").bounding_box(), panel.get_by_alt_text("Fused image").bounding_box()
    assert stage["height"] > 60
    assert fused["width"] == pytest.approx(15 * stage["width"], rel=0.01)
    assert fused["x"] + fused["width"] / 2 == pytest.approx(stage["x"] + stage["width"] / 2, abs=2)
    panel.get_by_text("1500 %").wait_for()
    for _ in range(4):
        panel.get_by_role("button", name="Zoom out").click()
    panel.get_by_text("100 %").wait_for()
    assert panel.get_by_alt_text("Fused image").bounding_box() == pytest.approx(panel.locator(".stage").bounding_box())


def test_scores_and_explanation_are_in_tabs_below(visit):
    page = visit()
    panel = shown_in(page)
    panel.get_by_role("tab", name="Scores").click()
    row = panel.get_by_role("row", name=re.compile("^Qabf"))
    row.wait_for(timeout=LONG)
    before = row.inner_text()
    press_example(panel, "A street by night")
    wait_for_status(panel, "Result of ir-vis-night_a.jpg")
    panel.locator("tr", has_text="Qabf").filter(has_not_text=before).wait_for(timeout=LONG)
    assert row.inner_text() != before
    panel.get_by_role("tab", name="Learned loss").click()
    panel.get_by_alt_text("Map of w").wait_for(timeout=LONG)
    assert panel.locator(".explained figcaption").count() == 4
    assert panel.locator(".explained .scale").all_inner_texts() == ["infrared 1.00\nequal\nvisible 1.00"] * 2


def test_another_visitor_sees_nothing_of_the_first(visit, small_pair):
    first, second = visit(), visit()
    give(shown_in(first), small_pair)
    wait_for_status(shown_in(first), "Result of small1.png and small2.png.")
    second.wait_for_timeout(500)
    assert "small1.png" not in second.content()


# ------------------------------------------------------------------------------------------------ never stale


def test_a_small_pair_is_fused_again_by_itself(visit, small_pair):
    page = visit()
    panel = shown_in(page)
    give(panel, small_pair)
    wait_for_status(panel, "Result of small1.png and small2.png.")
    panel.get_by_role("button", name="Swap", exact=True).click()
    wait_for_status(panel, "Result of small2.png and small1.png.")
    panel.get_by_role("button", name="Settings").click()
    before = panel.get_by_alt_text("Fused image").get_attribute("src")
    panel.get_by_role("combobox", name="Range of the grey levels").click()
    page.get_by_role("option", name="Stretch from black to white").click()
    fused = panel.locator(f'.stage img[alt="Fused image"]:not([src="{before}"])')
    fused.wait_for(timeout=LONG)
    wait_for_status(panel, "Result of small2.png and small1.png.")
    assert "range=stretch" in page.url


def test_an_upload_is_said_to_be_read(server, chromium, small_pair):
    page = chromium.new_page(viewport=WIDE)
    page.route("**/queue/data*", lambda route: None)  # The page is told of nothing, as if reading took long.
    page.goto(server.url)
    panel = shown_in(page)
    panel.locator('.sources input[type="file"]').first.set_input_files(small_pair[0])
    reading = panel.locator(".note-box > .wrap").first.element_handle()
    page.wait_for_function("e => getComputedStyle(e).opacity === '1'", arg=reading)
    assert reading.evaluate("e => getComputedStyle(e, '::after').content") == '"Reading …"'
    page.close()


def test_an_upload_stays_when_the_example_before_it_comes_late(server, chromium, small_pair):
    page = chromium.new_page(viewport=WIDE)
    page.goto(server.url)
    panel = shown_in(page)
    panel.locator(".stage").wait_for(timeout=LONG)
    held = []
    # The example is asked for, but the page is not told its number, so it cannot cancel it.

    def hold(route):
        if '"name":"ir-vis-night"' in route.request.post_data:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/queue/join*", hold)
    press_example(panel, "A street by night")
    give(panel, small_pair)
    wait_for_status(panel, "Result of small1.png and small2.png.")
    (route, answer), *_ = held
    route.fulfill(response=answer)
    # It comes, and goes again once the page has answered that the upload is newer.
    named = (
        "[...document.querySelectorAll('.credit')].some((e) => e.innerText.startsWith('Example: A street by night'))"
    )
    page.wait_for_function(named, timeout=LONG)
    wait_for_status(panel, "Result of small1.png and small2.png.")
    panel.get_by_text("Example: ").wait_for(state="hidden")
    panel.locator(".note-box").get_by_text("small1.png: ").wait_for()
    page.close()


@widths
def test_a_large_pair_is_marked_as_from_before(visit, size, large_pair):
    page = visit(size)
    panel = shown_in(page)
    give(panel, large_pair)
    panel.get_by_text(re.compile("^Fusing takes about")).wait_for()
    wait_for_status(panel, "This result is from before your last change.")
    assert "grayscale" in panel.locator(".stage").evaluate("e => getComputedStyle(e).filter")
    panel.get_by_role("button", name=re.compile("^Download in full quality.\\(outdated\\)")).wait_for()
    press_example(panel, "A street at dusk")
    wait_for_status(panel, "Result of ir-vis_ir.png")
    assert panel.locator(".stage").evaluate("e => getComputedStyle(e).filter") == "none"


def test_what_changes_while_a_pair_is_fused_is_not_taken_for_fused(visit, large_pair):
    panel = shown_in(visit())
    give(panel, large_pair)
    panel.get_by_text(re.compile("^Fusing takes about")).wait_for()
    fuse(panel)
    panel.get_by_text(re.compile("Fusing, about .* left")).wait_for(timeout=LONG)
    panel.get_by_role("button", name="Swap", exact=True).click()
    panel.get_by_role("button", name="Cancel").wait_for(state="hidden", timeout=LONG)
    wait_for_status(panel, "This result is from before your last change.")
    panel.get_by_role("button", name="Swap", exact=True).click()
    wait_for_status(panel, "Result of first.png and second.png.")

    panel.get_by_role("button", name="Swap", exact=True).click()
    wait_for_status(panel, "This result is from before your last change.")
    fuse(panel)
    panel.get_by_text(re.compile("Fusing, about .* left")).wait_for(timeout=LONG)
    press_example(panel, "A street at dusk")
    wait_for_status(panel, "Result of ir-vis_ir.png")
    panel.get_by_role("button", name="Cancel").wait_for(state="hidden", timeout=LONG)
    assert status_of(panel).get_by_text("Result of ir-vis_ir.png").is_visible()


def test_a_mismatch_stays_written_until_it_is_mended(visit, small_pair, tmp_path):
    page = visit()
    panel = shown_in(page)
    other = tmp_path / "other.png"
    Image.fromarray(textured(3, 40, 40)).save(other)
    give(panel, [small_pair[0]])
    give(panel, [small_pair[0], other])
    sentence = panel.get_by_role("alert").get_by_text("small1.png is 64 x 48 and other.png is 40 x 40")
    sentence.wait_for()
    fuse(panel)
    status_of(panel).get_by_role("alert").get_by_text("Nothing was fused; the note says why.").wait_for()
    panel.get_by_role("button", name="Settings").click()
    panel.get_by_role("combobox", name="Anchor to the sources").click()
    page.get_by_role("option", name="Keep between the sources").click()
    page.wait_for_timeout(1000)
    assert sentence.is_visible()
    panel.locator('.sources input[type="file"]').last.set_input_files(small_pair[1])
    sentence.wait_for(state="hidden")
    wait_for_status(panel, "Result of small1.png and small2.png.")


@widths
def test_what_is_no_image_is_said_beside_the_inputs_and_where_the_visitor_looks(visit, size, tmp_path):
    page = visit(size)
    panel = shown_in(page)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\xfe\xed these are not pixels")
    panel.locator('.sources input[type="file"]').first.set_input_files(bad)
    panel.get_by_role("alert").get_by_text("bad.png is not an image that can be read").first.wait_for()
    panel.get_by_role("button", name="Remove Image").first.click()
    fuse(panel)
    missing = panel.get_by_text("The infrared image is missing").filter(visible=True)
    missing.first.wait_for()
    refused = status_of(panel).get_by_role("alert")
    assert refused.inner_text().startswith("Nothing was fused")
    page.wait_for_function(
        "e => { const { top, bottom } = e.getBoundingClientRect(); return top >= 0 && bottom < innerHeight; }",
        arg=refused.element_handle(),
    )
    assert (status_of(panel).get_by_text("The infrared image is missing").is_visible()) == (size is PHONE)
    assert page.locator(".toast-body").count() == 0
    assert "Traceback" not in page.content()


def test_an_image_is_seen_even_where_browsers_do_not_know_its_format(visit, small_pair, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    paths = [tmp_path / "infrared.heic", tmp_path / "visible.tiff"]
    heif.from_pillow(Image.open(small_pair[0]).convert("RGB")).save(paths[0])
    Image.open(small_pair[1]).save(paths[1])
    page = visit()
    panel = shown_in(page)
    seen = "image => image.complete && image.naturalWidth === 64"
    give(panel, paths)
    wait_for_status(panel, "Result of infrared.heic and visible.tiff.")
    for label in ("Infrared", "Visible"):
        image = panel.locator(".sources").get_by_alt_text(f"{label} source")
        page.wait_for_function(seen, arg=image.element_handle())
    panel.get_by_role("button", name="Swap", exact=True).click()
    wait_for_status(panel, "Result of visible.tiff and infrared.heic.")
    for label in ("Infrared", "Visible"):
        image = panel.locator(".sources").get_by_alt_text(f"{label} source")
        page.wait_for_function(seen, arg=image.element_handle())


def test_a_thermal_frame_is_seen_at_its_own_range_and_a_link_keeps_that(visit, small_pair, tmp_path):
    thermal = tmp_path / "thermal.png"
    Image.fromarray(7261 + 5 * textured(7).astype(np.uint16)).save(thermal)
    page = visit()
    panel = shown_in(page)
    give(panel, [thermal, small_pair[1]])
    remark = status_of(panel).locator(".note.remark")
    remark.get_by_text('set "Input range" in the settings to "Own range of the sources"').wait_for(timeout=LONG)
    assert remark.evaluate("e => getComputedStyle(e).borderTopWidth") == "1px"
    assert panel.locator(".stage").evaluate("e => getComputedStyle(e).filter") == "none"
    image = panel.locator(".sources").get_by_alt_text("Infrared source").element_handle()
    contrast = """image => {
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
      canvas.drawImage(image, 0, 0);
      const grey = canvas.getImageData(0, 0, 64, 48).data.filter((_, i) => i % 4 === 0);
      return Math.max(...grey) - Math.min(...grey);
    }"""
    page.wait_for_function("image => image.complete && image.naturalWidth === 64", arg=image)
    assert page.evaluate(contrast, image) < 30
    panel.get_by_role("button", name="Settings").click()
    panel.get_by_role("combobox", name="Input range").click()
    page.get_by_role("option", name="Own range of the sources").click()
    page.wait_for_url("**/?task=ir-vis&input=own", timeout=LONG)
    assert "Input range" not in status_of(panel).inner_text()
    assert page.evaluate(contrast, image) > 200

    again = visit(address="?task=ir-vis&input=own")
    shown_in(again).get_by_text('settings: "Own range of the sources"').wait_for(timeout=LONG)


# ------------------------------------------------------------------------------------------------ waiting


@widths
def test_who_waits_is_told_and_can_cancel(visit, size, large_pair, small_pair):
    first, second = visit(size), visit(size)
    waiting = visit(size)
    panel, other, scores = shown_in(first), shown_in(second), shown_in(waiting)
    for one in (other, panel):
        give(one, large_pair)
        one.get_by_text(re.compile("^Fusing takes about")).wait_for()
    cancel = panel.get_by_role("button", name="Cancel")
    assert cancel.count() == 0 or not cancel.is_visible()
    places = [top_of(panel.locator(part)) for part in (".stage", ".actions", ".examples")]
    scrolled = first.evaluate("window.scrollY")
    fuse(panel)
    panel.get_by_text(re.compile("Fusing, about .* left")).wait_for(timeout=LONG)
    cancel.wait_for()
    again = panel.get_by_role("button", name="Fuse", exact=True)
    assert again.evaluate("e => getComputedStyle(e).pointerEvents") == "none"
    first.evaluate("y => window.scrollTo(0, y)", scrolled)
    assert [top_of(panel.locator(part)) for part in (".stage", ".actions", ".examples")] == pytest.approx(places, abs=1)

    fuse(other)
    other.get_by_text(re.compile("1 before you, about .* left")).wait_for(timeout=LONG)
    scores.get_by_role("tab", name="Scores").click()
    scores.get_by_text(re.compile("[12] before you, about .* left")).wait_for(timeout=LONG)
    give(scores, small_pair)
    scores.get_by_text(re.compile("^Fusing takes about a second, after about .* for the jobs before it")).wait_for()
    cancel.click()
    wait_for_status(panel, "Cancelled; nothing was fused.")
    cancel.wait_for(state="hidden")
    press_example(panel_of(second, "Multi-focus"), "A coffee")
    wait_for_status(shown_in(second), "Result of multi-focus-coffee_a.jpg")
    wait_for_status(panel_of(second, "Infrared + visible"), "Result of first.png")
    assert other.get_by_text("first.png: 2400 x 1600 pixels").is_visible()
    assert other.get_by_text(re.compile("^Fusing takes about")).count() == 0  # It is fused.
    panel_of(waiting, "About")
    wait_for_status(panel_of(waiting, "Infrared + visible"), "Result of small1.png")  # There are no jobs before it now.


# ------------------------------------------------------------------------------------------------ stack and batch


def files_of(panel, label):
    return panel.get_by_role("group", name=re.compile(f"^{label}")).locator('input[type="file"]')


def names_in(panel, number=0):
    return [
        text.split(". ", 1)[1] for text in panel.locator(".thumbnails").nth(number).locator(".name").all_inner_texts()
    ]


@widths
def test_a_stack_has_thumbnails_in_an_order_and_a_result(visit, size):
    page = visit(size)
    panel = panel_of(page, "Stack")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    assert panel.locator(".choices").get_by_role("radio").count() == 3
    names = [f"multi-exposure_{name}.png" for name in ("under", "middle", "over")]
    panel.locator(".thumbnails img").nth(2).wait_for()
    assert names_in(panel) == names
    panel.get_by_role("button", name=f"Move {names[0]} forward").click()
    wait_for_status(panel, "This result is from before your last change. Press Fuse the stack to bring it up to date.")
    panel.locator(".thumbnails li").first.get_by_text(names[1]).wait_for()
    panel.locator(".thumbnails li").nth(2).drag_to(panel.locator(".thumbnails li").first)
    panel.locator(".thumbnails li").first.get_by_text(names[2]).wait_for()
    assert names_in(panel) == [names[2], names[1], names[0]]
    panel.get_by_role("button", name="Fuse the stack").click()
    wait_for_status(panel, "Result of 3 images, multi-exposure_over.png first.")
    panel.get_by_role("tab", name="Scores").click()
    row = panel.get_by_role("row", name=re.compile("^SSIM"))
    row.wait_for(timeout=LONG)
    if size is WIDE:
        paths = [EXAMPLES / name for name in names]
        fused = ReFusion.from_pretrained("refusion-multi-exposure").fuse_stack(paths[::-1])
        frames = [levels(read_picture(path).luminance) for path in paths]
        wanted = score_stack(frames, levels(read_picture(fused.to_image()).luminance))["SSIM"]
        assert f"{wanted:.3f}" in row.inner_text()


def test_there_is_an_example_of_either_kind_of_stack(visit):
    panel = panel_of(visit(), "Stack")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    press_example(panel, "A table, focused near to far")
    wait_for_status(panel, "Result of 4 images, focus-stack_1.png first.")
    assert panel.get_by_role("radio", name="Multi-focus", exact=True).is_checked()
    panel.locator(".thumbnails img").nth(3).wait_for()
    assert names_in(panel) == [f"focus-stack_{number}.png" for number in range(1, 5)]
    press_example(panel, "A room in three exposures")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    assert panel.get_by_role("radio", name="Multi-exposure", exact=True).is_checked()


def test_the_note_of_a_stack_is_about_what_is_in_it(visit, small_pair):
    panel = panel_of(visit(), "Stack")
    wait_for_status(panel, "Result of 3 images")
    files_of(panel, "All images").set_input_files(small_pair)  # In place of the example.
    panel.get_by_role("alert").get_by_text("A stack has at least three images").wait_for()
    assert names_in(panel) == [path.name for path in small_pair]
    press_example(panel, "A room in three exposures")
    wait_for_status(panel, "Result of 3 images")
    panel.get_by_role("button", name="Remove multi-exposure_middle.png").click()
    panel.get_by_role("alert").get_by_text("A stack has at least three images").wait_for()
    assert names_in(panel) == ["multi-exposure_under.png", "multi-exposure_over.png"]
    panel.get_by_role("button", name="Clear").click()
    panel.get_by_role("alert").wait_for(state="hidden")


def test_what_leaves_a_stack_or_a_batch_while_it_is_fused_is_not_taken_for_fused(visit, tmp_path):
    page = visit()
    panel = panel_of(page, "Stack")
    wait_for_status(panel, "Result of 3 images")
    panel.get_by_role("button", name="Clear").click()
    panel.locator(".thumbnails").wait_for(state="hidden")
    # Smaller than `large_pair`: it is the number of images that takes seconds.
    paths = [tmp_path / f"{name}.png" for name in ("first", "second", "third", "fourth")]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 960, 1280)).save(path)
    files_of(panel, "All images").set_input_files(paths)
    panel.get_by_text(re.compile("^4 images of .* Fusing takes about")).wait_for()
    panel.get_by_role("button", name="Fuse the stack").click()
    panel.get_by_text(re.compile("Fusing, about .* left")).wait_for(timeout=LONG)
    panel.get_by_role("button", name="Remove fourth.png").click()
    panel.get_by_role("button", name="Cancel").wait_for(state="hidden", timeout=LONG)
    wait_for_status(panel, "This result is from before your last change.")
    panel.get_by_text("3 images of 1280 x 960 pixels.").wait_for()

    panel = panel_of(page, "Batch")
    panel.get_by_role("radio", name="at the same position").check()
    files_of(panel, "First of each pair").set_input_files(paths[:3])
    files_of(panel, "Second of each pair").set_input_files(paths[1:])
    panel.get_by_text("3 pairs.").wait_for()
    panel.get_by_role("button", name="Fuse all").click()
    panel.get_by_text(re.compile("Pair 1 of 3, about .* left")).wait_for(timeout=LONG)
    for row in range(2):
        panel.locator(".thumbnails").nth(row).get_by_role("button", name="Remove third.png").click()
    panel.get_by_role("button", name="Download all as zip").wait_for(timeout=LONG)
    wait_for_status(panel, "These results are from before your last change.")
    panel.get_by_text("2 pairs.").wait_for()


@widths
def test_a_batch_names_the_bad_shows_the_good_and_gives_one_archive(visit, size, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    page = visit(size)
    panel = panel_of(page, "Batch")
    lists = []
    for side, folder in enumerate(("ir", "vis")):
        (tmp_path / folder).mkdir()
        lists.append([tmp_path / folder / name for name in ("street.png", "torn.png", "yard.heic")])
        for index, path in enumerate(lists[-1]):
            image = Image.fromarray(textured(10 * side + index))
            if path.suffix == ".heic":
                tint = ImageOps.colorize(image, "black", "orange") if side == 0 else image.convert("RGB")
                heif.from_pillow(tint).save(path)
            else:
                image.save(path)
    lists[1][1].write_bytes(lists[1][1].read_bytes()[:300])
    lone = tmp_path / "ir/alone.png"
    Image.fromarray(textured(99)).save(lone)

    panel.get_by_role("button", name="Fuse all").click()
    wait_for_status(panel, "Nothing was fused")
    files_of(panel, "First of each pair").set_input_files([lone])
    wait_for_status(panel, "Nothing is fused yet.")
    files_of(panel, "Second of each pair").set_input_files(lists[1])
    panel.get_by_role("alert").get_by_text("alone.png: There is no visible image with this name").wait_for()
    panel.get_by_role("button", name="Clear").first.click()
    files_of(panel, "First of each pair").set_input_files(lists[0])
    panel.get_by_text("3 pairs.").wait_for()
    assert panel.get_by_role("alert").count() == 0
    panel.get_by_text("cannot be read", exact=True).wait_for()

    panel.get_by_role("button", name="Fuse all").click()
    panel.get_by_role("alert").get_by_text(re.compile("^torn: torn.png cannot be decoded")).wait_for(timeout=LONG)
    wait_for_status(panel, "2 fused, 1 not; the list says why.")
    wait_for_status(panel, "There is a remark on 1 of the pairs; see the list.")
    panel.get_by_role("row", name=re.compile("^yard fused. yard.heic .*colour")).wait_for()
    panel.get_by_role("row", name=re.compile("^torn torn.png cannot be decoded")).wait_for()
    panel.locator(".grid-wrap img").nth(1).wait_for()
    assert panel.locator(".grid-wrap img").count() == 2
    panel.get_by_role("button", name=re.compile("^street")).wait_for()
    path = downloaded(page, panel, "Download all as zip", tmp_path / "fused.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["street_fused.png", "yard_fused.png", "failed.txt"]
    assert panel.locator("pre code").inner_text().strip() == "refusion fuse ir vis -o fused --task ir-vis"
    panel.get_by_role("radio", name="Medical").check()
    wait_for_status(panel, "These results are from before your last change.")
    panel.get_by_role("group", name="First of each pair: CT, PET or SPECT").wait_for()


# ------------------------------------------------------------------------------------------------ links and programs


def test_a_link_leads_to_a_result_and_the_program_makes_it(visit, server, tmp_path):
    page = visit(address="?task=multi-focus&example=multi-focus-coffee&range=stretch&anchor=none")
    panel = shown_in(page)
    page.get_by_role("tab", name="Multi-focus", selected=True).wait_for()
    panel.get_by_text('"Stretch from black to white", "No anchor"').wait_for(timeout=LONG)
    assert "example=multi-focus-coffee&range=stretch&anchor=none" in page.url
    code = panel.locator("pre code").inner_text()
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=EXAMPLES,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(done.stdout.splitlines()[-1]) as wanted:
        assert_same(path, wanted)
    page.get_by_role("tab", name="Medical", exact=True).click()
    page.wait_for_url("**/?task=medical&example=medical-axial")
    page.get_by_role("tab", name="Multi-focus", exact=True).click()
    page.wait_for_url("**range=stretch&anchor=none")
    for title, address in (("Stack", "stack&example=stack-room"), ("Batch", "batch"), ("About", "about")):
        page.get_by_role("tab", name=title, exact=True).click()
        page.wait_for_url(f"**/?task={address}")
    page.get_by_role("tab", name="Infrared + visible", exact=True).click()
    page.wait_for_url("**/?task=ir-vis&example=ir-vis")


def test_a_link_leads_to_a_stack_with_settings(visit):
    # The default of a pair is not that of a stack.
    page = visit(address="?task=stack&range=contrast")
    page.get_by_role("tab", name="Stack", selected=True).wait_for()
    panel = shown_in(page)
    panel.get_by_text('"Raise the contrast (1.1 times)"').wait_for(timeout=LONG)
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    page.wait_for_url("**/?task=stack&example=stack-room&range=contrast")
    panel.get_by_role("button", name="Settings").click()
    panel.get_by_role("combobox", name="Range of the grey levels").click()
    page.get_by_role("option", name="Default of the task").click()
    wait_for_status(panel, "This result is from before your last change.")


def test_the_command_below_a_stack_makes_it(visit, tmp_path, monkeypatch):
    page = visit()
    panel = panel_of(page, "Stack")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    path = downloaded(page, panel, "Download in full quality", tmp_path / "downloaded.png")
    program, *words = shlex.split(panel.locator("pre code").inner_text())
    assert program == "refusion"
    for example in EXAMPLES.glob("multi-exposure_*.png"):
        shutil.copy(example, tmp_path)
    monkeypatch.chdir(tmp_path)
    done = refusion(*words)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "fused.png") as wanted:
        assert_same(path, wanted)


def test_the_commands_below_a_batch_make_it(visit, tmp_path, monkeypatch):
    page = visit()
    panel = panel_of(page, "Batch")
    panel.get_by_role("radio", name="Multi-focus").check()
    panel.get_by_role("button", name="Use example pairs").click()
    panel.get_by_text("5 pairs.").wait_for()
    panel.get_by_role("button", name="Settings").click()
    panel.get_by_role("combobox", name="Anchor to the sources").click()
    page.get_by_role("option", name="Keep between the sources").click()
    panel.get_by_role("button", name="Fuse all").click()
    wait_for_status(panel, "5 fused.")
    path = downloaded(page, panel, "Download all as zip", tmp_path / "fused.zip")
    first, *rows, end, command = panel.locator("pre code").inner_text().strip().splitlines()
    assert (first, end) == ("cat > pairs.csv <<'END'", "END")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    folders = [tmp_path / name for name in TASKS["multi-focus"].folders]
    for side, folder in enumerate(folders):
        folder.mkdir()
        for pair in example_pairs("multi-focus"):
            shutil.copy(pair.paths[side], folder)
    monkeypatch.chdir(tmp_path)
    done = refusion(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                assert member.read() == (tmp_path / "fused" / name.replace("_fused", "")).read_bytes(), name


def test_a_model_on_the_hub_is_named_in_the_settings(visit, hub, tmp_path):
    page = visit()
    panel = shown_in(page)
    pair = [EXAMPLES / f"ir-vis_{name}.png" for name in ("ir", "vis")]
    panel.get_by_role("button", name="Settings").click()
    model = panel.get_by_role("combobox", name="Model")
    model.fill("visitor/nothing")
    model.press("Enter")
    wait_for_status(panel, "This result is from before your last change.")
    fuse(panel)
    panel.get_by_role("alert").get_by_text("There is no public model visitor/nothing on the Hub").first.wait_for()

    model.fill("visitor/refusion")
    model.press("Enter")
    panel.get_by_role("textbox", name="Revision").fill("v1")
    page.wait_for_timeout(1000)
    fuse(panel)
    panel.get_by_text("model visitor/refusion").wait_for(timeout=LONG)
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    assert_same(path, fused_by_tag(hub, pair, tmp_path))


def test_sixteen_bits_go_in_and_come_out(visit, tmp_path):
    rng = np.random.default_rng(5)
    paths, steps = [tmp_path / "ir.png", tmp_path / "vis.png"], np.linspace(9000, 52000, 160).astype(int)
    for path in paths:
        # More levels than 8 bits have.
        grey = 0.5 * steps + 80 * textured(len(path.name), 120, 160) + rng.integers(0, 200, (120, 160))
        Image.fromarray(grey.astype(np.uint16)).save(path)
    page = visit()
    panel = shown_in(page)
    give(panel, paths)
    wait_for_status(panel, "Result of ir.png and vis.png.")
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    done = refusion("fuse", *paths, "-o", tmp_path / "wanted.png")
    assert done.code == 0, done.err
    with Image.open(path) as fused, Image.open(tmp_path / "wanted.png") as wanted:
        assert fused.mode == wanted.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(wanted))
        assert len(np.unique(np.asarray(fused))) > 256


# ------------------------------------------------------------------------------------------------ for everybody


def test_keys_alone_are_enough(visit):
    page = visit()
    panel = panel_of(page, "Medical")
    wait_for_status(panel, "Result of medical-axial_a.jpg")

    def tab_to(target):
        for _ in range(80):
            page.keyboard.press("Tab")
            if target.evaluate("e => e === document.activeElement"):
                return
        raise AssertionError("the Tab key does not reach it")

    page.get_by_role("tab", name="Medical").first.focus()
    tab_to(panel.get_by_role("button", name="A head phantom"))
    page.keyboard.press("Enter")
    wait_for_status(panel, "Result of medical_functional.png")
    slider = panel.get_by_role("slider", name=re.compile("^Divider between"))
    tab_to(slider)
    page.keyboard.press("End")
    assert slider.input_value() == "100"
    page.keyboard.press("+")
    assert panel.get_by_text("200 %").is_visible()
    tab_to(panel.get_by_role("tab", name="Scores"))
    page.keyboard.press("Enter")
    panel.get_by_role("row", name=re.compile("^SSIM")).wait_for(timeout=LONG)


def test_inputs_are_announced_with_their_names_and_in_english(visit):
    page = visit(locale="de-DE")
    page.get_by_role("button", name="Einstellungen").wait_for()  # Gradio's own labels follow the browser.
    assert page.evaluate("document.documentElement.lang") == "en"
    for task in TASKS.values():
        panel = panel_of(page, task.title)
        for order, label in zip(("First", "Second"), task.labels, strict=True):
            group = panel.get_by_role("group", name=f"{order}: {label}", exact=True)
            assert group.get_by_role("button", name=re.compile("hochladen|upload", re.I)).count() >= 1, label


@widths
def test_the_figure_of_the_method_has_its_arrows(visit, size):
    panel = panel_of(visit(size), "About")
    figure = panel.locator("figure.method svg").filter(visible=True)
    assert figure.count() == 1
    wanted = set(re.findall(r"url\(#([\w-]+)\)", figure.inner_html()))
    assert wanted
    for name in wanted:
        assert figure.locator(f"marker#{name}").count() == 1  # One in a figure that is not shown draws nothing.


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci --prefix tests")
@pytest.mark.parametrize(("size", "look"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide light", "phone dark"])
def test_axe_finds_nothing_serious_on_any_tab(visit, size, look):
    page = visit(size, color_scheme=look)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert max(background) < 60 if look == "dark" else min(background) > 200
    page.add_script_tag(path=AXE)
    for title in TITLES:
        panel = panel_of(page, title)
        if title not in ("Batch", "About"):
            wait_for_status(panel, "Result of")
            panel.get_by_role("button", name="Settings").click()
        page.wait_for_timeout(300)  # Fading in changes contrasts.
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        serious = [
            f"{title}: {finding['id']}: {node['html'][:200]} {node['failureSummary']}"
            for finding in found
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]
        assert serious == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_every_example_names_its_origin_and_licence():
    for example in all_examples():
        assert example.origin, example.name
        assert example.licence, example.name
        assert all(path.is_file() for path in example.paths), example.name
