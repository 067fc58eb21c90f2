"""What takes seconds in the demo, and what changes in the meantime, in a real browser."""

import re

import pytest
from PIL import Image
from support.scenes import textured
from support.visitor import (
    LONG,
    NEEDS,
    WIDE,
    files_of,
    fuse,
    give,
    panel_of,
    press_example,
    shown_in,
    status_of,
    top_of,
    wait_for_status,
    widths,
)

pytestmark = NEEDS


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
    example, checks = [], []

    # The example is asked for, but the page is not told its number, so it cannot cancel it.
    def hold_example(route):
        if '"name":"ir-vis-night"' in route.request.post_data:
            example.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/queue/join*", hold_example)
    press_example(panel, "A street by night")
    give(panel, small_pair)
    wait_for_status(panel, "Result of small1.png and small2.png.")
    # It comes, and stays only until the page has been answered that the upload is newer.
    page.route("**/queue/join*", lambda route: checks.append(route))
    [(route, answer)] = example
    route.fulfill(response=answer)
    panel.get_by_text("Example: A street by night").wait_for(timeout=LONG)
    page.route("**/queue/join*", lambda route: route.continue_())
    for route in checks:
        route.continue_()
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
    asked = []
    first.on("request", lambda request: asked.append(request) if "/queue/join" in request.url else None)
    panel.get_by_role("button", name="Fuse", exact=True).evaluate("e => { e.click(); e.click(); }")
    panel.get_by_text(re.compile("Fusing, about .* left")).wait_for(timeout=LONG)
    cancel.wait_for()
    again = panel.get_by_role("button", name="Fuse", exact=True)
    assert again.evaluate("e => getComputedStyle(e).pointerEvents") == "none"
    again.press("Enter")
    first.evaluate("y => window.scrollTo(0, y)", scrolled)
    assert [top_of(panel.locator(part)) for part in (".stage", ".actions", ".examples")] == pytest.approx(places, abs=1)

    fuse(other)
    assert len(asked) == 1  # Neither a double click nor a key has started a second job.
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
