"""What the tests of the demo do in a real browser: Debian's chromium, driven by Playwright."""

import re
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from support.demo_server import ROOT

from refusion.hub.names import has_weights
from refusion.tasks import TASKS

CHROMIUM = shutil.which("chromium")
AXE = ROOT / "tests/node_modules/axe-core/axe.min.js"

NEEDS = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
    pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="the weights refusion-ir-vis are not bundled"),
]
"""Marks of every test in a browser."""

LONG = 240_000
"""Milliseconds for what computes, on a machine that does other things too."""

TITLES = (*(task.title for task in TASKS.values()), "Stack", "Batch", "About")

WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 375, "height": 800}
widths = pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])


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


def files_of(panel, label):
    return panel.get_by_role("group", name=re.compile(f"^{label}")).locator('input[type="file"]')


def names_in(panel, number=0):
    return [
        text.split(". ", 1)[1] for text in panel.locator(".thumbnails").nth(number).locator(".name").all_inner_texts()
    ]
