"""What every visitor of the demo sees first, and what serves all: keys, screen readers, phones; in a real browser."""

import re

import pytest
from support.visitor import (
    AXE,
    LONG,
    NEEDS,
    PHONE,
    TITLES,
    WIDE,
    give,
    panel_of,
    shown_in,
    status_of,
    top_of,
    wait_for_status,
    widths,
)

from refusion.demo.examples import all_examples, example_pairs
from refusion.tasks import TASKS

pytestmark = NEEDS


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


def test_another_visitor_sees_nothing_of_the_first(visit, small_pair):
    first, second = visit(), visit()
    give(shown_in(first), small_pair)
    wait_for_status(shown_in(first), "Result of small1.png and small2.png.")
    second.wait_for_timeout(500)
    assert "small1.png" not in second.content()


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
