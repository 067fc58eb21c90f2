"""A running demo, a browser, and pairs to upload."""

import pytest
from PIL import Image
from support.demo_server import Server
from support.scenes import textured
from support.visitor import CHROMIUM, LONG, WIDE, shown_in


@pytest.fixture(scope="module")
def server(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    hub_client = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "home")}
    server = Server(folder, "--max-megapixels", "4", **hub_client)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
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
