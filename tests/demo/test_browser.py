"""The demo in a real browser: Debian's chromium, driven by Playwright."""

import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.demo_hub import fused_by_tag, visitors_hub
from support.demo_server import ROOT, Server
from support.scenes import textured

from refusion.hub.names import has_weights
from refusion.images import read_picture
from refusion.metrics.figures import levels
from refusion.metrics.stack import score_stack
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
    pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="the weights refusion-ir-vis are not bundled"),
]

LONG = 120_000
"""Milliseconds for what computes, on a machine that does other things too."""


@pytest.fixture(scope="module")
def hub():
    server = visitors_hub()
    yield server
    server.shutdown()


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
    """Opens the page for a new visitor; at the end no page may have logged an error."""
    contexts, complaints = [], []

    def open_page(width=1280, height=900, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.url)
        page.get_by_role("button", name="Fuse", exact=True).first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def panel_of(page, title):
    """Open a tab, from the menu where it does not fit, and return what it shows."""
    tab = page.get_by_role("tab", name=title, exact=True)
    opened = page.get_by_role("tab", name=title, exact=True, selected=True)
    for _ in range(10):
        # A click that comes before the page listens is lost.
        if tab.first.is_visible():
            tab.first.click()
        else:
            page.locator(".overflow-menu > button").click()
            page.locator(".overflow-dropdown button", has_text=title).click()
        try:
            opened.first.wait_for(timeout=3000)
            break
        except playwright.TimeoutError:
            continue
    opened.first.wait_for()
    return page.get_by_role("tabpanel").filter(visible=True).first


def fuse_example(panel, title):
    panel.get_by_role("button", name=title).click()
    panel.get_by_role("heading", name="Result").wait_for(timeout=LONG)
    panel.locator(".compare").wait_for(timeout=LONG)


def give(place, files, shown):
    """Choose files in an upload; again if a page that has just been opened did not hear of it."""
    place.set_input_files(files)
    try:
        shown.wait_for(timeout=LONG / 4)
    except playwright.TimeoutError:
        place.set_input_files(files)
        shown.wait_for()


def downloaded(page, panel, button, path):
    with page.expect_download() as waiting:
        panel.get_by_role("button", name=button).click()
    waiting.value.save_as(path)
    return path


def assert_same(path, wanted):
    with Image.open(path) as fused:
        assert fused.format == "PNG"
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(wanted))


def test_an_example_is_fused_compared_and_downloaded(visit, tmp_path):
    page = visit()
    panel = panel_of(page, "Infrared + visible")
    fuse_example(panel, "A street at dusk")

    comparison = panel.locator(".compare")
    slider = panel.get_by_role("slider", name=re.compile("How much of the source"))
    slider.scroll_into_view_if_needed()
    box = comparison.locator(".over").bounding_box()
    slider.click(position={"x": 0.8 * box["width"], "y": 0.5 * box["height"]})
    assert 70 < int(slider.input_value()) < 90
    moved = slider.input_value()
    slider.press("ArrowLeft")
    assert int(slider.input_value()) == int(moved) - 1
    assert comparison.evaluate("e => e.style.getPropertyValue('--at')") == f"{int(moved) - 1}%"
    infrared, visible = (comparison.get_by_alt_text(f"{name} source") for name in ("Infrared", "Visible"))
    assert (infrared.is_visible(), visible.is_visible()) == (True, False)
    panel.get_by_role("radio", name="Visible").check()
    assert (infrared.is_visible(), visible.is_visible()) == (False, True)
    for picture in (visible, comparison.get_by_alt_text("Fused picture")):
        assert picture.evaluate("e => e.complete && e.naturalWidth") == 480

    assert panel.get_by_alt_text("Fused picture of ir-vis_ir.png and ir-vis_vis.png").is_visible()
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    examples = ROOT / "space/examples"
    wanted = ReFusion.from_pretrained("refusion-ir-vis").fuse(examples / "ir-vis_ir.png", examples / "ir-vis_vis.png")
    assert_same(path, wanted)

    panel.get_by_role("button", name="Scores").click()
    assert panel.get_by_role("row", name=re.compile("^Qabf")).inner_text(timeout=LONG).count("higher") == 1
    panel.get_by_role("button", name="Where the learned loss looked").click()
    panel.get_by_alt_text(re.compile("^Map of w")).wait_for(timeout=LONG)
    assert panel.get_by_alt_text(re.compile("as got back out of the fused picture")).count() == 2


def test_another_visitor_sees_nothing_of_the_first(visit):
    first, second = visit(), visit()
    fuse_example(panel_of(first, "Medical"), "A head phantom")
    assert not second.get_by_role("heading", name="Result").first.is_visible()
    panel_of(second, "Medical")
    second.wait_for_timeout(500)
    assert second.locator(".compare").count() == 0


def test_what_does_not_fit_is_said_in_a_toast_and_beside_the_input(visit, tmp_path):
    page = visit()
    panel = panel_of(page, "Infrared + visible")
    bad, good, small = tmp_path / "bad.png", tmp_path / "good.png", tmp_path / "small.png"
    bad.write_text("no picture at all")
    Image.fromarray(textured(1)).save(good)
    Image.fromarray(textured(2, 40, 40)).save(small)

    page.get_by_role("button", name="Fuse", exact=True).first.click()
    page.locator(".toast-body").get_by_text("The infrared picture is missing").wait_for()
    panel.locator('input[type="file"]').first.set_input_files(bad)
    panel.get_by_role("alert").get_by_text("bad.png is not a picture that can be read").first.wait_for()
    assert "Traceback" not in page.content()

    page = visit()
    panel = panel_of(page, "Infrared + visible")
    inputs = panel.locator('input[type="file"]')
    give(inputs.first, good, panel.get_by_text("good.png: 64 x 48 pixels, grey."))
    misfit = "good.png is 64 x 48 and small.png is 40 x 40"
    give(inputs.last, small, panel.get_by_role("alert").get_by_text(misfit))
    panel.get_by_role("button", name="Fuse", exact=True).click()
    page.locator(".toast-body").get_by_text("must match pixel for pixel").first.wait_for()
    assert "Traceback" not in page.content()


def test_swapping_and_cancelling(visit, tmp_path):
    page = visit()
    panel = panel_of(page, "Multi-focus")
    paths = [tmp_path / "near.png", tmp_path / "far.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 1000, 1400)).save(path)
    inputs = panel.locator('input[type="file"]')
    give(inputs.first, paths[0], panel.get_by_text("near.png: 1400 x 1000 pixels, grey."))
    give(inputs.last, paths[1], panel.get_by_text("far.png: 1400 x 1000 pixels, grey."))
    panel.get_by_role("button", name="Swap").click()
    first = panel.locator(".sources .column").first
    first.get_by_text("far.png: 1400 x 1000").wait_for()
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.get_by_text(re.compile("left|almost done")).first.wait_for(timeout=LONG)
    panel.get_by_role("button", name="Cancel").click()
    panel.get_by_text("Cancelled; nothing was fused.").wait_for()
    fuse_example(panel, "A cup before a shelf")


def test_a_batch_gives_one_archive_and_lists_the_bad(visit, tmp_path):
    page = visit()
    panel = panel_of(page, "Batch")
    lists = []
    for side, folder in enumerate(("ir", "vis")):
        (tmp_path / folder).mkdir()
        lists.append([tmp_path / folder / f"{name}.png" for name in ("street", "torn")])
        for index, path in enumerate(lists[-1]):
            Image.fromarray(textured(10 * side + index)).save(path)
    lists[1][1].write_bytes(lists[1][1].read_bytes()[:300])
    for name, paths in zip(("First", "Second"), lists, strict=True):
        group = panel.get_by_role("group", name=re.compile(f"^{name} of each pair"))
        give(group.locator('input[type="file"]'), paths, group.get_by_text("torn").first)
    panel.get_by_role("button", name="Fuse all").click()
    panel.get_by_text("1 fused, 1 not; the list says why.").wait_for(timeout=LONG)
    panel.get_by_role("row", name=re.compile("^torn torn.png cannot be decoded")).wait_for()
    path = downloaded(page, panel, "Download all as zip", tmp_path / "fused.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["street_fused.png", "failed.txt"]


def test_a_stack_is_fused(visit):
    page = visit()
    panel = panel_of(page, "Stack")
    fuse_example(panel, "A room in three exposures")
    assert panel.get_by_alt_text("Fused picture of 3 pictures").is_visible()
    assert panel.locator(".compare").get_by_role("radio").count() == 3
    panel.get_by_role("button", name="Scores").click()
    row = panel.get_by_role("row", name=re.compile("^SSIM"))
    row.wait_for(timeout=LONG)
    examples = [ROOT / f"space/examples/multi-exposure_{name}.png" for name in ("under", "middle", "over")]
    model = ReFusion.from_pretrained("refusion-multi-exposure")
    frames, fused = [levels(read_picture(path).luminance) for path in examples], model.fuse_stack(examples)
    wanted = score_stack(frames, levels(read_picture(fused).luminance))["SSIM"]
    assert f"{wanted:.3f}" in row.inner_text()


def test_a_model_on_the_hub_is_named_in_the_settings(visit, hub, tmp_path):
    page = visit()
    panel = panel_of(page, "Infrared + visible")
    pair = [ROOT / f"space/examples/ir-vis_{name}.png" for name in ("ir", "vis")]
    for number, path in enumerate(pair):
        place = panel.locator('input[type="file"]').nth(number)
        give(place, path, panel.get_by_text(f"{path.name}: 480 x 360 pixels"))
    panel.get_by_role("button", name="Settings").click()
    model = panel.get_by_role("combobox", name="Model")
    model.fill("visitor/nothing")
    model.press("Enter")
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.get_by_role("alert").get_by_text("There is no public model visitor/nothing on the Hub").wait_for()

    model.fill("visitor/refusion")
    model.press("Enter")
    panel.get_by_role("textbox", name="Revision").fill("v1")
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.locator(".compare").wait_for(timeout=LONG)
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    assert_same(path, fused_by_tag(hub, pair, tmp_path))


def test_sixteen_bits_go_in_and_come_out(visit, tmp_path):
    rng = np.random.default_rng(5)
    paths, levels = [tmp_path / "ir.png", tmp_path / "vis.png"], np.linspace(9000, 52000, 160).astype(int)
    for path in paths:
        # More levels than 8 bits have.
        grey = 0.5 * levels + 80 * textured(len(path.name), 120, 160) + rng.integers(0, 200, (120, 160))
        Image.fromarray(grey.astype(np.uint16)).save(path)
    page = visit()
    panel = panel_of(page, "Infrared + visible")
    for number, path in enumerate(paths):
        place = panel.locator('input[type="file"]').nth(number)
        give(place, path, panel.get_by_text(f"{path.name}: 160 x 120 pixels"))
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.locator(".compare").wait_for(timeout=LONG)
    path = downloaded(page, panel, "Download in full quality", tmp_path / "fused.png")
    done = refusion("fuse", *paths, "-o", tmp_path / "wanted.png")
    assert done.code == 0, done.err
    with Image.open(path) as fused, Image.open(tmp_path / "wanted.png") as wanted:
        assert fused.mode == wanted.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(fused), np.asarray(wanted))
        assert len(np.unique(np.asarray(fused))) > 256


def test_a_phone_in_the_dark_shows_every_tab_without_scrolling_sideways(visit):
    page = visit(375, 800, color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor").startswith("rgb(")
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert max(red, green, blue) < 60
    for title in (*(task.title for task in TASKS.values()), "Stack", "Batch", "About"):
        panel_of(page, title).wait_for()
        page.wait_for_function("document.documentElement.scrollWidth <= 375")


def test_keys_alone_are_enough(visit):
    page = visit()
    panel = panel_of(page, "Medical")
    example = panel.get_by_role("button", name="A head phantom")

    def tab_to(target):
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("e => e === document.activeElement"):
                return
        raise AssertionError("the Tab key does not reach it")

    page.get_by_role("tab", name="Medical").first.focus()
    tab_to(example)
    page.keyboard.press("Enter")
    panel.locator(".compare").wait_for(timeout=LONG)
    slider = panel.get_by_role("slider", name=re.compile("How much of the source"))
    tab_to(slider)
    page.keyboard.press("End")
    assert slider.input_value() == "100"
    tab_to(panel.get_by_role("button", name="Scores"))
    page.keyboard.press("Enter")
    panel.get_by_role("row", name=re.compile("^SSIM")).wait_for(timeout=LONG)


def test_inputs_are_announced_with_their_names(visit):
    page = visit()
    for task in TASKS.values():
        panel = panel_of(page, task.title)
        for label in task.labels:
            name = label[0].upper() + label[1:]
            group = panel.get_by_role("group", name=name, exact=True)
            assert group.get_by_role("button", name=re.compile("upload", re.I)).count() >= 1, name
