"""Time of fusing on the static page, in Chromium with WebAssembly, as displayed by the page.

    PYTHONPATH=. python benchmarks/browser.py

The page has to be built: `npm ci && npm run build` in space/static. It is served by a web server on 127.0.0.1 and
opened in the system's Chromium. For each task a pair of the given size is fused several times; the first time includes
loading the model.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from refusion.demo.static_page import assemble_static_page
from refusion.tasks import TASKS

LONG = 240_000
"""Milliseconds for what computes."""


def pair(folder: Path, width: int, height: int) -> list[Path]:
    """Two smooth images of noise."""
    rng = np.random.default_rng(0)
    paths = [folder / name for name in ("a.png", "b.png")]
    for path in paths:
        small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return paths


def seconds(page: Page, title: str, paths: list[Path], rounds: int) -> list[float]:
    """Fuse a pair on the tab of a task again and again."""
    page.get_by_role("tab", name=title).click()
    panel = page.get_by_role("tabpanel", name=title)
    times = []
    said = panel.get_by_text(re.compile(r"Fused in .* s\."))
    for _ in range(rounds):
        for index, path in enumerate(paths):
            panel.locator('input[type="file"]').nth(index).set_input_files(path)
            panel.get_by_text(f"{path.name}: ").nth(0).wait_for()
        panel.get_by_role("button", name="Fuse", exact=True).click()
        said.wait_for(timeout=LONG)
        found = re.search(r"Fused in ([\d.]+) s\.", said.inner_text())
        times.append(float(found.group(1)) if found else float("nan"))
        paths = paths[::-1]
    return times


def main() -> int:
    """Print a line for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("There is no chromium here; install it, for instance with apt-get install chromium.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_folder = Path(folder) / "page"
        assemble_static_page(page_folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(page_folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/?device=wasm")
        page.get_by_text("The page is saved and works without a network.").wait_for(timeout=LONG)
        said = page.get_by_text(re.compile(r"Fuses on WebAssembly")).inner_text()
        device = re.search(r"WebAssembly, [^.]*", said)
        size = f"{args.size[0]} x {args.size[1]}"
        print(f"{size}, {device and device.group()}, {os.cpu_count()} cores, Chromium {browser.version}")
        for task in TASKS.values():
            times = seconds(page, task.title, pair(Path(folder), *args.size), args.rounds)
            print(f"{task.name}: {', '.join(f'{time:.2f}' for time in times)} s", flush=True)
        browser.close()
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
