"""The static page in a real browser: it fuses as `refusion fuse` does, asks nobody else, and works without a network.

It has to be built: `npm ci && npm run build` in space/static.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from support.command import refusion
from support.firefox import FIREFOX, Firefox
from support.hub_server import TOKEN, HubServer
from support.raw import write_dng
from support.scenes import EXAMPLES, ROOT, textured
from support.visitor import AXE

from refusion.hub.names import has_weights
from refusion.tasks import TASKS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
    pytest.mark.skipif(not has_weights("refusion-ir-vis"), reason="the weights refusion-ir-vis are not bundled"),
    pytest.mark.skipif(
        not (ROOT / "space/static/dist/index.html").is_file(),
        reason="the page is not built: npm ci && npm run build in space/static",
    ),
]

LONG = 240_000
"""Milliseconds for what computes, on a machine that does other things too."""

TITLES = {
    "ir-vis": "A street at dusk",
    "medical": "A head phantom",
    "multi-focus": "A cup before a shelf",
    "multi-exposure": "A room with a window",
}


class _Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` answers with, without its log."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "page"
    done = refusion("space", "--static", "--to", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def url(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium():
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    # A GPU in software, which the page uses only if it is asked to.
    flags += ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium, url):
    """One visitor, whose browser keeps the page; every request that leaves the page's server is noted."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    context.asked = []
    context.on("request", lambda request: context.asked.append(request.url))
    page = context.new_page()
    page.goto(url)
    # The service worker takes over, the page is loaded again, and all of it is kept.
    page.get_by_text("The page is saved and works without a network.").wait_for(timeout=LONG)
    assert page.evaluate("crossOriginIsolated")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(context, url):
    """The page; at the end it may have logged no error, and asked no other server."""
    complaints = []
    page = opened(context, url, complaints)
    yield page
    page.close()
    assert complaints == []
    others = {x for x in context.asked if not x.startswith((url, "blob:")) and urlsplit(x).scheme != "data"}
    assert others == set()


def opened(context, url, complaints=None):
    page = context.new_page()
    if complaints is not None:
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    page.get_by_text(re.compile(r"Fuses on WebAssembly, (\d+ threads|one thread)")).wait_for()
    return page


def panel_of(page, title):
    page.get_by_role("tab", name=title).click()
    return page.get_by_role("tabpanel", name=title)


def give(panel, *paths):
    for index, path in enumerate(paths):
        panel.locator('input[type="file"]').nth(index).set_input_files(path)
        panel.get_by_text(f"{path.name}: ").nth(0).wait_for()


def fused(page, panel, path):
    """Wait for the result, and download it."""
    panel.get_by_text(re.compile(r"Fused in .* s\.")).wait_for(timeout=LONG)
    with page.expect_download() as waiting:
        panel.get_by_role("link", name="Download as PNG").click()
    waiting.value.save_as(path)
    return path


def assert_same(path, wanted, level=1):
    """Within one grey level on 99.9 % of the pixels."""
    with Image.open(path) as one, Image.open(wanted) as other:
        assert (one.format, one.mode) == ("PNG", other.mode)
        difference = np.abs(np.asarray(one, int) - np.asarray(other, int))
    if difference.ndim == 3:
        difference = difference.max(axis=2)
    assert (difference > level).mean() <= 0.001


def fuse_here(tmp_path, *arguments):
    """What the command makes of the same pair."""
    done = refusion("fuse", *arguments, "-o", tmp_path / "wanted.png")
    assert done.code == 0, done.err
    return tmp_path / "wanted.png"


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_an_example_is_fused_as_the_command_does(page, task, tmp_path):
    panel = panel_of(page, task.title)
    panel.get_by_role("button", name=TITLES[task.name]).click()
    got = fused(page, panel, tmp_path / "fused.png")
    pair = [EXAMPLES / f"{task.name}_{name}.png" for name in task.folders]
    assert_same(got, fuse_here(tmp_path, *pair, "--task", task.name))
    slider = panel.get_by_role("slider")
    slider.press("Home")
    assert slider.input_value() == "0"
    panel.get_by_role("radio").nth(1).check()
    assert panel.get_by_role("img", name=re.compile(" source$")).count() == 1


@pytest.mark.parametrize("task", ["ir-vis", "multi-focus"])
def test_what_goes_through_in_tiles_is_the_same(page, task, tmp_path):
    chosen = TASKS[task]
    paths = [tmp_path / f"{name}.png" for name in chosen.folders]
    for name, path in zip(chosen.folders, paths, strict=True):
        with Image.open(EXAMPLES / f"{task}_{name}.png") as image:
            image.convert("RGB").resize((683, 517)).save(path)
    panel = panel_of(page, chosen.title)
    give(panel, *paths)
    panel.get_by_role("button", name="Fuse", exact=True).click()
    bar = panel.get_by_role("progressbar")
    bar.and_(page.locator("[value]")).wait_for(timeout=LONG)
    assert 0 < float(bar.get_attribute("value")) < 1
    got = fused(page, panel, tmp_path / "fused.png")
    assert_same(got, fuse_here(tmp_path, *paths, "--task", task))


def test_settings_are_those_of_the_command(page, tmp_path):
    paths = [tmp_path / "under.png", tmp_path / "over.png"]
    for seed, path in enumerate(paths):
        channels = [textured(3 * seed + i, 60, 80) for i in range(3)]
        Image.fromarray(np.stack(channels, axis=-1)).save(path)
    panel = panel_of(page, "Multi-exposure")
    give(panel, *paths)
    panel.get_by_text("Settings").click()
    panel.get_by_label("Range of the grey levels").select_option(label="Stretch from black to white")
    panel.get_by_label("Anchor to the sources").select_option(label="No anchor")
    panel.get_by_label("Colour").select_option(label="From both, by saturation")
    panel.get_by_role("button", name="Fuse", exact=True).click()
    got = fused(page, panel, tmp_path / "fused.png")
    wanted = ["--task", "multi-exposure", "--stretch", "--chroma", "saturation"]
    assert_same(got, fuse_here(tmp_path, *paths, *wanted))


def deep_pair(tmp_path, suffix):
    rng = np.random.default_rng(5)
    paths = [tmp_path / f"{name}{suffix}" for name in ("ir", "vis")]
    for seed, path in enumerate(paths):
        levels = np.linspace(9000, 40_000, 80) + 80 * textured(seed, 60, 80) + rng.integers(0, 200, (60, 80))
        Image.fromarray(levels.astype(np.uint16)).save(path)
    return paths


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_go_in_and_come_out(page, suffix, tmp_path):
    paths = deep_pair(tmp_path, suffix)
    panel = panel_of(page, "Infrared + visible")
    give(panel, *paths)
    assert panel.get_by_text("80 x 60 pixels, grey, 16 bits.").count() == 2
    panel.get_by_role("button", name="Fuse", exact=True).click()
    got = fused(page, panel, tmp_path / "fused.png")
    # A 16th of a level of 8 bits.
    assert_same(got, fuse_here(tmp_path, *paths), level=16)
    with Image.open(got) as image:
        assert image.mode == "I;16"


UPRIGHT = {
    ".png": {},
    ".jpg": {"quality": 100, "subsampling": 0},
    ".tif": {},
    ".webp": {"lossless": True},
    ".avif": {"quality": 100, "subsampling": "4:4:4"},
}
"""Options that keep the pixels, by suffix."""


@pytest.mark.parametrize("suffix", UPRIGHT)
def test_a_photograph_on_its_side_is_turned_upright(page, suffix, tmp_path):
    paths = [tmp_path / f"{name}{suffix}" for name in ("ir", "vis")]
    for seed, path in enumerate(paths):
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.fromarray(np.stack([textured(3 * seed + i, 60, 80) for i in range(3)], axis=-1))
        image.save(path, exif=exif, **UPRIGHT[suffix])
    panel = panel_of(page, "Infrared + visible")
    give(panel, *paths)
    assert panel.get_by_text("60 x 80 pixels, colour.").count() == 2
    panel.get_by_role("button", name="Fuse", exact=True).click()
    got = fused(page, panel, tmp_path / "fused.png")
    # Decoders of JPEG and AVIF differ by a level.
    assert_same(got, fuse_here(tmp_path, *paths), level=3 if suffix in (".jpg", ".avif") else 1)


def test_alpha_of_both_stays(page, tmp_path):
    paths = [tmp_path / "ir.png", tmp_path / "vis.png"]
    for seed, path in enumerate(paths):
        image = Image.fromarray(textured(seed, 60, 80)).convert("RGBA")
        image.putalpha(Image.fromarray(np.tile(np.linspace(100, 255, 80).astype(np.uint8), (60, 1))))
        image.save(path)
    panel = panel_of(page, "Infrared + visible")
    give(panel, *paths)
    panel.get_by_role("button", name="Fuse", exact=True).click()
    got = fused(page, panel, tmp_path / "fused.png")
    assert_same(got, fuse_here(tmp_path, *paths), level=2)


def test_a_hole_is_filled_from_the_other(page, tmp_path):
    paths = [tmp_path / "ir.png", tmp_path / "vis.png"]
    hole = np.full((60, 80), 255, np.uint8)
    hole[10:40, 20:50], hole[40:45, 20:50] = 0, 100
    holed = Image.fromarray(textured(0, 60, 80)).convert("LA")
    holed.putalpha(Image.fromarray(hole))
    holed.save(paths[0])
    Image.fromarray(np.dstack([textured(seed, 60, 80) for seed in (1, 2, 3)])).save(paths[1])
    panel = panel_of(page, "Infrared + visible")
    give(panel, *paths)
    panel.get_by_role("button", name="Fuse", exact=True).click()
    assert_same(fused(page, panel, tmp_path / "fused.png"), fuse_here(tmp_path, *paths), level=2)


def test_what_cannot_be_fused_is_refused_in_sentences(page, tmp_path):
    files = {
        name: tmp_path / name for name in ("empty.png", "text.png", "torn.png", "tiny.png", "good.png", "other.png")
    }
    files["empty.png"].touch()
    files["text.png"].write_text("no image at all")
    Image.fromarray(textured(1)).save(files["good.png"])
    files["torn.png"].write_bytes(files["good.png"].read_bytes()[:300])
    Image.fromarray(textured(1, 7, 64)).save(files["tiny.png"])
    Image.fromarray(textured(2, 40, 40)).save(files["other.png"])
    frames = [Image.fromarray(textured(seed)) for seed in range(2)]
    frames[0].save(tmp_path / "frames.webp", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "frames.gif")
    Image.fromarray(textured(1).astype(np.float32)).save(tmp_path / "floats.tif")
    write_dng(tmp_path / "camera.dng", np.full((48, 64, 3), 0.5), preview=True)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    (tmp_path / "slice.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    (tmp_path / "video.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomavc1" + bytes(100))
    (tmp_path / "noise.png").write_bytes(bytes(range(200)))
    panel = panel_of(page, "Infrared + visible")
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.get_by_role("alert").get_by_text("The infrared image is missing").wait_for()
    for name, sentence in {
        "empty.png": "empty.png is an empty file",
        "text.png": "text.png is a text file, but an image must be PNG, JPEG, TIFF, BMP, WebP or AVIF",
        "noise.png": "noise.png is not an image that can be read",
        "camera.dng": "camera.dng is a camera raw file, or has a preview before its image",
        "phone.heic": "phone.heic is a HEIC image, which this browser cannot read",
        "slice.dcm": "slice.dcm is a DICOM file, but",
        "frames.gif": "frames.gif is a GIF, but",
        "video.mp4": "choose it on the Live tab",
        "torn.png": "torn.png cannot be decoded",
        "tiny.png": "tiny.png is 64 x 7 pixels; an image is at least 8 x 8",
        "frames.webp": "frames.webp holds several frames",
        "pages.tif": "pages.tif holds several frames",
        "floats.tif": "but floats must be in 0 to 1",
    }.items():
        panel.locator('input[type="file"]').first.set_input_files(tmp_path / name)
        panel.get_by_role("alert").get_by_text(sentence).wait_for()
    give(panel, files["good.png"], files["other.png"])
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.get_by_role("alert").get_by_text("good.png is 64 x 48 and other.png is 40 x 40: register them").wait_for()


def test_cancelling_stops_and_the_page_goes_on(page, tmp_path):
    large = [tmp_path / "near.png", tmp_path / "far.png"]
    for seed, path in enumerate(large):
        Image.fromarray(textured(seed, 1000, 1400)).save(path)
    panel = panel_of(page, "Multi-focus")
    give(panel, *large)
    panel.get_by_role("button", name="Fuse", exact=True).click()
    panel.get_by_role("button", name="Cancel").click()
    panel.get_by_text("Cancelled; nothing was fused.").wait_for()
    small = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(small):
        Image.fromarray(textured(seed, 60, 80)).save(path)
    give(panel, *small)
    panel.get_by_role("button", name="Swap").click()
    panel.get_by_role("group", name="Near focus").get_by_text("b.png: 80 x 60").wait_for()
    panel.get_by_role("button", name="Fuse", exact=True).click()
    got = fused(page, panel, tmp_path / "fused.png")
    assert_same(got, fuse_here(tmp_path, *reversed(small), "--task", "multi-focus"))


def test_without_a_network_it_still_fuses(context, page, url):
    context.set_offline(True)
    try:
        page.reload()
        panel = panel_of(page, "Medical")
        panel.get_by_role("button", name="A head phantom").click()
        panel.get_by_role("link", name="Download as PNG").wait_for(timeout=LONG)
    finally:
        context.set_offline(False)


def test_no_script_but_its_own_runs(context, url):
    page = opened(context, url)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'changed'";
            document.body.append(script);
        }"""
    )
    assert page.title() == "ReFusion in your browser"
    page.close()


def test_webassembly_takes_over_from_a_gpu_that_fails(chromium, url, tmp_path):
    context = chromium.new_context(service_workers="block")
    context.set_default_timeout(60_000)
    try:
        page = context.new_page()
        page.goto(f"{url}?device=webgpu")
        if not page.evaluate("navigator.gpu?.requestAdapter().then(adapter => adapter !== null)"):
            pytest.skip("this Chromium has no WebGPU adapter, not even in software")
        page.get_by_text("Fuses on WebGPU.").wait_for()
        context.route(re.compile("asyncify"), lambda route: route.abort())
        panel = panel_of(page, "Multi-focus")
        paths = [tmp_path / "near.png", tmp_path / "far.png"]
        for seed, path in enumerate(paths):
            Image.fromarray(textured(seed, 60, 80)).save(path)
        give(panel, *paths)
        panel.get_by_role("button", name="Fuse", exact=True).click()
        got = fused(page, panel, tmp_path / "fused.png")
        assert page.get_by_text(re.compile(r"Fuses on WebAssembly, one thread \(WebGPU failed: ")).is_visible()
        assert_same(got, fuse_here(tmp_path, *paths, "--task", "multi-focus"))
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_tab_without_scrolling_sideways(context, page, scheme):
    page.set_viewport_size({"width": 375, "height": 800})
    page.emulate_media(color_scheme=scheme)
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]
    assert (max(red, green, blue) < 60) == (scheme == "dark")
    for title in (*(task.title for task in TASKS.values()), "Live", "About"):
        panel_of(page, title).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, title


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci --prefix tests")
def test_axe_finds_nothing_serious_on_any_tab(page, tmp_path):
    page.emulate_media(color_scheme="dark")
    page.evaluate(AXE.read_text())  # The page allows no script tag but its own.
    panel = panel_of(page, "Medical")
    panel.get_by_role("button", name="A head phantom").click()
    panel.get_by_role("link", name="Download as PNG").wait_for(timeout=LONG)
    bad = tmp_path / "text.png"
    bad.write_text("no image at all")
    panel.locator('input[type="file"]').first.set_input_files(bad)
    panel.get_by_role("alert").wait_for()
    for title in ("Live", "About", "Medical"):  # The other tasks are like this one.
        panel = panel_of(page, title)
        for settings in panel.get_by_text("Settings", exact=True).all():
            settings.click()
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        assert [(x["id"], x["nodes"][0]["html"]) for x in found if x["impact"] in ("serious", "critical")] == [], title


def test_the_selected_tab_is_seen_in_forced_colours(page):
    page.emulate_media(forced_colors="active")
    lines = [tab.evaluate("e => getComputedStyle(e).borderBottomWidth") for tab in page.get_by_role("tab").all()]
    assert lines == ["3px"] + ["0px"] * (len(lines) - 1)


def test_a_slow_connection_and_a_lost_one_are_told(chromium, url):
    context = chromium.new_context(service_workers="block")
    context.set_default_timeout(60_000)
    try:
        page = opened(context, url)
        panel = panel_of(page, "Medical")
        asked, held = [], []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.route("**/medical_mri.png", lambda route: held.append(route))
        example = panel.get_by_role("button", name="A head phantom")
        example.dblclick()
        panel.get_by_role("status").get_by_text("Loading the example …").wait_for()
        while not held:
            page.wait_for_timeout(50)
        held[0].abort()
        lost = panel.get_by_role("alert").get_by_text("could not be loaded; check the network connection")
        lost.get_by_text("The example").wait_for()
        assert sorted(asked) == ["medical_functional.png", "medical_mri.png"]

        page.unroute("**/medical_mri.png")
        page.route("**/finished.onnx", lambda route: route.abort())
        example.click()
        lost.get_by_text("The model").wait_for()
        page.unroute("**/finished.onnx")
        fuse = panel.get_by_role("button", name="Fuse", exact=True)
        fuse.press("Enter")
        panel.get_by_text("Fusing …").wait_for()
        assert fuse.evaluate("e => e === document.activeElement && e.getAttribute('aria-disabled') === 'true'")
        panel.get_by_role("link", name="Download as PNG").wait_for(timeout=LONG)

        page.route("**/page.json", lambda route: route.abort())
        page.reload()
        page.get_by_role("alert").get_by_text("The page could not be loaded").wait_for()
    finally:
        context.close()


@pytest.mark.parametrize("lost", ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"])
def test_a_program_that_was_not_loaded_is_loaded_by_the_next_try(chromium, url, lost):
    context = chromium.new_context(service_workers="block")
    context.set_default_timeout(60_000)
    try:
        context.route(f"**/{lost}", lambda route: route.abort())
        page = context.new_page()
        page.goto(url + "?device=wasm")
        panel = panel_of(page, "Medical")
        panel.get_by_role("button", name="A head phantom").click()
        panel.get_by_role("alert").get_by_text("The fusion program could not be loaded").wait_for()
        context.unroute(f"**/{lost}")
        panel.get_by_role("button", name="Fuse", exact=True).click()
        panel.get_by_role("link", name="Download as PNG").wait_for(timeout=LONG)
        page.get_by_text(re.compile(r"Fuses on WebAssembly, (\d+ threads|one thread)\.")).wait_for()
    finally:
        context.close()


def test_keys_alone_are_enough(page):
    page.get_by_role("tab", name="Infrared + visible").focus()
    page.keyboard.press("ArrowRight")
    panel = page.get_by_role("tabpanel", name="Medical")
    panel.wait_for()
    example = panel.get_by_role("button", name="A head phantom")
    for _ in range(20):
        page.keyboard.press("Tab")
        if example.evaluate("e => e === document.activeElement"):
            break
    page.keyboard.press("Enter")
    panel.get_by_role("link", name="Download as PNG").wait_for(timeout=LONG)
    assert panel.get_by_role("status").get_by_text("Fused in").is_visible()


def small_videos(tmp_path):
    av = pytest.importorskip("av")
    paths = []
    for seed, name in enumerate(("1-ir.mp4", "2-vis.mp4")):
        paths.append(tmp_path / name)
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            frame = av.VideoFrame.from_ndarray(textured(seed, 120, 160), "gray")
            for _ in range(100):
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return paths


def test_two_videos_are_fused_live(page, tmp_path):
    panel = panel_of(page, "Live")
    panel.get_by_label("Width").select_option("160")
    panel.locator('input[type="file"]').set_input_files(small_videos(tmp_path))
    panel.get_by_text(re.compile(r"[\d.]+ frames per second at 160 x 120")).wait_for(timeout=LONG)
    panel.get_by_role("button", name="Stop").click()
    assert panel.get_by_role("button", name="Stop").is_disabled()
    levels = panel.get_by_role("img", name="Fused video").evaluate(
        "e => [...e.getContext('2d').getImageData(0, 60, 160, 1).data].filter((_, i) => i % 4 === 0)"
    )
    assert max(levels) - min(levels) > 50


def test_a_camera_that_shows_both_side_by_side_is_fused_live(context, page, url):
    context.grant_permissions(["camera"], origin=url)
    panel = panel_of(page, "Live")
    panel.get_by_label("Width").select_option("160")
    panel.get_by_role("button", name="Use the camera").click()
    panel.get_by_text(re.compile(r"[\d.]+ frames per second at 160 x \d+")).wait_for(timeout=LONG)
    panel_of(page, "About")
    panel_of(page, "Live").get_by_role("button", name="Stop").wait_for()
    assert panel.get_by_role("button", name="Stop").is_disabled()


@pytest.mark.skipif(FIREFOX is None, reason="there is no Firefox here: apt-get install firefox-esr")
def test_firefox_fuses_too(url, tmp_path):
    paths = [tmp_path / "ir.png", tmp_path / "vis.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 60, 80)).save(path)
    browser = Firefox(tmp_path)
    try:
        browser.open(url)
        browser.wait("return document.body.innerText.includes('The page is saved and works without a network.')")
        assert browser.run("return crossOriginIsolated")
        for index, path in enumerate(paths, 1):
            browser.give(f"#panel-ir-vis .source:nth-of-type({index}) input", path)
            browser.wait("return document.body.innerText.includes(arguments[0] + ': 80 x 60')", path.name)
        browser.run("document.querySelector('#panel-ir-vis .actions .primary').click()")
        browser.wait("return document.querySelector('#panel-ir-vis a[download]') !== null")
        browser.run("document.querySelector('#panel-ir-vis a[download]').click()")
        assert_same(browser.downloaded("ir_fused.png"), fuse_here(tmp_path, *paths))
    finally:
        browser.close()


def test_it_uploads_as_a_static_space(folder, tmp_path):
    hub = HubServer()
    try:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "refusion", "space", "acme/page", "--static"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        repository = hub.repositories["spaces/acme/page"]
        files = repository.commits[repository.branches["main"]]
    finally:
        hub.shutdown()
    assert b"sdk: static" in files["README.md"]
    wanted = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert wanted <= set(files)
    assert files["index.html"] == (folder / "index.html").read_bytes()


def test_the_folder_holds_what_the_page_says(folder):
    for task in TASKS.values():
        assert (folder / "models" / task.model / "finished.onnx").is_file()
    assert {"index.html", "sw.js", "files.js", "page.json", "README.md"} <= {path.name for path in folder.iterdir()}
    text = (folder / "files.js").read_text()
    assert "ort/ort-wasm-simd-threaded.wasm" in text
    assert "asyncify" not in text
