"""Links to a tab of the demo, to an example and to settings, in a real browser."""

import os
import subprocess
import sys

from PIL import Image
from support.scenes import EXAMPLES
from support.visitor import LONG, NEEDS, assert_same, downloaded, shown_in, wait_for_status

pytestmark = NEEDS


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


def test_a_link_with_an_unknown_setting_says_so_and_shows_the_example(visit):
    panel = shown_in(visit(address="?task=ir-vis&range=nonsense"))
    wait_for_status(panel, "This result was made with other settings.")


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
