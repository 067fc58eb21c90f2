"""A pair in the demo from upload to download, in a real browser."""

import re

import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.demo_hub import fused_by_tag
from support.scenes import EXAMPLES, textured
from support.visitor import (
    LONG,
    NEEDS,
    PHONE,
    assert_same,
    downloaded,
    fuse,
    give,
    press_example,
    shown_in,
    status_of,
    wait_for_status,
    widths,
)

from refusion.models.model import ReFusion

pytestmark = NEEDS


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
    for zoom in ("750 %", "375 %", "188 %", "100 %"):
        panel.get_by_role("button", name="Zoom out").click()
        panel.get_by_text(zoom, exact=True).wait_for()
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


def test_a_small_pair_is_fused_again_by_itself(visit, small_pair, tmp_path):
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

    # Blank borders are filled or kept.
    page.set_viewport_size(PHONE)
    paths = [tmp_path / "ir.png", tmp_path / "vis.png"]
    for seed, path in enumerate(paths):
        pixels = textured(seed + 1, 90, 120)
        if seed == 0:
            pixels[:12] = pixels[:, :12] = 0
        Image.fromarray(pixels).save(path)
    give(panel, paths)
    filled = status_of(panel).get_by_text("which was filled from vis.png")
    filled.wait_for(timeout=LONG)
    borders = panel.get_by_role("combobox", name="Blank borders")
    assert borders.evaluate("e => e.scrollWidth <= e.clientWidth")  # Its text is not cut off.
    borders.click()
    page.get_by_role("option", name="Keep them").click()
    page.wait_for_url("**borders=keep", timeout=LONG)
    filled.wait_for(state="hidden")
    wait_for_status(panel, "Result of ir.png and vis.png.")


def test_what_is_selected_is_seen_in_forced_colours(visit):
    page = visit(forced_colors="active")
    panel = shown_in(page)
    lines = [
        tab.evaluate("e => getComputedStyle(e).textDecorationLine")
        for tab in page.locator(".tasks > .tab-wrapper").get_by_role("tab").all()
    ]
    assert lines == ["underline"] + ["none"] * (len(lines) - 1)
    radio = panel.get_by_role("radio", name="Infrared")
    assert radio.evaluate("e => getComputedStyle(e).appearance") == "auto"


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
    refusal = panel.get_by_role("alert").get_by_text("bad.png is not an image that can be read").first
    refusal.wait_for()
    panel.get_by_role("button", name="Remove Image").first.click()
    refusal.wait_for(state="hidden")
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
