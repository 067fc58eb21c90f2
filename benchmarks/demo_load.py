"""Load test of the demo: many visitors with good and bad images; checks the answers, and that the memory is freed.

    python benchmarks/demo_load.py --clients 32 --requests 200 --json load.json

Starts `python app.py` on 127.0.0.1 and stops it again.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from machine import describe, write_json
from PIL import Image

from refusion import ReFusion

ROOT = Path(__file__).parents[1]
SIZES = ((96, 128), (120, 90), (64, 200), (150, 150))
BAD = {
    "sizes": "must match pixel for pixel",
    "no image": "is a text file and not an image",
    "torn": "cannot be decoded",
    "bomb": "megapixels), but this demo takes at most",
    "twice": "Both images are the same file",
    "range": "There is no output range",
    "model": "There is no model",
}


def main() -> int:
    """Run the load and print the figures; the exit code is 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description="Load the demo with many clients at once.")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    args = parser.parse_args()
    machine = describe()
    print(machine)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), args.clients, args.requests)
    write_json(args.json, machine, figures)
    return 1 if figures["wrong"] or figures["left_behind"] else 0


def run(folder: Path, clients: int, requests: int) -> dict[str, Any]:
    """Create the images, start the demo, send the requests, and print the figures."""
    pairs = make_pairs(folder)
    bad = make_bad(folder, pairs[0])
    model = ReFusion.from_pretrained("refusion-ir-vis")
    wanted = [np.asarray(model.fuse(*pair)) for pair in pairs]
    chance = random.Random(1)
    jobs = [chance.choice(sorted(BAD)) if number % 2 else chance.randrange(len(pairs)) for number in range(requests)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # A queue for all clients: a full one would refuse good pairs.
    flags = ["--port", str(port), "--queue-size", str(2 * clients), "--max-megapixels", "1"]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "uploads")}
    server = subprocess.Popen([sys.executable, "app.py", *flags], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(url, server)
        local = threading.local()

        def visit(job: int | str) -> tuple[str, float]:
            if not hasattr(local, "client"):
                own = folder / f"downloads-{threading.get_ident()}"
                local.client = Client(url, download_files=own, verbose=False, httpx_kwargs={"timeout": 120})
            start = time.monotonic()
            said = ask(local.client, job, pairs, bad, wanted)
            return said, time.monotonic() - start

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(visit, [index % len(pairs) for index in range(clients)]))  # every client once, to warm up
            before = memory(server.pid)
            start = time.monotonic()
            answers = list(pool.map(visit, jobs))
            seconds = time.monotonic() - start
        time.sleep(3)
        after = memory(server.pid)
    finally:
        server.terminate()
        server.wait(120)
    left = [path for path in (folder / "uploads").rglob("*") if path.is_file() and path.parents[1].name == "uploads"]
    left = [path for path in left if not (ROOT / "space/examples" / path.name).is_file()]
    return report(jobs, answers, seconds, before, after, len(left))


def ask(client: Client, job: int | str, pairs: list, bad: dict, wanted: list) -> str:
    """Send one request; returns "right" or what was wrong."""
    good = isinstance(job, int)
    paths, settings = (pairs[job], {}) if good else bad[job]
    try:
        fused, _ = client.predict(*map(handle_file, paths), api_name="/fuse_ir_vis", **settings)
    except AppError as error:
        return "right" if not good and BAD[job] in str(error) else f"{job}: {error}"
    if not good:
        return f"{job}: was fused"
    with Image.open(fused) as image:
        same = np.array_equal(np.asarray(image), wanted[job])
    Path(fused).unlink()
    return "right" if same else f"pair {job}: another picture"


def make_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Good pairs of several sizes, each with a content of its own."""
    rng = np.random.default_rng(1)
    pairs = []
    for index in range(12):
        size = SIZES[index % len(SIZES)]
        paths = (folder / f"ir{index}.png", folder / f"vis{index}.png")
        for path in paths:
            small = rng.integers(0, 256, (12, 12), dtype=np.uint8)
            Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)
        pairs.append(paths)
    return pairs


def make_bad(folder: Path, good: tuple[Path, Path]) -> dict[str, tuple[tuple[Path, Path], dict[str, str]]]:
    """One bad request of each kind."""
    a, b = good
    other, text, torn, bomb = (folder / f"{name}.png" for name in ("other", "text", "torn", "bomb"))
    Image.new("L", (50, 50)).save(other)
    text.write_text("no image")
    torn.write_bytes(a.read_bytes()[:200])
    Image.new("1", (9000, 9000)).save(bomb)
    return {
        "sizes": ((a, other), {}),
        "no image": ((text, b), {}),
        "torn": ((torn, b), {}),
        "bomb": ((a, bomb), {}),
        "twice": ((a, a), {}),
        "range": ((a, b), {"output_range": "loud"}),
        "model": ((a, b), {"model": "../../etc"}),
    }


def wait_for(url: str, server: subprocess.Popen) -> None:
    """Wait until the demo answers."""
    while True:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            if server.poll() is not None:
                raise SystemExit("The demo did not start.") from None
            time.sleep(0.2)


def memory(pid: int) -> int:
    """Resident megabytes of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) // 1024


def report(
    jobs: list[int | str], answers: list[tuple[str, float]], seconds: float, before: int, after: int, left: int
) -> dict[str, Any]:
    """Print the figures."""
    good = [answer for job, answer in zip(jobs, answers, strict=True) if isinstance(job, int)]
    bad = [answer for job, answer in zip(jobs, answers, strict=True) if not isinstance(job, int)]
    figures: dict[str, Any] = {}
    for name, some in (("good pairs, fused right", good), ("bad requests, with their sentence", bad)):
        waits = [wait for _, wait in some]
        figures[name] = {
            "of": len(some),
            "right": sum(said == "right" for said, _ in some),
            "median": statistics.median(waits),
            "longest": max(waits),
        }
        print("{0}: {right} of {of}; median {median:.1f} s, longest {longest:.1f} s".format(name, **figures[name]))
    kinds = collections.Counter(job for job in jobs if not isinstance(job, int))
    print(f"kinds of bad requests: {', '.join(f'{name} {count}' for name, count in sorted(kinds.items()))}")
    print(f"all answered in {seconds:.1f} s; memory {before} MB before, {after} MB after; files left behind: {left}")
    wrong = [said for said, _ in answers if said != "right"]
    for said in wrong[:10]:
        print("WRONG", said)
    return figures | {
        "seconds": seconds,
        "mb_before": before,
        "mb_after": after,
        "left_behind": left,
        "wrong": len(wrong),
    }


if __name__ == "__main__":
    sys.exit(main())
